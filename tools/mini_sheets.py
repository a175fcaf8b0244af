"""Draw sheets of the mini's portraits: seven people in each style, or models beside real images.

    python tools/mini_sheets.py --out docs/mini_styles.webp
    python tools/mini_sheets.py --compare runs/before runs/after --people 16 --out compare.png

Nothing is selected: image i has seed i, and its prompt is printed below it.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.mini.config import TrainingData  # noqa: E402
from course_lib.mini.data import HELD_OUT_SEED, mini_series  # noqa: E402
from course_lib.mini.evaluation.generate import Generator, portrait_images  # noqa: E402
from course_lib.mini.evaluation.prompts import held_out_prompt  # noqa: E402
from course_lib.pipelines.registry import SHIPPED, model_spec  # noqa: E402
from course_lib.portraits.attributes import MONOCHROME_STYLES, VOCABULARY  # noqa: E402
from course_lib.portraits.captions.words import SAID  # noqa: E402

GAP, TEXT_SIZE, LINES = 6, 10, 5  # pixels, pixels, lines of a prompt at most
LETTER = 5.6  # mean width of a letter of that size, in pixels
# Lossy WebP: at this quality the grain of paper and chalk is kept, at a sixth of PNG's size
WEBP = {"quality": 50, "method": 6}

# Words in braces name a colour
SITTERS = (
    "a young woman with {red }hair in a bun, smiling, wearing a {green }shirt",
    "an elderly man with {white hair and }a beard, round glasses, in front of a bookshelf",
    "a man with {dark skin and }an afro, laughing, wearing a {purple }hoodie",
    "a woman with long {black }hair and a sun hat, against a landscape",
    "a boy with short {blond }hair, looking surprised, against a starry night",
    "a woman with sunglasses and curly {pink }hair, against a sunset",
    "a man with {brown hair, }a mustache and a suit, looking angry",
)


def styles_prompts(styles) -> list[str]:
    """Seven people in each style; without colours where the style shows none."""
    return [
        f"{SAID['style'][style][0]} of "
        + re.sub(r"\{(.*?)\}", "" if style in MONOCHROME_STYLES else r"\1", text)
        for style in styles
        for text in SITTERS
    ]


def held_out_people(data: TrainingData, count: int) -> tuple[list[str], Tensor]:
    """Prompts and real images, (N, 3, H, W) uint8, of held-out people in each style by turns."""
    series = mini_series(100 * count, seed=HELD_OUT_SEED, data=data)
    left = list(range(len(series)))
    styles, chosen = data.only.get("style", VOCABULARY["style"]), []
    for k in range(count):
        style = styles[k % len(styles)]
        chosen.append(next(i for i in left if series.attributes(i).style == style))
        left.remove(chosen[-1])
    prompts = [held_out_prompt(series.attributes(i), i, HELD_OUT_SEED) for i in chosen]
    return prompts, portrait_images(series, chosen)


def sheet(groups: list[list[Tensor]], prompts: list[str], across: int, scale: int) -> Image.Image:
    """Groups of images (3, H, W) side by side, each group with its prompt below.

    Parameters
    ----------
    groups : list of list of Tensor
        For each prompt its images, uint8, all of one size.
    across : int
        Groups in a row.
    scale : int
        Pixels are repeated so often.
    """
    size = scale * groups[0][0].shape[-1]
    width = len(groups[0]) * size
    letters = int(width / LETTER)
    texts = [textwrap.wrap(p, letters, max_lines=LINES, placeholder=" ...") for p in prompts]
    step_x = width + 2 * GAP
    step_y = size + max(map(len, texts)) * (TEXT_SIZE + 2) + 2 * GAP
    rows = -(-len(groups) // across)
    result = Image.new("RGB", (across * step_x, rows * step_y + GAP), "white")
    pen, font = ImageDraw.Draw(result), ImageFont.load_default(size=TEXT_SIZE)
    for i, (images, lines) in enumerate(zip(groups, texts, strict=True)):
        left, top = GAP + i % across * step_x, GAP + i // across * step_y
        for k, image in enumerate(images):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            picture = picture.resize((size, size), Image.Resampling.NEAREST)
            result.paste(picture, (left + k * size, top))
        text = "\n".join(lines)
        pen.multiline_text((left, top + size + 1), text, fill=(60, 60, 60), font=font, spacing=1)
    return result


def save(picture: Image.Image, path: Path) -> None:
    """Write PNG of 256 colors, or lossy WebP, by the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".webp":
        picture.save(path, **WEBP)
    else:
        picture.quantize(256).save(path, optimize=True)  # to the eye the same at a third
    megabytes = path.stat().st_size / 1e6
    print(f"{path}: {picture.width} x {picture.height}, {megabytes:.2f} MB")


def main(arguments: list[str] | None = None) -> int:
    """Generate and draw one sheet."""
    spec = model_spec("mini")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, default=SHIPPED / "mini", help="for the sheet of styles")
    add("--compare", type=Path, nargs="+", metavar="DIR", help="models, beside real images")
    add("--people", type=int, default=16, help="prompts of a comparison")
    add("--across", type=int, help="prompts in a row")
    add("--scale", type=int, default=1, help="enlarge pixels so often")
    add("--out", type=Path, default=ROOT / "docs" / "mini_styles.webp", help=".webp or .png")
    add("--steps", type=int, default=spec.steps)
    add("--guidance", type=float, default=spec.guidance)
    add("--scheduler", default="own")
    add("--seed", type=int, default=0, help="of the first image")
    options = parser.parse_args(arguments)
    try:
        save(_draw(options), options.out)
    except (ValueError, OSError) as error:
        print(f"mini_sheets: {error}", file=sys.stderr)
        return 1
    return 0


def _draw(options: argparse.Namespace) -> Image.Image:
    models = options.compare or [options.model]
    data = TrainingData.read(models[0])
    columns, across = [], options.across or len(SITTERS)
    if options.compare:
        prompts, real = held_out_people(data, options.people)
        columns.append(real)
        across = options.across or 4
        print(f"from left to right: real, {', '.join(map(str, models))}")
    else:
        prompts = styles_prompts(data.only["style"])
    for folder in models:
        generator = Generator(
            folder, steps=options.steps, guidance=options.guidance, scheduler=options.scheduler
        )
        seeds = range(options.seed, options.seed + len(prompts))
        columns.append(generator.generate(prompts, seeds, str(folder)))
    groups = [list(group) for group in zip(*columns, strict=True)]  # by prompt
    return sheet(groups, prompts, across, options.scale)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    raise SystemExit(main())
