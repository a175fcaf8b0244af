"""The mini's files: tokenizer, captions, training examples, model folders, the shipped model."""

from __future__ import annotations

import hashlib
import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_models import CAPTIONS, files, load, paint, smoke_models

from course_lib.mini import caption_augmentation as augmentation
from course_lib.mini import examples
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import FULL, MAX_TOKENS, MINI_DATA, SMOKE, TrainingData, training_data
from course_lib.mini.data import (
    IGNORE_INDEX,
    attribute_labels,
    caption_labels,
    load_portraits,
    mini_series,
)
from course_lib.mini.tokenizer import END, save_tokenizer, token_ids, train_tokenizer
from course_lib.mini.training.checkpoints import load_model, new_models, save_model
from course_lib.portraits import Attributes, full_caption, parse_caption
from course_lib.portraits.attributes import VOCABULARY

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


# --- captions and labels


@pytest.mark.parametrize("augment", [augmentation.substitute_words, augmentation.rephrase])
def test_augmented_captions_mean_the_same(augment):
    rng = np.random.default_rng(0)
    augmented = [augment(text, rng) for text in CAPTIONS]
    for before, after in zip(CAPTIONS, augmented, strict=True):
        assert parse_caption(after) == parse_caption(before), (before, after)
    changed = sum(a != b for a, b in zip(CAPTIONS, augmented, strict=True))
    assert changed > 0.7 * len(CAPTIONS), "most captions have another wording, or it teaches little"


def test_rephrased_captions_are_sentences_not_templates():
    rng = np.random.default_rng(0)
    series = mini_series(200, seed=5)
    captions = [full_caption(series.attributes(i)) for i in range(len(series))]
    told = [augmentation.rephrase(text, rng) for text in captions]
    kept = sum(a == b for a, b in zip(captions, told, strict=True))
    assert kept < 40, "most full captions find another form that means the same"
    # What a template says in one place only comes in many: "her hair is red", "red curls", ...
    assert sum(" hair is " in text for text in told) > 20
    assert sum(" with " not in text for text in told) > 150
    # Both kinds of augmentation occur
    both = [augmentation.augment_caption(captions[0], rng) for _ in range(60)]
    assert 10 < sum(". " in text or "; " in text for text in both) < 55
    assert len(set(both)) > 50


def test_labels_leave_out_what_the_portrait_hides_and_the_caption_does_not_mention():
    scarf = Attributes(headwear="headscarf", hair_color="red")
    ink = Attributes(style="ink drawing", expression="sad")
    labels = attribute_labels([scarf, ink])
    assert labels["hair_color"].tolist() == [IGNORE_INDEX, IGNORE_INDEX]
    assert labels["hair_style"].tolist() == [IGNORE_INDEX, VOCABULARY["hair_style"].index("long")]
    assert labels["expression"].tolist() == [
        VOCABULARY["expression"].index("neutral"),
        VOCABULARY["expression"].index("sad"),
    ]
    mentioned = caption_labels(["a sad man", "a portrait"])
    assert mentioned["gender"].tolist() == [VOCABULARY["gender"].index("man"), 2]
    assert mentioned["style"].tolist() == [len(VOCABULARY["style"])] * 2


# --- training examples

DATA = training_data(("flat illustration", "pixel art"), variety=0.2)


def test_examples_are_those_of_the_series_with_captions_that_tell_the_truth():
    data = load_portraits(6, seed=7, data=DATA)
    series = mini_series(6, seed=7, data=DATA)
    assert np.array_equal(data.pixels.permute(0, 2, 3, 1).numpy(), series.pixels())
    people = [series.attributes(i) for i in range(6)]
    for name, labels in attribute_labels(people).items():
        assert torch.equal(data.labels[name], labels), name
    for i, person in enumerate(people):
        assert parse_caption(data.captions[i, 0]) == parse_caption(full_caption(person))
        for v, text in enumerate(data.captions[i]):
            for name, value in parse_caption(text).items():
                assert VOCABULARY[name].index(value) == data.caption_labels[name][i, v]
                assert getattr(person, name) == value or name not in data.labels, (text, name)
    assert len(set(data.captions[0])) > 1


def test_workers_paint_what_is_missing_and_nothing_else(tmp_path):
    series = examples.ExampleSeries(7, DATA)
    folder = series.folder(tmp_path)
    folder.mkdir()
    kept = folder / "00001.npz"
    kept.write_bytes(b"not looked at by the workers")
    painter = examples.ExamplePainter(series, 2 * examples.BLOCK, tmp_path, workers=2)
    try:
        assert painter.wait(2 * examples.BLOCK) == [folder / "00000.npz", kept]
    finally:
        painter.close()
    assert kept.read_bytes() == b"not looked at by the workers"
    block = examples.read_block(folder / "00000.npz")
    again = examples.make_examples(series, [0, examples.BLOCK - 1])
    for name, rows in again.items():
        assert np.array_equal(block[name][[0, -1]], rows), name
    with pytest.raises(ValueError, match="00001.npz is damaged.*Delete it"):
        examples.read_block(kept)
    # Another distribution, and another painter, have files of their own
    assert examples.ExampleSeries(7, training_data()).folder(tmp_path) != folder


def test_a_worker_that_fails_is_quoted(tmp_path):
    series = examples.ExampleSeries(7, TrainingData({"style": ("no such style",)}))
    painter = examples.ExamplePainter(series, 1, tmp_path, workers=1)
    with pytest.raises(RuntimeError, match="painting process failed.*no such style"):
        painter.wait(1)


# --- model folders


def test_a_model_comes_back_as_it_was_saved(tokenizer, tmp_path):
    models = smoke_models(tokenizer)
    models["vae"].register_to_config(scaling_factor=2.5)
    save_model(tmp_path / "mini", models, tokenizer, DATA, prediction_type="v_prediction")
    again, read_tokenizer, prediction_type = load_model(tmp_path / "mini", SMOKE)
    assert prediction_type == "v_prediction"
    assert again["vae"].config.scaling_factor == 2.5
    assert TrainingData.read(tmp_path / "mini") == DATA
    assert torch.equal(token_ids(read_tokenizer, CAPTIONS), token_ids(tokenizer, CAPTIONS))
    for name, model in models.items():
        for key, tensor in model.state_dict().items():
            assert torch.equal(again[name].state_dict()[key], tensor.half().float()), (name, key)


def test_training_data_that_nobody_can_paint_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="training_data.json is missing"):
        TrainingData.read(tmp_path)
    DATA.write(tmp_path)
    path = tmp_path / "training_data.json"
    path.write_text(path.read_text().replace("pixel art", "pixle art"), encoding="utf-8")
    with pytest.raises(ValueError, match="pixle art"):
        TrainingData.read(tmp_path)


def test_a_model_replaces_another_but_not_its_card(tokenizer, tmp_path):
    target = tmp_path / "mini"
    (target / "old").mkdir(parents=True)
    (target / "README.md").write_text("our card", encoding="utf-8")
    (target / "old" / "stale.safetensors").write_bytes(b"left over")
    models = smoke_models(tokenizer)
    save_model(target, models, tokenizer, DATA)
    written = files(target)
    assert written["README.md"] == b"our card"
    assert not (target / "old").exists()
    check_sums(target)
    assert [path.name for path in tmp_path.iterdir()] == ["mini"], "nothing temporary is left"
    # Training goes on with these very networks, in float32
    assert {p.dtype for model in models.values() for p in model.parameters()} == {torch.float32}
    assert json.loads(written["model_index.json"])["_class_name"] == "StableDiffusionPipeline"


def test_a_failed_write_leaves_the_old_model_intact(tokenizer, tmp_path, monkeypatch):
    target = tmp_path / "mini"
    save_model(target, smoke_models(tokenizer), tokenizer, DATA)
    (target / "README.md").write_text("our card", encoding="utf-8")
    before = files(target)

    def full_disk(self, path):
        raise OSError("no space left on device")

    monkeypatch.setattr(AttributeClassifier, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_model(target, smoke_models(tokenizer, seed=1), tokenizer, DATA)
    assert files(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_a_full_model_travels_in_a_few_small_files(tokenizer, tmp_path):
    from safetensors import safe_open

    save_model(tmp_path / "mini", new_models(FULL, tokenizer), tokenizer, DATA)
    weights = sorted((tmp_path / "mini").rglob("*.safetensors"))
    assert len(weights) <= 8
    for path in weights:
        # Tensors of at most 14 MiB, and their names
        assert path.stat().st_size <= 14 * 2**20 + 2**16, path
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            assert {file.get_tensor(name).dtype for name in names} == {torch.float16}, path
            if path.parent.name == "text_encoder":  # as transformers before 5 expect
                assert all(name.startswith("text_model.") for name in names)


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
    assert MINI_DATA == TrainingData.read(SHIPPED)


def test_the_shipped_model_loads_and_keeps_its_promise_of_being_stock(tmp_path):
    ignored = shutil.ignore_patterns("attribute_classifier", "training_data.json")
    copied = shutil.copytree(SHIPPED, tmp_path / "elsewhere", ignore=ignored)
    pipe = load(copied)
    assert paint(pipe, "an old man with a beard").shape == (128, 128, 3)
    assert pipe.tokenizer.model_max_length == MAX_TOKENS
    assert all(len(pipe.tokenizer(text).input_ids) <= MAX_TOKENS for text in CAPTIONS)
