"""Recipes in pictures of any program: read, or refused in one sentence, and in linear time."""

from __future__ import annotations

import json
import struct
import warnings
import zlib

import pytest
from machine import growth
from PIL import Image, PngImagePlugin

from course_lib.pipelines import load_settings, repaint
from course_lib.pipelines.recipes import own_recipe, read_recipe

LINE = (
    "Steps: 20, Sampler: Euler a, Schedule type: Uniform, CFG scale: 7.5, Seed: 42, Size: 512x768"
)
PLAIN = {
    "prompt": "a man", "negative_prompt": "", "steps": 20, "guidance": 7.5, "seed": 42,
    "width": 512, "height": 768, "scheduler": "euler_ancestral",
}  # fmt: skip


def with_text(path, **texts):
    chunk = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        chunk.add_itxt(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=chunk)
    return path


TEXTS = {
    "plain": f"a man\n{LINE}",
    "template after it": f"a man\n{LINE}\nTemplate: a __person__, Seed: 1\nNegative Template: x",
    "newline inside a field": f'a man\n{LINE}, Hashes: "a\nb", Version: v1.10\n',
    "quotes and backslashes": f'a man\n{LINE}, Path: C:\\new, Note: "a \\" b, Seed: 1", Odd: "',
    "quoted by another rule": f"a man\n{LINE}, Note: \"C:\\x\", Wildcard: 'a, b'",
    "Windows lines": f"a man\r\n{LINE}\r\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_shared_form_is_read_whatever_surrounds_it(text):
    assert read_recipe(text) == (PLAIN, [])


def test_a_prompt_may_talk_of_steps_and_of_negative_prompts():
    text = f"Steps: 3, then\na Negative prompt: man\nNegative prompt: x\ny\n{LINE}"
    settings, _ = read_recipe(text)
    assert settings["prompt"] == "Steps: 3, then\na Negative prompt: man"
    assert settings["negative_prompt"] == "x\ny" and settings["steps"] == 20


FOOOCUS = {
    "prompt": "a man", "negative_prompt": "hat", "styles": "['Fooocus V2']", "steps": 30,
    "resolution": "(896, 1152)", "guidance_scale": 4, "base_model": "juggernautXL",
    "sampler": "dpmpp_2m_gpu", "scheduler": "karras", "seed": "123", "full_prompt": ["a man", "x"],
}  # fmt: skip


def test_json_of_other_programs_is_read():
    assert read_recipe(json.dumps(FOOOCUS)) == ({
        "prompt": "a man", "negative_prompt": "hat", "steps": 30, "width": 896, "height": 1152,
        "guidance": 4, "model": "juggernautXL", "scheduler": "dpmpp_2m_karras", "seed": 123,
    }, [])  # fmt: skip
    invoke = {"positive_prompt": "a man", "cfg_scale": 5.0, "model": {"name": "x"}, "width": 64}
    assert read_recipe(json.dumps(invoke))[0]["model"] == "x"
    assert read_recipe("{a|b} man\nSteps: 3")[0]["prompt"] == "{a|b} man"  # no JSON


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("DPM++ 2M", "Automatic", "dpmpp_2m_karras"), ("Euler", "Automatic", "euler"),
        ("dpm++ 2m karras", "", "dpmpp_2m_karras"), ("DPM++ 2M SDE", "Automatic", "dpmpp_2m_sde"),
        ("Euler", "SGM Uniform", "euler_trailing"), ("euler", "sgm_uniform", "euler_trailing"),
        ("uni_pc", "normal", "unipc"), ("own", "Automatic", "own"), ("Euler", "Simple", "euler"),
    ],
)  # fmt: skip
def test_samplers_have_many_names(sampler, schedule, expected):
    kind = f", Schedule type: {schedule}" if schedule else ""
    settings, remarks = read_recipe(f"x\nSteps: 1, Sampler: {sampler}{kind}")
    assert (settings["scheduler"], remarks) == (expected, [])


def test_what_cannot_be_followed_is_named(tmp_path):
    path = with_text(tmp_path / "a.png", parameters="x\nSteps: 1, Sampler: Restart, Clip skip: 2")
    with pytest.warns(UserWarning) as caught:
        assert "scheduler" not in load_settings(path)
    said = " ".join(str(one.message) for one in caught)
    assert "a.png" in said and "'Restart' is not known" in said and "Clip skip" in said
    _, (remark,) = read_recipe("x\nSteps: 1, Sampler: Euler a, Schedule type: Karras")
    assert "'Karras'" in remark and "euler_ancestral is used" in remark
    assert own_recipe('{"prompt": "x", "scheduler": "new"}')[0] == {"prompt": "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_settings(with_text(tmp_path / "b.png", parameters=TEXTS["plain"]))


@pytest.mark.parametrize("ending", ["jpg", "webp", "png"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TEXTS["plain"].encode("utf-16-be"),
        b"UNICODE\0" + TEXTS["plain"].encode("utf-16-le"),
        b"ASCII\0\0\0" + TEXTS["plain"].encode(),
    ],
    ids=["big", "little", "ascii"],
)
def test_recipes_in_exif_are_read(tmp_path, ending, comment):
    exif = Image.Exif()
    exif[0x0131] = "a portrait maker"  # Pillow takes Exif data without any such tag for empty
    exif.get_ifd(0x8769)[0x9286] = comment
    Image.new("RGB", (8, 8)).save(tmp_path / f"a.{ending}", exif=exif)
    assert load_settings(tmp_path / f"a.{ending}") == PLAIN


COURSE = {"prompt": "a man", "model": "mini", "seed": 1, "steps": 2, "guidance": 1.0}
WRONG = {
    "seed": ["7", 1.5, -1, True, 2**63], "steps": ["x", 0, 1001, [1]], "width": [128_000, 0, "8"],
    "guidance": ["x", -1, float("nan"), float("inf"), True], "height": [2**40],
    "prompt": [None, 3, ["a"], "\ud800"], "negative_prompt": [4, {}], "model": [[]],
    "scheduler": [3], "weighting": [0],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in WRONG.items() for v in values])
def test_wrong_values_in_our_own_json_are_refused_by_name(tmp_path, name, value):
    path = with_text(tmp_path / "a.png", course=json.dumps(COURSE | {name: value}))
    with pytest.raises(ValueError, match=rf"a\.png cannot be painted again: .*{name}"):
        load_settings(path)


REFUSED = {
    "deep": ('{"a":' * 100_000, "begins like JSON, but is damaged"),
    "list": ("[1, 2]", "JSON, but holds no settings"),
    "no prompt": ('{"steps": 3}', "JSON, but holds no prompt"),
    "cut": ('{"prompt": "a man", "steps"', "begins like JSON, but is damaged"),
    "seed": ("x\nSteps: 3, Seed: abc", "seed is 'abc', which is no number"),
    "size": ("x\nSteps: 3, Size: big", "size is 'big', not as in 512x768"),
    "huge": ("x\nSteps: 3, Size: 8x128000", "height must be a whole number.* not 128000"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_texts_that_make_no_sense_are_refused(tmp_path, text, message):
    path = with_text(tmp_path / "a.png", parameters=text)
    with pytest.raises(ValueError, match=rf"a\.png cannot be painted again: .*{message}"):
        load_settings(path)
    with pytest.raises(ValueError, match=r"b\.png carries no recipe"):  # none of ours
        load_settings(with_text(tmp_path / "b.png", course=text))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        out += struct.pack(">I", len(data)) + kind + data
        out += struct.pack(">I", zlib.crc32(kind + data))
    return out


def test_bombs_and_cut_files_are_refused_without_decoding_them(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(png((b"IHDR", header), (b"IDAT", b"x"), (b"IEND", b"")))
    whole = with_text(tmp_path / "whole.png", other="x").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-40])
    (tmp_path / "begun.png").write_bytes(whole[:20])
    (tmp_path / "script.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name in ("bomb.png", "cut.png", "begun.png", "script.eps"):
        with pytest.raises(ValueError, match=rf"{name} .*(cannot be read|can be read)"):
            load_settings(tmp_path / name)


# A beginning, and what is repeated many times behind it
LONG = [
    ('a\nSteps: 1, Model: "', "\\a"), ("Steps: 1, ", "a "), ("", "Steps: 1, "), ("Steps: 1", " "),
    ("", "\nNegative prompt:"), ("", 'Steps: 1, a: "'), ("Steps: 1, Size: (", " "), ("", "{"),
    ("", '{"a":'), ("", " \t"), ("\nSteps: 1", ",\n"), ("Steps: 1, Seed: ", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("beginning", "part"), LONG)
def test_texts_are_read_in_linear_time(beginning, part):
    assert growth(lambda text: read_recipe(beginning + text), part * 20_000) < 4


def test_painting_again_says_when_the_model_has_changed(tmp_path):
    recipe = COURSE | {"steps": 1, "width": 64, "height": 64}
    path = with_text(tmp_path / "a.png", course=json.dumps(recipe | {"revision": "0" * 64}))
    with pytest.warns(UserWarning, match=r"'mini' has changed .* \(revision 000000000000, now"):
        (image,) = repaint(path)
    assert image.size == (64, 64)
    image.save(tmp_path / "b.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        repaint(tmp_path / "b.png")
