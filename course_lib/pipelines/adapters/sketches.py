"""Line drawings: made from a picture, or drawn by the user and checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.tensors import from_pil, to_unit

if TYPE_CHECKING:
    from PIL import Image

SIGMA = 1.5  # pixels of blur: brush marks, chalk and dither at 128 pixels are finer, eyes are not
# Change of a colour from one pixel to the next, of 1 from black to white. Below are shadows
THRESHOLD = 0.05
MOSTLY_WHITE = 0.5  # no drawing has lines on half of its pixels: its colours are exchanged


def sketch_of(image: Image.Image) -> Image.Image:
    """A line drawing of a picture: white lines on black, as sketch adapters take them.

    Parameters
    ----------
    image : PIL.Image.Image

    Returns
    -------
    PIL.Image.Image
        Mode ``L``, of the same size; 255 on the lines, which are one pixel wide, 0 elsewhere.
    """
    from PIL import Image

    lines = edge_lines(from_pil(image)[None])[0, 0]
    return Image.fromarray((255 * lines).byte().numpy())


def edge_lines(images: Tensor) -> Tensor:
    """Lines where colours change, as in the first steps of Canny's detector (1986).

    The pictures are blurred; of the three colours, the one that changes most gives a pixel's
    gradient. A pixel belongs to a line where the gradient is steep and no smaller than at its two
    neighbours along the gradient.

    Parameters
    ----------
    images : Tensor, shape (B, 3, H, W)
        In [-1, 1].

    Returns
    -------
    Tensor, shape (B, 1, H, W)
        1 on lines, 0 elsewhere.
    """
    padded = F.pad(_blurred((images + 1) / 2), (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2  # (B, 3, H, W)
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    slope, color = (across.square() + down.square()).sqrt().max(dim=1, keepdim=True)
    across, down = across.gather(1, color), down.gather(1, color)  # (B, 1, H, W)
    unit = torch.cat([across, down], 1).permute(0, 2, 3, 1) / (slope[:, 0, ..., None] + 1e-9)
    ahead, behind = _beside(slope, unit), _beside(slope, -unit)
    # ">" on one side only: of two equal neighbours one stays
    return ((slope > THRESHOLD) & (slope >= ahead) & (slope > behind)).float()


def _blurred(images: Tensor) -> Tensor:
    """Gaussian blur, (B, C, H, W)."""
    reach = math.ceil(3 * SIGMA)
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * SIGMA**2))
    weights = (weights / weights.sum()).to(images).expand(images.shape[1], 1, 1, -1)
    options = {"groups": images.shape[1]}
    images = F.conv2d(F.pad(images, (reach, reach, 0, 0), mode="replicate"), weights, **options)
    images = F.pad(images, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(images, weights.transpose(2, 3), **options)


def _beside(slope: Tensor, unit: Tensor) -> Tensor:
    """`slope`, (B, 1, H, W), one pixel further along `unit`, (B, H, W, 2), interpolated."""
    height, width = slope.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([columns, rows], -1).to(unit) + unit
    # grid_sample counts from -1, the left edge of the first pixel, to 1, the right of the last
    places = (places + 0.5) / torch.tensor([width, height]).to(unit) * 2 - 1
    return F.grid_sample(slope, places, padding_mode="border", align_corners=False)


def line_agreement(image: Image.Image, sketch: Image.Image, *, reach: int = 2) -> float:
    """How well the lines of a picture agree with a sketch, from 0 to 1.

    The F1 score of boundaries, as segmentation is judged by (Martin, Fowlkes and Malik 2004): the
    harmonic mean of precision, the share of the picture's line pixels that have one of the sketch
    near, and recall, the share of the sketch's line pixels that have one of the picture near.

    Parameters
    ----------
    image : PIL.Image.Image
    sketch : PIL.Image.Image
        Of the same size; what is lighter than half counts as line.
    reach : int
        How near, in pixels, to the sides and diagonally.

    Raises
    ------
    ValueError
        If the sizes differ.
    """
    height, width = sketch.height, sketch.width
    if image.size != sketch.size:
        raise ValueError(f"The picture has {image.size} pixels and the sketch {sketch.size}.")
    drawn = (sketch_tensor(sketch, (height, width)) > 0.5).float()
    found = edge_lines(from_pil(image)[None])
    near = [F.max_pool2d(lines, 2 * reach + 1, 1, reach) for lines in (drawn, found)]
    both = [(found * near[0]).sum() / found.sum(), (drawn * near[1]).sum() / drawn.sum()]
    precision, recall = (float(part.nan_to_num()) for part in both)  # 0 / 0: no lines at all
    return 2 * precision * recall / max(precision + recall, 1e-9)


def sketch_tensor(sketch: Image.Image, size: int | tuple[int, int]) -> Tensor:
    """Check a sketch and make it a tensor, (1, 1, H, W) in [0, 1].

    Parameters
    ----------
    sketch : PIL.Image.Image
        Mode ``L`` or ``1``, white lines on black.
    size : int or (int, int)
        The height and width that the model paints, in pixels.

    Raises
    ------
    TypeError
        If it is no picture.
    ValueError
        If mode or size are others, or it is black on white.
    """
    if not hasattr(sketch, "mode"):
        raise TypeError(f"A sketch is a PIL image, not {type(sketch).__name__}.")
    height, width = (size, size) if isinstance(size, int) else size
    if sketch.mode not in ("L", "1"):
        raise ValueError(
            f"A sketch has one channel (mode L or 1), not mode {sketch.mode}. Draw on "
            'Image.new("L", ...), or take the lines of a picture with sketch_of(image).'
        )
    if sketch.size != (width, height):
        raise ValueError(
            f"The sketch is {sketch.width} x {sketch.height} pixels, and the picture will be "
            f"{width} x {height}. Draw it in that size: resizing would blur thin lines."
        )
    lines = to_unit(from_pil(sketch)[None, :1])
    if lines.mean() > MOSTLY_WHITE:
        raise ValueError(
            "The sketch is mostly white. Lines are white on black; turn it over with "
            "PIL.ImageOps.invert(sketch)."
        )
    return lines
