"""A byte-level BPE tokenizer in CLIP's manner, with a small vocabulary learned from the captions.

CLIP's own vocabulary has 49,408 tokens; most of the mini's weights would be their embeddings. All
256 bytes are tokens, so a prompt in any language or script can be written with them, even if the
mini has never learned what it means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from course_lib.mini.config import MAX_TOKENS

START, END = "<|startoftext|>", "<|endoftext|>"
# What one word is: CLIP's rule (arXiv 2103.00020, released code)
WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def train_tokenizer(captions: Iterable[str], vocabulary: int):
    """Learn `vocabulary` tokens from captions and return a `CLIPTokenizer`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    core = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    core.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        # Two tokens each are kept for every byte, inside a word and at its end, and two specials
        vocab_size=vocabulary - len(alphabet) - 2,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    core.train_from_iterator(captions, trainer)
    model = json.loads(core.to_str())["model"]
    # Older versions of the library write a pair as one string
    merges = [tuple(p.split() if isinstance(p, str) else p) for p in model["merges"]]
    learned = sorted(model["vocab"], key=model["vocab"].get)
    tokens = dict.fromkeys([*alphabet, *(a + "</w>" for a in alphabet), *learned, START, END])
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def save_tokenizer(tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json`` and, for older transformers, ``vocab.json`` and ``merges.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    vocab = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "vocab.json").write_text(vocab, encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
