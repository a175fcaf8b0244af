"""The picture comparison without a browser: pairs, answers in their file, resuming, bad input."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.metrics.preferences import bradley_terry
from course_lib.widgets import PictureComparison
from course_lib.widgets import comparison_answers as files


def flat(level: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def folder(path: Path, names: list[str], level: int = 0) -> Path:
    """Pictures whose grey level is `level` plus their place in the list."""
    for k, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        flat(level + k).save(path / name)
    return path


@pytest.fixture
def made(tmp_path):
    """Make the same comparison again and again: ten pairs of the folders mini and gan."""
    names = [f"{k}.png" for k in range(10)]
    sources = [folder(tmp_path / "mini", names, 10), folder(tmp_path / "gan", names, 100)]

    def make(**options) -> PictureComparison:
        return PictureComparison(*sources, answers=tmp_path / "answers.jsonl", **options)

    return make


def lines(comparison: PictureComparison) -> list[str]:
    return comparison._file.read_text(encoding="utf-8").splitlines()


def levels(comparison: PictureComparison) -> list[int]:
    """The grey levels of the left and the right picture on the page."""
    return [Image.open(io.BytesIO(png)).getpixel((0, 0))[0] for png in comparison._pair["pictures"]]


# ---- pairs


def test_equal_names_are_paired_and_sides_balanced(made):
    comparison = made()
    asked = []
    while comparison.remaining:
        left, right = levels(comparison)
        mini, gan = sorted((left, right))
        assert mini - 10 == gan - 100  # the same number in both folders
        asked.append((mini, left == mini))
        comparison.answer("left")
    assert sorted(mini for mini, _ in asked) == list(range(10, 20))
    assert [mini for mini, _ in asked] != list(range(10, 20))  # shuffled
    assert sum(on_left for _, on_left in asked) == 5
    for answer, (_, mini_left) in zip(comparison.answers, asked, strict=True):
        assert answer["a"].startswith("mini/") and answer["b"].startswith("gan/")
        assert answer["left"] == answer["winner"] == ("a" if mini_left else "b")
    assert "equal file names" in comparison.notices[0]


def test_endings_do_not_matter_and_other_names_are_paired_at_random(tmp_path):
    a = folder(tmp_path / "a", ["x/1.png", "2.png"])
    b = folder(tmp_path / "b", ["2.JPG", "x/1.webp", "3.bmp"])
    (b / ".ipynb_checkpoints").mkdir()
    flat(0).save(b / ".ipynb_checkpoints" / "4.png")
    (b / "notes.txt").write_text("no picture")
    pairs = PictureComparison(a, b)._pairs
    assert {(p.a.name, p.b.name) for p in pairs} == {
        ("a/2.png", "b/2.JPG"), ("a/x/1.png", "b/x/1.webp")
    }  # fmt: skip
    c = folder(tmp_path / "c", [f"other{k}.png" for k in range(30)])
    comparison = PictureComparison(c, b, answers=tmp_path / "none.jsonl")
    assert comparison.remaining == 3 and "at random" in comparison.notices[0]
    assert len({p.a.name for p in comparison._pairs}) == 3  # none twice
    again = PictureComparison(c, b, answers=tmp_path / "none.jsonl")
    assert again._pairs == comparison._pairs
    other = PictureComparison(c, b, answers=tmp_path / "none.jsonl", seed=1)
    assert {p.names for p in other._pairs} != {p.names for p in again._pairs}


def test_fewer_pairs_are_a_part_of_more_and_several_sets_share_them(tmp_path):
    sets = {
        "mini": [flat(k) for k in range(12)],
        "gan": torch.zeros(12, 3, 8, 8),
        "real": [(f"{k:03}", flat(k)) for k in range(12)],
    }
    some, more = (
        PictureComparison(sets, pairs=n, answers=tmp_path / "x.jsonl")._pairs for n in (6, 21)
    )
    assert {p.names for p in some} < {p.names for p in more}
    combinations = [(p.a.name.split("/")[0], p.b.name.split("/")[0]) for p in more]
    for two in (("mini", "gan"), ("mini", "real"), ("gan", "real")):
        assert combinations.count(two) == 7
    assert PictureComparison(sets, answers=tmp_path / "x.jsonl").remaining == 36


def test_folders_of_one_name_are_told_apart_by_their_parents(tmp_path):
    a = folder(tmp_path / "run1" / "out", ["1.png"])
    b = folder(tmp_path / "run2" / "out", ["1.png"])
    (pair,) = PictureComparison(a, b, answers=tmp_path / "x.jsonl")._pairs
    assert (pair.a.name, pair.b.name) == ("run1-out/1.png", "run2-out/1.png")


def test_what_is_no_picture_is_left_out_with_a_sentence(tmp_path, made):
    made()
    (tmp_path / "gan" / "broken.png").write_bytes(b"\x89PNG no")
    comparison = made()
    assert comparison.remaining == 10
    assert "1 files of gan are left out: broken.png (" in comparison.notices[1]


# ---- answers


def test_each_answer_is_in_the_file_at_once_and_a_new_kernel_goes_on(made):
    comparison = made()
    for k, choice in enumerate(("left", "same", "right"), 1):
        comparison.answer(choice)
        assert len(lines(comparison)) == k == len(comparison.answers)
    assert [json.loads(line) for line in lines(comparison)] == comparison.answers
    assert set(comparison.answers[0]) == {"a", "b", "left", "winner", "question", "time"}
    assert comparison.answers[0]["time"].endswith("+00:00")
    shown = levels(comparison)
    again = made()
    assert again.remaining == 7 and again.answers == comparison.answers
    assert levels(again) == shown
    while again.remaining:
        again.answer("left")
    asked = [frozenset((one["a"], one["b"])) for one in again.answers]
    assert len(set(asked)) == 10 == len(asked)
    with pytest.raises(RuntimeError, match="all pairs are answered"):
        again.answer("left")
    assert "pictures" not in made()._pair
    assert made(question="Which is sharper?").remaining == 10  # another question


def test_the_answers_are_those_that_scores_are_made_of(made):
    comparison = made()
    while comparison.remaining:  # mini is the darker one, and better
        left, right = levels(comparison)
        comparison.answer("left" if left < right else "right")
    scores = bradley_terry(comparison.answers).intervals()
    assert scores["mini"]["value"] > 0 > scores["gan"]["value"]


def test_the_last_answer_can_be_taken_back(made):
    comparison = made()
    first = levels(comparison)
    comparison.answer("left")
    second = levels(comparison)
    comparison.answer("same")
    comparison.take_back()
    assert levels(comparison) == second and len(lines(comparison)) == 1
    again = made()
    again.take_back()  # also one of an earlier kernel
    assert levels(again) == first and lines(again) == [] and again.remaining == 10
    with pytest.raises(RuntimeError, match="no answer to take back"):
        again.take_back()


def test_a_cut_off_last_line_is_skipped_and_nothing_else_is_lost(made):
    comparison = made()
    for _ in range(3):
        comparison.answer("left")
    text = comparison._file.read_bytes()
    comparison._file.write_bytes(b"{} of another program\n" + text[:-20])
    again = made()
    assert again.remaining == 8 and again.answers == comparison.answers[:2]
    assert "Line 1 of answers.jsonl is not an answer" in again.notices[1]
    assert "The last line of answers.jsonl is cut off" in again.notices[2]
    again.answer("same")
    again.answer("same")
    again.take_back()
    kept = lines(again)
    assert kept[0] == "{} of another program" and len(kept) == 5
    assert made().answers == [*comparison.answers[:2], json.loads(kept[-1])]


def test_a_full_disk_loses_no_answer(made, monkeypatch):
    comparison = made()
    comparison.answer("left")
    before = lines(comparison), levels(comparison)

    def full(path, content):
        raise OSError("cannot write answers.jsonl (No space left on device).")

    told = []
    monkeypatch.setattr(files, "write_atomically", full)
    monkeypatch.setattr(comparison, "send", told.append)
    press(comparison, choice="right")
    assert told[-1]["do"] == "problem" and "No space left" in told[-1]["text"]
    assert (lines(comparison), levels(comparison)) == before and comparison.remaining == 9


def press(comparison, serial: int | None = None, **message) -> None:
    """What the page sends for a button."""
    serial = comparison._serial if serial is None else serial
    comparison._hear_page(comparison, {"do": "answer", "serial": serial, **message}, [])


def test_a_button_pressed_twice_answers_one_pair(made):
    comparison = made()
    serial = comparison._serial
    press(comparison, serial, choice="left")
    press(comparison, serial, choice="left")
    assert len(comparison.answers) == 1
    press(comparison, do="back")
    assert comparison.answers == [] and comparison._serial > serial
    comparison._hear_page(comparison, {"do": "ping"}, [])
    assert comparison.remaining == 10


# ---- what readers see


def test_the_page_and_the_still_tell_no_names(made, tmp_path):
    comparison = made()
    shown = levels(comparison)
    comparison.answer("same")
    data, metadata = comparison._repr_mimebundle_()
    alt = "Two pictures side by side. Which is the better portrait? (1 of 10 pairs answered)"
    assert metadata["image/png"]["alt"] == alt
    figure = comparison.still()  # the first pair, also after the first answer
    pixels = [int(ax.images[0].get_array()[0, 0, 0]) for ax in figure.axes]
    assert pixels == shown and [ax.get_title() for ax in figure.axes] == ["left", "right"]
    page = comparison.export_html(tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (data["text/html"], page):
        assert ".png" not in text.replace("image/png", "") and str(tmp_path) not in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_pictures_of_any_size_and_mode_are_shown(tmp_path):
    wide, tall = Image.new("RGBA", (2000, 20), "red"), Image.new("P", (8, 16))
    comparison = PictureComparison([wide], [tall], answers=tmp_path / "x.jsonl")
    opened = [Image.open(io.BytesIO(png)) for png in comparison._pair["pictures"]]
    assert {one.mode for one in opened} == {"RGB"}
    assert {one.size for one in opened} == {(768, 8), (8, 16)} and comparison._pair["width"] == 768
    assert comparison.still().axes and np.asarray(opened[0]).size
    base64.b64decode(comparison._repr_mimebundle_()[0]["image/png"])


# ---- bad input

ONE = [flat(0)]
BAD = {
    "one": (lambda p: PictureComparison(p), TypeError, "two folders, or a dict"),
    "dict and folder": (lambda p: PictureComparison({"a": ONE}, ONE), TypeError, "not a dict and"),
    "one set": (lambda p: PictureComparison({"a": ONE}), ValueError, "not 1"),
    "slash": (lambda p: PictureComparison({"a/b": ONE, "c": [flat(1)]}), ValueError, "without '/'"),
    "same folder": (lambda p: PictureComparison(p, p / "." / ""), ValueError, "two different ones"),
    "same list": (lambda p: PictureComparison(ONE, ONE), ValueError, "hold the same pictures"),
    "same name": (
        lambda p: PictureComparison(p / "1" / "x" / "out", p / "2" / "x" / "out"),
        ValueError,
        "would be called 'x-out'; name them",
    ),
    "nowhere": (lambda p: PictureComparison(p / "no", ONE), FileNotFoundError, "no folder"),
    "empty": (lambda p: PictureComparison(p, ONE), FileNotFoundError, "no readable picture"),
    "file": (
        lambda p: PictureComparison(folder(p, ["1.png"]) / "1.png", ONE),
        ValueError,
        "is a file; give the folder",
    ),
    "no list": (lambda p: PictureComparison(3, ONE), TypeError, "not int"),
    "paths": (lambda p: PictureComparison(["x.png"], ONE), TypeError, "not str"),
    "empty list": (lambda p: PictureComparison([], ONE), ValueError, "is empty"),
    "twice": (
        lambda p: PictureComparison([("x", flat(0)), ("x", flat(1))], ONE),
        ValueError,
        "have the same name",
    ),
    "too many": (
        lambda p: PictureComparison(ONE, [flat(1)], pairs=2),
        ValueError,
        "give only 1",
    ),
    "none": (lambda p: PictureComparison(ONE, [flat(1)], pairs=0), ValueError, "at least 1"),
    "seed": (lambda p: PictureComparison(ONE, [flat(1)], seed=-1), ValueError, "at least 0"),
    "question": (
        lambda p: PictureComparison(ONE, [flat(1)], question=" "),
        ValueError,
        "question must be a sentence",
    ),
    "answers": (
        lambda p: PictureComparison(ONE, [flat(1)], answers=p),
        ValueError,
        "is a folder; give a file",
    ),
    "choice": (
        lambda p: PictureComparison(ONE, [flat(1)], answers=p / "x.jsonl").answer("lift"),
        ValueError,
        "Did you mean 'left'",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(call, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        call(tmp_path)
