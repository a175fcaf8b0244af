"""Paint the contact sheets in docs/: people in every style, and every attribute value.

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

SIZE, GAP, LABEL, MARGIN = 104, 4, 15, 96  # pixels; from 96 on, strands and wrinkles are drawn
# Lossy WebP: at this quality the grain of paper and chalk is kept, at a sixth of PNG's size.
WEBP = {"quality": 50, "method": 6}
DARK, LIGHT = (40, 40, 40), (90, 90, 90)

# Which attributes share a row of the sheet, at most ten pictures together.
ROWS = (
    ("age", "gender", "pose"),
    ("skin", "framing"),
    ("hair_color",),
    ("hair_style",),
    ("eyewear", "facial_hair"),
    ("headwear", "light"),
    ("expression", "quality"),
    ("clothing",),
    ("clothing_color",),
    ("background",),
    ("background_color",),
)
# Who sits for an attribute: people on whom it is easy to see.
SITTERS: dict[str, dict[str, str]] = {
    "age": {"hair_style": "short", "skin": "olive"},
    "gender": {"hair_style": "curly", "skin": "brown", "hair_color": "black"},
    "pose": {"gender": "man", "hair_style": "short", "hair_color": "black", "skin": "tan"},
    "skin": {"hair_style": "bun", "hair_color": "black", "clothing_color": "yellow"},
    "framing": {"gender": "man", "skin": "dark", "hair_color": "black", "hair_style": "buzz cut"},
    "hair_style": {"skin": "tan", "background_color": "blue", "clothing_color": "white"},
    "eyewear": {"framing": "close-up", "hair_style": "bob", "hair_color": "blond"},
    "facial_hair": {"gender": "man", "hair_style": "short", "age": "elderly", "hair_color": "gray"},
    "headwear": {"hair_style": "curly", "skin": "brown", "hair_color": "black"},
    "light": {"framing": "close-up", "hair_style": "bald", "gender": "man"},
    "expression": {"framing": "close-up", "hair_style": "bun", "skin": "olive"},
    "quality": {"hair_style": "braids", "hair_color": "red", "age": "child"},
    "clothing": {"framing": "half-length", "clothing_color": "green", "hair_style": "afro"},
    "clothing_color": {"gender": "man", "hair_style": "spiky", "age": "young"},
    "background": {"age": "elderly", "hair_color": "white", "hair_style": "bob"},
    "background_color": {"background": "gradient", "skin": "dark", "hair_color": "black"},
}


def paste(sheet: Image.Image, attributes: Attributes, seed: int, left: int, top: int) -> None:
    """Paint a portrait onto the sheet."""
    sheet.paste(Image.fromarray(paint_portrait(attributes, seed, SIZE)), (left, top))


def styles_sheet() -> Image.Image:
    """One person at the three qualities and six people drawn at random, in each style."""
    sitter = Attributes(
        hair_style="long",
        hair_color="red",
        expression="smiling",
        pose="turned left",
        clothing="turtleneck",
        clothing_color="green",
        background="gradient",
        background_color="blue",
        age="young",
    )
    rng = np.random.default_rng(4)
    strangers = [sample_attributes(rng, only={"quality": ["masterful"]}) for _ in range(6)]
    columns = [(quality, replace(sitter, quality=quality), 3) for quality in VOCABULARY["quality"]]
    labels = ("other people, masterful", *[""] * 5)
    columns += [
        (label, stranger, 40 + i)
        for i, (label, stranger) in enumerate(zip(labels, strangers, strict=True))
    ]
    step = SIZE + GAP
    size = (MARGIN + len(columns) * step, LABEL + len(STYLES) * step)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for c, (name, attributes, seed) in enumerate(columns):
        pen.text((MARGIN + c * step, 1), name, fill=LIGHT)
        for r, style in enumerate(STYLES):
            paste(
                sheet, replace(attributes, style=style), seed, MARGIN + c * step, LABEL + r * step
            )
    for r, style in enumerate(STYLES):
        pen.text((4, LABEL + r * step + SIZE // 2 - 6), style, fill=DARK)
    return sheet


def attributes_sheet() -> Image.Image:
    """One picture for each value of each attribute; a group of pictures shows one person."""
    step, height = SIZE + GAP, SIZE + 2 * LABEL + GAP
    sheet = Image.new("RGB", (10 * step, len(ROWS) * height), "white")
    pen = ImageDraw.Draw(sheet)
    for r, names in enumerate(ROWS):
        column, top = 0, r * height
        for name in names:
            pen.text((column * step + 1, top + 1), name.replace("_", " "), fill=DARK)
            sitter = Attributes(**SITTERS.get(name, {}))
            for value in VOCABULARY[name]:
                left = column * step
                paste(sheet, replace(sitter, **{name: value}), 2 + r, left, top + LABEL)
                pen.text((left + 1, top + LABEL + SIZE), value, fill=LIGHT)
                column += 1
    return sheet


def main() -> None:
    """Write both sheets."""
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    for name, sheet in (("styles", styles_sheet()), ("attributes", attributes_sheet())):
        path = docs / f"contact_sheet_{name}.webp"
        sheet.save(path, **WEBP)
        kilobytes = path.stat().st_size / 1000
        print(f"{path.relative_to(ROOT)}: {sheet.width} x {sheet.height}, {kilobytes:.0f} kB")


if __name__ == "__main__":
    main()
