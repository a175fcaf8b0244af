"""The mini's files: a tokenizer for any text, models replaced whole, the shipped folder."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_models import CAPTIONS, files, load, paint, smoke_parts

from course_lib.mini import export
from course_lib.mini.config import MAX_TOKENS, SMOKE
from course_lib.mini.judge import Judge
from course_lib.mini.parts import build_scheduler
from course_lib.mini.recipe import token_ids
from course_lib.mini.tokenizer import END, save_tokenizer, train_tokenizer

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "models" / "mini"


# --- the tokenizer

STRANGE = (
    "Ein Bär, grüßend; «été» naïve coöperation",
    "\u4f60\u597d \u4e16\u754c \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4",
    "\U0001f3a8\U0001f469\u200d\U0001f3a4 portrait \U0001f1eb\U0001f1f7",
    "\u0635\u0648\u0631\u0629 \u05e6\u05d9\u05d5\u05e8 \u0928\u092e\u0938\u094d\u0924\u0947",
    "100% <|weird|> \\n \x07 \u00a0\u2028 \ufffd &amp; 'tis o'clock",
)


def random_texts(count: int) -> list[str]:
    """Text of code points from all over Unicode, without the surrogates that are no characters."""
    rng = np.random.default_rng(0)
    points = rng.integers(1, 0x110000, size=(count, 12))
    points[(points >= 0xD800) & (points < 0xE000)] = 0x41
    return ["".join(map(chr, row)) for row in points]


def test_the_tokenizer_writes_any_unicode_text_and_loses_nothing(tokenizer):
    import unicodedata

    for text in (*STRANGE, *random_texts(200)):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.convert_tokens_to_ids(END) not in ids, f"unknown piece in {text!r}"
        # The letters come back, in CLIP's normal form: lower case, composed, without spaces
        written = "".join(tokenizer.decode(ids).split())
        wanted = unicodedata.normalize("NFC", text)
        assert written.lower() == "".join(wanted.split()).lower(), text


def test_the_tokenizer_knows_its_captions_in_few_tokens(tokenizer):
    lengths = [len(tokenizer(text).input_ids) for text in CAPTIONS]
    letters = [len(text.replace(" ", "")) for text in CAPTIONS]
    # Even the smoke size has some eighty learned pieces of words
    assert np.mean(lengths) < 0.7 * np.mean(letters)


@pytest.mark.parametrize("kept", ["tokenizer.json", "vocab.json merges.txt"])
def test_the_tokenizer_reloads_alike_from_new_and_from_old_files(tokenizer, tmp_path, kept):
    from transformers import CLIPTokenizer

    save_tokenizer(tokenizer, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"} <= names
    for name in names - set(kept.split()) - {"tokenizer_config.json", "special_tokens_map.json"}:
        (tmp_path / name).unlink()
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == MAX_TOKENS
    texts = [*CAPTIONS[:50], *STRANGE, *random_texts(50), "", "word " * 200]
    assert torch.equal(token_ids(again, texts), token_ids(tokenizer, texts))
    assert (len(again), again.pad_token_id) == (len(tokenizer), tokenizer.pad_token_id)


def test_a_used_tokenizer_is_written_like_a_new_one(tmp_path):
    """It must not write down how its last call padded and cut."""
    from transformers import CLIPTokenizer

    save_tokenizer(train_tokenizer(CAPTIONS, SMOKE.vocabulary), tmp_path / "new")
    used = CLIPTokenizer.from_pretrained(tmp_path / "new")
    token_ids(used, ["a smiling woman"])
    save_tokenizer(used, tmp_path / "used")
    for path in (tmp_path / "new").iterdir():
        assert path.read_bytes() == (tmp_path / "used" / path.name).read_bytes(), path.name


# --- files


def test_a_model_replaces_another_but_not_its_card(tokenizer, tmp_path):
    target = tmp_path / "mini"
    target.mkdir()
    (target / "README.md").write_text("our card", encoding="utf-8")
    (target / "old").mkdir()
    (target / "old" / "stale.safetensors").write_bytes(b"left over")
    parts = smoke_parts(tokenizer)
    export.write_model(target, parts, tokenizer, build_scheduler())
    written = files(target)
    assert written["README.md"] == b"our card"
    assert not (target / "old").exists()
    check_sums(target)
    assert [path.name for path in tmp_path.iterdir()] == ["mini"], "nothing temporary is left"
    # Training goes on with these very networks, in single precision
    assert {p.dtype for part in parts.values() for p in part.parameters()} == {torch.float32}
    assert json.loads(written["model_index.json"])["_class_name"] == "StableDiffusionPipeline"


def test_a_failed_write_leaves_the_old_model_intact(tokenizer, tmp_path, monkeypatch):
    target = tmp_path / "mini"
    parts = smoke_parts(tokenizer)
    export.write_model(target, parts, tokenizer, build_scheduler())
    (target / "README.md").write_text("our card", encoding="utf-8")
    before = files(target)

    def full_disk(self, path):
        raise OSError("no space left on device")

    monkeypatch.setattr(Judge, "save", full_disk)
    other = smoke_parts(tokenizer, seed=1)
    with pytest.raises(OSError, match="no space"):
        export.write_model(target, other, tokenizer, build_scheduler())
    assert files(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_latents_on_disk_belong_to_their_encoder(tokenizer, tmp_path):
    vae = smoke_parts(tokenizer)["vae"]
    pixels = torch.randint(256, (4, 3, 128, 128), generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(torch.uint8)
    first = export.encode_all(vae, pixels, tmp_path / "latents")
    assert first.dtype == torch.float16
    assert first.shape == (4, SMOKE.latent_channels, 16, 16)
    sharper = copy.deepcopy(vae)
    torch.nn.init.zeros_(sharper.decoder.layers[-1].bias)  # another decoder changes no latents
    before = (tmp_path / "latents.safetensors").stat().st_mtime_ns
    assert torch.equal(export.encode_all(sharper, pixels, tmp_path / "latents"), first)
    assert (tmp_path / "latents.safetensors").stat().st_mtime_ns == before
    other = smoke_parts(tokenizer, seed=1)["vae"]
    assert not torch.equal(export.encode_all(other, pixels, tmp_path / "latents"), first)


def check_sums(folder: Path) -> None:
    """SHA256SUMS lists every file but itself and the card, each with its true sum."""
    listed = {}
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        listed[name] = digest
    present = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files(folder).items()
        if name not in ("README.md", "SHA256SUMS")
    }
    assert listed == present


def test_the_shipped_model_is_whole_and_small():
    check_sums(SHIPPED)
    sizes = {path: path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()}
    assert max(sizes.values()) <= 16 * 2**20
    assert sum(sizes.values()) <= 40e6


def test_the_shipped_model_loads_and_keeps_its_promise_of_being_stock(tmp_path):
    copied = shutil.copytree(
        SHIPPED, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("judge")
    )
    pipe = load(copied)
    assert paint(pipe, "an old man with a beard").shape == (128, 128, 3)
    assert pipe.tokenizer.model_max_length == MAX_TOKENS
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert all(len(pipe.tokenizer(text).input_ids) <= MAX_TOKENS for text in CAPTIONS)
