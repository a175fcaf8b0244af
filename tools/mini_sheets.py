"""Sheets of portraits by the mini in docs/: its art styles, and 64 attribute values.

python tools/mini_sheets.py [--steps N] [--guidance G] [--scheduler NAME]

Nothing is picked: picture i has seed i, and its prompt stands below it.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.mini.config import MINI_STYLES  # noqa: E402
from course_lib.mini.easel import Easel  # noqa: E402
from course_lib.pipelines.registry import SHIPPED, model_spec  # noqa: E402
from course_lib.portraits.attributes import (  # noqa: E402
    MONOCHROME_STYLES,
    VOCABULARY,
)
from course_lib.portraits.captions.words import SAID  # noqa: E402

GAP, TEXT_SIZE, LETTERS, LINES = 6, 10, 23, 5

# What stands in braces is a colour
SITTERS = (
    "a young woman with {red }hair in a bun, smiling, wearing a {green }shirt",
    "an elderly man with {white hair and }a beard, round glasses, in front of a bookshelf",
    "a man with {dark skin and }an afro, laughing, wearing a {purple }hoodie",
    "a woman with long {black }hair and a sun hat, against a landscape",
    "a boy with short {blond }hair, looking surprised, against a starry night",
    "a woman with sunglasses and curly {pink }hair, against a sunset",
    "a man with {brown hair, }a mustache and a suit, looking angry",
)
_NOUNS = {name: phrases[0] for name, phrases in SAID["style"].items()}


def styles_prompts() -> list[str]:
    """Seven sitters, side by side, in each of the mini's styles."""
    return [
        f"{_NOUNS[style]} of {_sitter(text, style)}" for style in MINI_STYLES for text in SITTERS
    ]


def _sitter(text: str, style: str) -> str:
    """The sitter with colours or, where the style shows none, without."""
    return re.sub(r"\{(.*?)\}", "" if style in MONOCHROME_STYLES else r"\1", text)


def attributes_prompts() -> list[str]:
    """64 prompts, each with one value more than its neighbours have, in the coloured styles."""
    colored = [style for style in MINI_STYLES if style not in MONOCHROME_STYLES]
    rows: list[str] = []
    rows += [f"a woman with long {c} hair" for c in VOCABULARY["hair_color"]]
    rows += ["a man with a bald head", "a man with a brown buzz cut"]
    rows += [f"a woman with {h} brown hair" for h in ("short", "spiky", "long", "curly")]
    rows += [f"a woman with black hair in {h}" for h in ("a bob", "an afro", "a bun", "braids")]
    rows += [f"a young man with {w}" for w in ("glasses", "round glasses", "sunglasses")]
    rows += [f"a man with brown hair and a {w}" for w in ("mustache", "goatee", "beard")]
    rows += [f"a woman with a {w}" for w in VOCABULARY["headwear"][1:]]
    rows += [f"a man, {SAID['expression'][e][0]}" for e in VOCABULARY["expression"]]
    rows += [f"a woman with {s} skin and black hair" for s in VOCABULARY["skin"]]
    rows += [f"a man {SAID['background'][b][0]}" for b in VOCABULARY["background"][2:]]
    rows += ["a woman on a plain yellow background", "a woman against a blue gradient"]
    rows += [f"a {g}" for g in ("little girl", "little boy", "young woman", "young man")]
    rows += [f"an {g}" for g in ("adult woman", "adult man", "elderly woman", "elderly man")]
    rows += [f"a woman wearing a blue {c}" for c in VOCABULARY["clothing"]]
    rows += [f"a man, {SAID['light'][side][0]}" for side in VOCABULARY["light"]]
    return [f"{text}, {_NOUNS[colored[i % len(colored)]]}" for i, text in enumerate(rows)]


def sheet(pictures: torch.Tensor, prompts: list[str], columns: int) -> Image.Image:
    """Pictures at full size in rows, each with its prompt below."""
    size = pictures.shape[-1]
    step_x, step_y = size + GAP, size + LINES * (TEXT_SIZE + 2) + GAP
    rows = -(-len(prompts) // columns)
    result = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    pen, font = ImageDraw.Draw(result), ImageFont.load_default(size=TEXT_SIZE)
    for i, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        left, top = GAP + i % columns * step_x, GAP + i // columns * step_y
        result.paste(Image.fromarray(picture.permute(1, 2, 0).numpy()), (left, top))
        label = "\n".join(textwrap.wrap(prompt, LETTERS, max_lines=LINES, placeholder=" ..."))
        pen.multiline_text((left, top + size + 1), label, fill=(60, 60, 60), font=font, spacing=1)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Paint both sheets."""
    spec = model_spec("mini")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED / "mini")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs")
    parser.add_argument("--steps", type=int, default=spec.steps)
    parser.add_argument("--guidance", type=float, default=spec.guidance)
    parser.add_argument("--scheduler", default=spec.scheduler)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    easel = Easel(
        options.model,
        steps=options.steps,
        guidance=options.guidance,
        scheduler=options.scheduler,
        batch=16,
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, prompts, columns in (
        ("styles", styles_prompts(), len(SITTERS)),
        ("attributes", attributes_prompts(), 8),
    ):
        seeds = [options.seed + i for i in range(len(prompts))]
        picture = sheet(easel.paint(prompts, seeds, name), prompts, columns)
        path = options.folder / f"mini_{name}.png"
        picture.quantize(256).save(path, optimize=True)  # a third of the size, to the eye the same
        megabytes = path.stat().st_size / 1e6
        print(f"{path}: {picture.width} x {picture.height}, {megabytes:.2f} MB")


if __name__ == "__main__":
    main()
