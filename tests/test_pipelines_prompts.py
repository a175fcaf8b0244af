"""Prompts become embeddings; recipes travel inside the picture."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from machine import growth
from PIL import Image

from course_lib.pipelines import (
    PromptWarning,
    encode_prompt,
    load_pipeline,
    load_settings,
    parse_weights,
    save_png,
)
from course_lib.pipelines.metadata import attach, parameters_text
from course_lib.pipelines.prompt_syntax import foreign_syntax
from course_lib.pipelines.recipes import read_recipe


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline("mini", "cpu", verbose=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, text", [("plain, text", 1)]),
        ("", [("", 1)]),
        ("a (b:1.3) c", [("a ", 1), ("b", 1.3), (" c", 1)]),
        ("(b) [c]", [("b", 1.1), (" ", 1), ("c", 1 / 1.1)]),
        ("((b))", [("b", 1.21)]),
        ("(a (b:2):0.5)", [("a ", 0.5), ("b", 1)]),
        (r"\(not\) \[one\]", [("(not) [one]", 1)]),
        ("time 12:30, (x: 1.5 )", [("time 12:30, ", 1), ("x", 1.5)]),
        ("a) b]", [("a) b]", 1)]),
        ("(open", [("open", 1.1)]),
        ("(x:0)", [("x", 0)]),
        ("(x:2.) (y:.5) (z:2e0)", [("x", 2), (" ", 1), ("y", 0.5), (" ", 1), ("z", 2)]),
        ("[(x:2) y]", [("x", 2 / 1.1), (" y", 1 / 1.1)]),
        ("(x:)", [("x:", 1.1)]),
    ],
)
def test_weights_are_read(text, expected):
    parsed = parse_weights(text)
    assert [part for part, _ in parsed] == [part for part, _ in expected]
    assert [w for _, w in parsed] == pytest.approx([w for _, w in expected])


@pytest.mark.parametrize("text", ["a (hat:1000) man", "(hat:-11)", "(hat:1e999)", "(" * 30 + "hat"])
def test_absurd_weights_are_refused_by_name(pipe, text):
    with pytest.raises(ValueError, match=r"gives 'hat' the weight .* from -10 to 10"):
        encode_prompt(pipe, text)


@pytest.mark.parametrize("part", ["[a", "[a]", ":1", "\\\\(", "<a", "[a:", "{a|", "(b:"])
def test_brackets_are_read_in_linear_time(part):
    assert growth(parse_weights, part * 10_000) < 4
    assert growth(foreign_syntax, part * 10_000) < 4


FOREIGN = {
    "a man BREAK a hat": "BREAK", "a man AND a hat": "AND", "<lora:f:0.8> a man": "<lora:f:0.8>",
    "a [man:woman:0.5]": "[man:woman:0.5]", "a [(big:1.2) hat:cap:9] man": "[(big:1.2) hat:cap:9]",
    "a [red|blue] hat": "[red|blue]", "a {red|blue} hat": "{red|blue}", "a (hat:1,2)": ":1,2)",
}  # fmt: skip


@pytest.mark.parametrize(("text", "part"), FOREIGN.items())
def test_other_programs_commands_are_named(pipe, text, part):
    with pytest.warns(PromptWarning) as caught:
        encode_prompt(pipe, "a man", text)
    (said,) = [str(one.message) for one in caught]
    assert said.startswith(f"{part!r} in the prompt is no command here")


def test_ordinary_prompts_hold_no_commands(pipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_prompt(pipe, ["A MAN AND A HAT", "a [hat], (cap:1.2), 12:30", "break and hat < 3"])


def test_without_weights_it_is_diffusers_own_encoding(pipe):
    prompt, negative = "a smiling woman with red hair", "glasses"
    ours = encode_prompt(pipe, prompt, negative)
    theirs = pipe.encode_prompt(prompt, "cpu", 1, True, negative)
    # Batched here and one by one there: rounding of the matrix product may differ
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-4, rtol=1e-4)
    assert torch.equal(encode_prompt(pipe, "(a:1.0) man")[0], encode_prompt(pipe, "a man")[0])


def test_weights_interpolate_from_the_empty_prompt(pipe):
    words = "a {} woman"
    plain, empty = encode_prompt(pipe, words.format("smiling"), "")
    at = [2]  # begin, a, smiling: one token in the mini's vocabulary and in CLIP's
    assert len(pipe.tokenizer.tokenize("smiling")) == 1
    for weight in (0.0, 0.5, 1.5):
        z, _ = encode_prompt(pipe, words.format(f"(smiling:{weight})"), "")
        expected = empty + weight * (plain - empty)
        torch.testing.assert_close(z[:, at], expected[:, at], atol=1e-5, rtol=1e-4)
        others = [k for k in range(77) if k not in at]
        torch.testing.assert_close(z[:, others], plain[:, others], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="Did you mean 'renormalise'"):
        encode_prompt(pipe, "x", weighting="renorm")


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_renormalising_keeps_the_scale(mean):
    from course_lib.pipelines.prompts import _weigh

    z = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(0))
    z = z - z.mean() + mean
    weights = torch.tensor([[1.0, 1.5, 1.0, 1.0]])
    out = _weigh(z, weights, "renormalise", None)
    kept = (out.mean() / z.mean()) if mean else (out.square().mean() / z.square().mean())
    assert kept.item() == pytest.approx(1, abs=1e-5)
    ratio = (out / z).squeeze(0)
    torch.testing.assert_close(ratio[1], 1.5 * ratio[0], atol=1e-4, rtol=1e-4)


def test_long_prompts_are_read_in_chunks_and_said_so(pipe):
    part = "a smiling woman with red hair, "
    with pytest.warns(PromptWarning, match=r"tokens, but the text encoder reads 75.* 3 chunks"):
        z, negative = encode_prompt(pipe, part * 28, "hat")
    assert z.shape == negative.shape == (1, 3 * 77, z.shape[-1])
    # The last chunk is what a prompt of its own would be, and the short one is padded with nothing
    _, nothing = encode_prompt(pipe, "", "")
    torch.testing.assert_close(negative[:, 77:154], nothing, atol=1e-5, rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_prompt(pipe, "any Unicode: \u00e9\u4eba\U0001f600", "")


def test_chunks_end_with_a_word(pipe):
    from course_lib.pipelines.prompts import _chunks

    text = "woman " * 73 + "extraordinarily " * 3  # a word of several tokens across the border
    assert len(pipe.tokenizer.tokenize("extraordinarily")) > 2
    chunks = _chunks(text, pipe.tokenizer, 75)
    tokens = [pipe.tokenizer.convert_ids_to_tokens([t for t, _ in c]) for c in chunks]
    assert len(chunks) > 1 and all(len(c) <= 75 and c[-1].endswith("</w>") for c in tokens)
    assert sum(tokens, []) == pipe.tokenizer.tokenize(text)


def test_batches_and_bad_prompts(pipe):
    z, negative = encode_prompt(pipe, ["a man", "a woman", "a man"], "hat")
    assert z.shape[0] == negative.shape[0] == 3 and torch.equal(z[0], z[2])
    assert torch.equal(negative[0], negative[1]) and not torch.equal(z[0], z[1])
    with pytest.raises(ValueError, match="2 negative prompts for 3 prompts"):
        encode_prompt(pipe, ["a", "b", "c"], ["x", "y"])
    with pytest.raises(TypeError, match="prompt must be a text"):
        encode_prompt(pipe, None)
    with pytest.raises(ValueError, match="empty list"):
        encode_prompt(pipe, [])
    with pytest.raises(ValueError, match=r"20,001 characters, but at most 20,000"):
        encode_prompt(pipe, "x" * 20_001)


def test_bytes_of_a_terminal_become_text_or_one_sentence(pipe):
    """Under LC_ALL=C, Python hands over bytes that are not ASCII as lone surrogates."""
    typed = "\u00e9t\u00e9".encode().decode("ascii", "surrogateescape")
    assert torch.equal(encode_prompt(pipe, typed)[0], encode_prompt(pipe, "\u00e9t\u00e9")[0])
    for broken in ("an \udce9t", "\ud800"):
        with pytest.raises(ValueError, match=r"prompt holds bytes that are no text: '.*\\ud"):
            encode_prompt(pipe, broken)


RECIPE = {
    "prompt": "a (smiling:1.2) woman, 40 years, \u00e9t\u00e9 \u4eba\nsecond line: with a colon",
    "negative_prompt": "hat, glasses", "model": "mini", "source": "x", "revision": "ab" * 20,
    "seed": 7, "steps": 8, "guidance": 3.5, "scheduler": "dpmpp_2m_karras", "height": 128,
    "width": 96, "weighting": "interpolate", "dtype": "float32", "version": "0.1.0",
}  # fmt: skip


def test_the_recipe_survives_the_file(tmp_path):
    image = attach(Image.new("RGB", (96, 128)), RECIPE)
    assert load_settings(save_png(image, tmp_path / "new" / "a.png")) == RECIPE
    image.save(tmp_path / "b.png")  # as a learner does it
    assert load_settings(tmp_path / "b.png") == RECIPE == load_settings(image)
    # The form of portrait makers says the same, as far as it goes
    parsed, remarks = read_recipe(parameters_text(RECIPE))
    common = {k: v for k, v in RECIPE.items() if k in parsed}
    assert parsed == common and len(parsed) == 9 and remarks == []
    with Image.open(tmp_path / "b.png") as again:
        assert again.info["parameters"] == parameters_text(RECIPE)
        assert json.loads(again.info["course"]) == RECIPE


def test_recipes_of_other_portrait_makers_are_read():
    text = (
        "portrait of a (old:1.2) man\nNegative prompt: blurry\nbad hands\n"
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
        'Model hash: 6ce0161689, Model: "v1-5, pruned", Clip skip: 2, Version: v1.6.0'
    )
    settings, (remark,) = read_recipe(text)
    assert remark == "this is not followed: Clip skip."
    assert settings == {
        "prompt": "portrait of a (old:1.2) man", "negative_prompt": "blurry\nbad hands",
        "steps": 20, "guidance": 7.0, "seed": 42, "width": 512, "height": 768,
        "model": "v1-5, pruned", "scheduler": "dpmpp_2m_karras",
    }  # fmt: skip
    assert read_recipe("just a prompt") == ({"prompt": "just a prompt", "negative_prompt": ""}, [])


def test_pictures_without_a_recipe_are_explained(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "bare.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match="carries no recipe"):
        load_settings(tmp_path / "bare.png")
    with pytest.raises(ValueError, match="no picture that can be read"):
        load_settings(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match=r"no picture .*not_there"):
        load_settings(tmp_path / "not_there.png")
    with pytest.raises(ValueError, match=r"must end in \.png"):
        save_png(Image.new("RGB", (8, 8)), tmp_path / "x.jpg")
