"""Paint the contact sheets in docs/: every style at every quality, and every attribute value.

python tools/contact_sheets.py
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.portraits.attributes import (  # noqa: E402
    STYLES,
    VOCABULARY,
    Attributes,
    sample_attributes,
)
from course_lib.portraits.painter import paint_portrait  # noqa: E402

GAP, LABEL, MARGIN = 4, 15, 118


def grid(rows: list[tuple[str, list[tuple[str, Attributes, int]]]], size: int) -> Image.Image:
    """Rows of (row name, [(caption, attributes, seed), ...]) as one labelled picture."""
    columns = max(len(row) for _, row in rows)
    step_y = size + GAP + LABEL
    sheet = Image.new("RGB", (MARGIN + columns * (size + GAP), len(rows) * step_y + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for r, (name, row) in enumerate(rows):
        top = GAP + r * step_y
        pen.text((6, top + size // 2 - 6), name, fill=(40, 40, 40))
        for c, (caption, attributes, seed) in enumerate(row):
            left = MARGIN + c * (size + GAP)
            sheet.paste(Image.fromarray(paint_portrait(attributes, seed, size)), (left, top))
            pen.text((left + 2, top + size + 1), caption, fill=(90, 90, 90))
    return sheet


def styles_sheet(size: int = 100) -> Image.Image:
    """Three sitters at the three qualities in each of the styles, and three at random."""
    sitters = [
        Attributes(
            hair_style="long",
            hair_color="red",
            expression="smiling",
            pose="turned left",
            clothing="turtleneck",
            clothing_color="green",
            background="gradient",
            background_color="blue",
            age="young",
        ),
        Attributes(
            gender="man",
            skin="brown",
            hair_style="short",
            hair_color="black",
            facial_hair="beard",
            eyewear="round glasses",
            clothing="suit",
            background="bookshelf",
            light="right",
        ),
        Attributes(
            age="elderly",
            hair_style="curly",
            hair_color="white",
            headwear="beret",
            skin="olive",
            expression="laughing",
            background="landscape",
            pose="turned right",
            clothing_color="purple",
            framing="close-up",
        ),
    ]
    rng = np.random.default_rng(4)
    strangers = [sample_attributes(rng) for _ in range(3)]
    rows = []
    for style in STYLES:
        row = []
        for i, quality in enumerate(VOCABULARY["quality"]):
            row += [
                (quality, replace(a, style=style, quality=quality), 3 + 5 * i)
                for a in (sitters[i], sitters[(i + 1) % 3])
            ]
        row += [("", replace(a, style=style), 40 + i) for i, a in enumerate(strangers)]
        rows.append((style, row))
    return grid(rows, size)


def attributes_sheet(size: int = 88) -> Image.Image:
    """One row for each attribute, one picture for each of its values."""
    stage = {
        "age": {"hair_style": "short"},
        "hair_style": {"background_color": "blue"},
        "facial_hair": {"gender": "man", "hair_style": "short"},
        "expression": {"framing": "close-up", "hair_style": "bun"},
        "eyewear": {"framing": "close-up", "hair_style": "bob"},
        "clothing": {"framing": "half-length", "clothing_color": "green"},
        "headwear": {"hair_style": "curly"},
        "light": {"framing": "close-up", "hair_style": "bald", "gender": "man"},
        "pose": {"framing": "close-up", "hair_style": "short", "gender": "man"},
        "background_color": {"background": "gradient"},
    }
    rows = []
    for name, values in VOCABULARY.items():
        if name == "style":
            continue
        base = Attributes(**stage.get(name, {}))
        row = [
            (value, replace(base, **{name: value}), 2 + (r if name != "light" else 0))
            for r, value in enumerate(values)
        ]
        rows.append((name, row))
    return grid(rows, size)


def main() -> None:
    """Write both sheets."""
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    for name, sheet in (("styles", styles_sheet()), ("attributes", attributes_sheet())):
        path = docs / f"contact_sheet_{name}.png"
        sheet.save(path, optimize=True)
        print(
            f"{path.relative_to(ROOT)}: {sheet.width} x {sheet.height}, "
            f"{path.stat().st_size / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
