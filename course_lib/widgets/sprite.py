"""Pack all frames of a widget into one compressed picture, so that they travel once."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from course_lib.tensors import to_uint8

_LONGEST_EDGE = 16383  # WebP's limit
_MOST_PIXELS = 40_000_000  # 160 MB once the browser has decoded it


def pack_sprite(
    rows: Mapping[str, Tensor], *, quality: int = 80, lossless: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """Lay frames out in a grid and compress the grid.

    Tiles fill the grid from left to right and top to bottom, row after row. A frame that equals
    the one before it in its row is stored once.

    Parameters
    ----------
    rows : dict of str to Tensor (N, C, H, W) in [-1, 1]
        Every row has the same N, H and W.
    quality : int
        WebP quality, 1 to 100. Ignored when `lossless`.
    lossless : bool
        PNG instead, for pixels that must be exact. Noise then costs about four times as much.

    Returns
    -------
    data : bytes
        The compressed sprite.
    layout : dict
        ``mime``, ``rows`` (names), ``at`` (for each row, the tile of each of its N frames),
        ``columns`` and ``lines`` of the grid, ``width`` and ``height`` of a frame in pixels.

    Raises
    ------
    ValueError
        If the quality is out of range or the sprite would be too large for a browser.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must lie in 1..100, not {quality}; 80 looks good.")
    tiles: list[np.ndarray] = []
    at: list[list[int]] = []
    count, _, height, width = next(iter(rows.values())).shape
    plan_grid(count, width, height)  # what is far too large should not be converted first
    for frames in rows.values():
        pixels = to_uint8(frames)  # (N, H, W, C)
        at.append([])
        for index in range(count):
            if index == 0 or not np.array_equal(pixels[index], pixels[index - 1]):
                tiles.append(pixels[index])
            at[-1].append(len(tiles) - 1)
    columns, lines = plan_grid(len(tiles), width, height)
    sprite = np.zeros((lines * height, columns * width, 3), dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * height, (number % columns) * width
        sprite[top : top + height, left : left + width] = tile  # grey broadcasts to three channels
    data = compress(sprite, quality=quality, lossless=lossless)
    return data, describe_grid(list(rows), at, columns, lines, width, height, lossless)


def describe_grid(
    rows: Sequence[str],
    at: Sequence[Sequence[int]],
    columns: int,
    lines: int,
    width: int,
    height: int,
    lossless: bool,
) -> dict[str, Any]:
    """The layout that `pack_sprite` returns, as JSON."""
    return {
        "mime": "image/png" if lossless else "image/webp",
        "rows": list(rows),
        "at": [list(one) for one in at],
        "columns": columns,
        "lines": lines,
        "width": width,
        "height": height,
    }


def compress(pixels: np.ndarray, *, quality: int = 80, lossless: bool = False) -> bytes:
    """Bytes (H, W, 3) as WebP, or as PNG when `lossless`."""
    buffer = io.BytesIO()
    if lossless:
        Image.fromarray(pixels).save(buffer, "PNG")
    else:
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=3)
    return buffer.getvalue()


def plan_grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and lines of a grid of tiles that is about square and within the limits."""
    columns = min(math.ceil(math.sqrt(count * height / width)), count, _LONGEST_EDGE // width)
    lines = math.ceil(count / max(columns, 1))
    too_long = columns < 1 or lines * height > _LONGEST_EDGE
    if too_long or columns * width * lines * height > _MOST_PIXELS:
        raise ValueError(
            f"{count} frames of {width} x {height} pixels (all rows together) are too much for a "
            f"page; the limit is {_MOST_PIXELS // 1_000_000} million pixels. Show every second "
            "frame (frames[::2]), fewer rows, or smaller pictures."
        )
    return columns, lines


def small_png(png: bytes) -> bytes:
    """The same picture in 256 colours, about a third of the bytes where it shows noise."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
