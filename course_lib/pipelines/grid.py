"""The plot of seeds x guidance x steps: how the settings change one portrait."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from course_lib.pipelines.metadata import attach
from course_lib.pipelines.painting import paint

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

_GAP = 6
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def paint_grid(
    prompt: str,
    model: Any = "mini",
    *,
    seeds: Sequence[int] = (0, 1),
    guidances: Sequence[float] = (1.0, 3.0, 7.0),
    steps: Sequence[int] = (4, 8, 16),
    **options,
) -> Image.Image:
    """Paint one prompt over seeds, guidance and steps, in one labelled picture.

    Parameters
    ----------
    prompt : str
        One prompt.
    model : str, path or pipeline
        As for `paint`.
    seeds, guidances, steps : sequence of numbers
        A block of columns for each seed, in it a column for each number of steps; a row for each
        guidance.
    **options
        Whatever else `paint` takes, such as ``negative_prompt``.

    Returns
    -------
    PIL.Image.Image
        In RGB; it carries the recipe of its first portrait.
    """
    for name, values in (("seeds", seeds), ("guidances", guidances), ("steps", steps)):
        if not values:
            raise ValueError(f"{name} must hold at least one number.")
    if not isinstance(prompt, str):
        raise TypeError("paint_grid takes one prompt; call it once for each.")
    cells: dict[tuple[int, int, int], Image.Image] = {}
    for row, guidance in enumerate(guidances):
        for column, count in enumerate(steps):
            for block, image in enumerate(
                _over_seeds(prompt, model, seeds, guidance=guidance, steps=count, **options)
            ):
                cells[block, row, column] = image
    return _compose(cells, seeds, guidances, steps)


def _over_seeds(prompt: str, model: Any, seeds: Sequence[int], **options) -> list[Image.Image]:
    """One picture a seed; seeds in a row are painted as one batch."""
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return paint(prompt, model, seed=seeds[0], n=len(seeds), **options)
    return [paint(prompt, model, seed=seed, **options)[0] for seed in seeds]


def _compose(cells, seeds, guidances, steps) -> Image.Image:
    """Lay the portraits out with labels above the columns and beside the rows."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = cells[0, 0, 0].size
    text = max(11, min(width // 8, 40))
    font = ImageFont.load_default(text)
    left, line = int(text * 6.5), int(text * 1.5)
    block_width = len(steps) * (width + _GAP) + _GAP
    total = (
        left + len(seeds) * (block_width + 2 * _GAP),
        2 * line + len(guidances) * (height + _GAP),
    )
    sheet = Image.new("RGB", total, _PAPER)
    draw: ImageDraw.ImageDraw = ImageDraw.Draw(sheet)
    for block, seed in enumerate(seeds):
        x_0 = left + block * (block_width + 2 * _GAP)
        middle = x_0 + (block_width - _GAP) / 2
        draw.text((middle, line / 2), f"seed {seed}", _INK, font, anchor="mm")
        for column, count in enumerate(steps):
            x = x_0 + column * (width + _GAP)
            label = f"{count} steps" if column == 0 else f"{count}"
            draw.text((x + width / 2, 1.5 * line), label, _INK, font, anchor="mm")
            for row in range(len(guidances)):
                sheet.paste(cells[block, row, column], (x, 2 * line + row * (height + _GAP)))
    for row, guidance in enumerate(guidances):
        y = 2 * line + row * (height + _GAP) + height / 2
        draw.text((left - _GAP, y), f"guidance {guidance:g}", _INK, font, anchor="rm")
    return attach(sheet, json.loads(cells[0, 0, 0].info["course"]))
