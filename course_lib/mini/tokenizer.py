"""A byte-level BPE tokenizer in CLIP's manner, with a small vocabulary learned from the captions.

CLIP's own vocabulary has 49,408 tokens; most of the mini's weights would be their embeddings. All
256 bytes are tokens, so a prompt in any language or script can be written with them, even if the
mini has never learned what it means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

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
    model, merges = _model_of(core)
    learned = sorted(model["vocab"], key=model["vocab"].get)
    tokens = dict.fromkeys([*alphabet, *(a + "</w>" for a in alphabet), *learned, START, END])
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def token_ids(tokenizer, captions: Iterable[str]) -> Tensor:
    """(B, 77) token ids, padded and truncated as `StableDiffusionPipeline` does."""
    return tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids


def save_tokenizer(tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json`` and, for older transformers, ``vocab.json`` and ``merges.txt``.

    A new tokenizer of the same vocabulary is written: the one given remembers the padding and
    truncation of its last call and would write them down as its own.
    """
    from transformers import CLIPTokenizer

    model, merges = _model_of(tokenizer.backend_tokenizer)
    fresh = CLIPTokenizer(
        vocab=model["vocab"], merges=merges, model_max_length=tokenizer.model_max_length
    )
    folder.mkdir(parents=True, exist_ok=True)
    fresh.save_pretrained(folder)
    vocab = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "vocab.json").write_text(vocab, encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")


def _model_of(core) -> tuple[dict, list[tuple[str, str]]]:
    """The BPE model of a tokenizer, and its merges as pairs."""
    model = json.loads(core.to_str())["model"]
    # Older versions of the library write a pair as one string
    return model, [tuple(p.split() if isinstance(p, str) else p) for p in model["merges"]]
