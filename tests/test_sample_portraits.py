"""The pictures in data/portraits are whole, balanced, true to their captions and up to date."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from course_lib.portraits import (
    STYLES,
    VOCABULARY,
    Attributes,
    PortraitFolder,
    paint_portrait,
    parse_caption,
    visible_attributes,
)
from course_lib.portraits.attributes import HAIR_COLOR_BY_AGE

FOLDER = Path(__file__).resolve().parents[1] / "data" / "portraits"
LIST = (FOLDER / "metadata.jsonl").read_text(encoding="utf-8")
ENTRIES = [json.loads(line) for line in LIST.splitlines()]


def test_checksums_hold_and_cover_every_file():
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    files = {f.relative_to(FOLDER).as_posix(): f for f in FOLDER.rglob("*") if f.is_file()}
    files.pop("SHA256SUMS")
    assert listed == {n: hashlib.sha256(f.read_bytes()).hexdigest() for n, f in files.items()}
    assert sum(f.stat().st_size for f in files.values()) < 8 * 2**20


def test_it_follows_the_imagefolder_convention():
    # What `datasets` asks of an imagefolder: unique relative names of existing files, and the
    # same keys with the same types on every line. (`datasets` itself is not a requirement.)
    names = [entry["file_name"] for entry in ENTRIES]
    assert len(set(names)) == len(names) == 256
    assert names == [f.relative_to(FOLDER).as_posix() for f in sorted(FOLDER.rglob("*.webp"))]
    shapes = {tuple((k, type(v)) for k, v in entry.items()) for entry in ENTRIES}
    assert shapes == {(("file_name", str), ("text", str), ("attributes", dict), ("seed", int))}
    assert {tuple(entry["attributes"]) for entry in ENTRIES} == {tuple(VOCABULARY)}
    folder = PortraitFolder(FOLDER, size=128)
    assert folder.captions == [entry["text"] for entry in ENTRIES] and not folder.skipped
    assert folder[255][0].shape == (3, 128, 128)


def test_captions_are_true():
    for entry in ENTRIES:
        attributes = Attributes(**entry["attributes"])
        shown = {name: getattr(attributes, name) for name in visible_attributes(attributes)}
        stated = parse_caption(entry["text"])
        assert stated and stated.items() <= shown.items(), entry["text"]


def test_every_value_occurs_and_styles_and_qualities_are_balanced():
    for field, values in VOCABULARY.items():
        assert {entry["attributes"][field] for entry in ENTRIES} == set(values)
    pairs = Counter((e["attributes"]["style"], e["attributes"]["quality"]) for e in ENTRIES)
    # 256 over 10 styles and 3 qualities: 8 or 9 of each pair
    assert len(pairs) == 3 * len(STYLES) and set(pairs.values()) <= {8, 9}


def test_people_are_as_the_card_says():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    people = [entry["attributes"] for entry in ENTRIES]
    colors = VOCABULARY["hair_color"]
    for age in VOCABULARY["age"]:
        counts = Counter(p["hair_color"] for p in people if p["age"] == age)
        assert f"| {age} | {' | '.join(str(counts[color]) for color in colors)} |" in card
        # Within one person of the shares that PortraitDataset draws
        for color, percent in zip(colors, HAIR_COLOR_BY_AGE[age], strict=True):
            assert abs(counts[color] - percent / 100 * counts.total()) < 1, (age, color)
    for field, values in VOCABULARY.items():
        counts = Counter(p[field] for p in people)
        row = ", ".join(f"{value} {counts[value]}" for value in values)
        assert f"| {field.replace('_', ' ')} | {row} |" in card
    dyed = [p for p in people if p["hair_color"] in ("blue", "pink")]
    assert f"{len(dyed)} of 256 people (5 %)" in card and 0.045 < len(dyed) / 256 < 0.055
    men = [p for p in people if p["gender"] == "man" and p["age"] != "child"]
    bearded = [p for p in people if p["facial_hair"] != "none"]
    gray = sum(p["hair_color"] in ("gray", "white") for p in bearded)
    unusual = sum(p in dyed for p in bearded)
    words = " ".join(card.split())
    assert f"{len(bearded)} of those {len(men)} have some" in words
    assert f"({gray} gray or white, {unusual} blue or pink)" in words
    bald = [p for p in people if p["hair_style"] == "bald"]
    assert f"**Bald** are {len(bald)} of those men" in words and all(p in men for p in bald)


def test_the_pictures_are_what_the_painter_paints_now():
    # Every style once. If this fails after a change to the painter, run
    # tools/make_sample_portraits.py again. Other platforms may round a pixel differently.
    for entry in ENTRIES[:10]:
        attributes = Attributes(**entry["attributes"])
        fresh = paint_portrait(attributes, entry["seed"], size=128).astype(int)
        stored = np.asarray(Image.open(FOLDER / entry["file_name"])).astype(int)
        assert np.abs(fresh - stored).mean() < 1.0, entry["file_name"]
