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

FOLDER = Path(__file__).resolve().parents[1] / "data" / "portraits"
ENTRIES = [json.loads(line) for line in (FOLDER / "metadata.jsonl").read_text().splitlines()]


def test_checksums_hold_and_cover_every_file():
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
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


def test_the_pictures_are_what_the_painter_paints_now():
    # Every style once. If this fails after a change to the painter, run
    # tools/make_sample_portraits.py again. Other platforms may round a pixel differently.
    for entry in ENTRIES[:10]:
        attributes = Attributes(**entry["attributes"])
        fresh = paint_portrait(attributes, entry["seed"], size=128).astype(int)
        stored = np.asarray(Image.open(FOLDER / entry["file_name"])).astype(int)
        assert np.abs(fresh - stored).mean() < 1.0, entry["file_name"]
