"""`PAINTER_VERSION` is raised when the pixels change or other people are drawn.

The cache of painted portraits trusts that number. The reference holds what version it is of, a
digest of the first people of a series, and 150 portraits over all styles as 8 x 8 mean colours,
which survive another platform's rounding and show a changed painter all the same.

    python tests/test_painter_version.py            # write the reference of a new version
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from course_lib.portraits import cache, painter
from course_lib.portraits.attributes import STYLES
from course_lib.portraits.batches import draw_person
from course_lib.portraits.drawing import face
from course_lib.portraits.painter import paint_portrait

REFERENCE = Path(__file__).with_name("painter_reference.png")
CELLS = 8  # mean colours per side
# One row for each style. The sizes lie on both sides of FINE_SIZE and SOFT_SIZE, which switch
# strands and gradients on.
SIZES = (64,) * 12 + (32, 128, 192)
PEOPLE = 2000
# Mean difference of a portrait's cells in grey levels, the most that counts as the same painter.
# The same code gives 0. Where another platform's renderer is off by one level in one pixel of 500,
# the most sensitive style, oil painting, differs by 0.08, all others by less than 0.03.
TOLERANCE = 0.1
WHAT_TO_DO = (
    "If that was intended, raise PAINTER_VERSION in course_lib/portraits/painter.py, run "
    "`python tests/test_painter_version.py`, look at tests/painter_reference.png, and paint "
    "data/portraits anew with tools/make_sample_portraits.py. Otherwise undo the change."
)


def thumbnail(index: int, style: str, size: int) -> np.ndarray:
    """Mean colours (CELLS, CELLS, 3), rounded to uint8, of a portrait of a series."""
    attributes, seed, _ = draw_person(0, index, {"style": [style]})
    picture = paint_portrait(attributes, seed, size)
    cell = size // CELLS
    # (size, size, 3) -> (CELLS, cell, CELLS, cell, 3), then the mean of each cell
    means = picture.reshape(CELLS, cell, CELLS, cell, 3).mean(axis=(1, 3))
    return np.round(means).astype(np.uint8)


def thumbnail_row(style: str) -> np.ndarray:
    """The portraits of one style, (sizes, CELLS, CELLS, 3); no person is in two rows."""
    first = STYLES.index(style) * len(SIZES)
    return np.asarray([thumbnail(first + i, style, size) for i, size in enumerate(SIZES)])


def thumbnails() -> np.ndarray:
    """All portraits of the reference, (styles, sizes, CELLS, CELLS, 3)."""
    return np.asarray([thumbnail_row(style) for style in STYLES])


def digest_of_people() -> str:
    """A digest of the attributes of the first people of the default series."""
    people = [draw_person(0, i)[0].to_dict() for i in range(PEOPLE)]
    return hashlib.sha256(json.dumps(people).encode()).hexdigest()[:16]


def read_reference() -> tuple[np.ndarray, dict[str, str]]:
    """The stored thumbnails, shaped as by `thumbnails`, with version and digest."""
    with Image.open(REFERENCE) as picture:
        sheet, about = np.asarray(picture.convert("RGB")), dict(picture.text)
    # (rows * CELLS, columns * CELLS, 3) -> (rows, columns, CELLS, CELLS, 3)
    split = sheet.reshape(len(STYLES), CELLS, len(SIZES), CELLS, 3)
    return split.transpose(0, 2, 1, 3, 4), about


def differences(fresh: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Mean absolute difference in grey levels of each portrait, (..., sizes)."""
    return np.abs(fresh.astype(int) - stored.astype(int)).mean(axis=(-3, -2, -1))


def test_the_version_is_that_of_the_reference():
    assert read_reference()[1]["version"] == str(painter.PAINTER_VERSION), WHAT_TO_DO


def test_the_same_people_are_drawn():
    assert digest_of_people() == read_reference()[1]["people"], f"Other people. {WHAT_TO_DO}"


def test_the_pixels_are_those_of_the_reference():
    gaps = differences(thumbnails(), read_reference()[0])
    changed = {style: round(gap, 2) for style, gap in zip(STYLES, gaps.max(1), strict=True)}
    assert gaps.max() < TOLERANCE, f"The painter has changed: {changed}. {WHAT_TO_DO}"


def test_a_slightly_changed_mouth_is_noticed(monkeypatch):
    sad = face.MOODS["sad"]  # its corners 1.5 of 256 units lower
    monkeypatch.setitem(face.MOODS, "sad", replace(sad, corner=sad.corner + 1.5))
    stored = read_reference()[0][STYLES.index("woodcut")]
    assert differences(thumbnail_row("woodcut"), stored).max() > TOLERANCE


def test_the_cache_key_has_the_versions_and_no_more(monkeypatch):
    key = cache.painter_version()
    monkeypatch.setattr(cache, "PAINTER_VERSION", painter.PAINTER_VERSION + 1)
    assert cache.painter_version() != key
    monkeypatch.undo()
    monkeypatch.setattr(cache.metadata, "version", lambda name: f"another {name}")
    assert (
        cache.painter_version() == f"painter {painter.PAINTER_VERSION}, resvg-py another resvg-py"
    )


def write_reference() -> None:
    """Replace the reference, unless the version is still that of other pictures."""
    fresh, people = thumbnails(), digest_of_people()
    if REFERENCE.exists():
        stored, about = read_reference()
        same = differences(fresh, stored).max() < TOLERANCE and people == about["people"]
        if about["version"] == str(painter.PAINTER_VERSION) and not same:
            sys.exit("The painter has changed: raise PAINTER_VERSION in painter.py first.")
    about = PngImagePlugin.PngInfo()
    about.add_text("version", str(painter.PAINTER_VERSION))
    about.add_text("people", people)
    sheet = fresh.transpose(0, 2, 1, 3, 4).reshape(len(STYLES) * CELLS, len(SIZES) * CELLS, 3)
    Image.fromarray(sheet).save(REFERENCE, optimize=True, pnginfo=about)
    print(f"{REFERENCE.name}: version {painter.PAINTER_VERSION}")


if __name__ == "__main__":
    write_reference()
