"""Small tensor helpers: broadcasting over the batch, and pixels in and out.

Everywhere in the course an image is a float tensor (C, H, W), or a batch (B, C, H, W), with
values in [-1, 1]: -1 is black, +1 is full brightness. Files and screens want other conventions;
these functions convert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.errors import check_whole

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def expand_to(values: Tensor, x: Tensor) -> Tensor:
    """Give one value per image as many trailing axes as `x`, so that they multiply.

    Parameters
    ----------
    values : Tensor, shape (B,) or scalar
        One number for each image of the batch, or a single number for all.
    x : Tensor, shape (B, ...)
        The batch that the values shall be broadcast against. It gives the axes, not the values.

    Returns
    -------
    Tensor, shape (B, 1, ..., 1)
        `values` on the device of `x`. The dtype is unchanged, except that float64 becomes the
        dtype of `x` on an MPS device, which has no float64.

    Raises
    ------
    ValueError
        If `values` is not a vector of length 1 or B.
    """
    if values.ndim == 0:
        values = values[None]
    if values.ndim != 1:
        raise ValueError(
            f"values must have shape (B,), one number per image, but has {tuple(values.shape)}."
        )
    if x.ndim == 0 or values.shape[0] not in (1, x.shape[0]):
        raise ValueError(
            f"values has {values.shape[0]} entries but x has shape {tuple(x.shape)}; "
            "give one value per image of the batch."
        )
    if x.device.type == "mps" and values.dtype == torch.float64:
        values = values.to(x.dtype if x.is_floating_point() else torch.float32)
    return values.to(x.device).reshape(-1, *([1] * (x.ndim - 1)))  # (B,) -> (B, 1, ..., 1)


def as_float64(values: Any) -> Tensor:
    """Return a tensor, an array or numbers as a float64 tensor on the CPU, without gradient.

    To the CPU first, since an MPS device has no float64. Plain numbers keep all their digits.
    """
    if isinstance(values, Tensor):
        return values.detach().cpu().double()
    return torch.as_tensor(values, dtype=torch.float64)


def to_unit(x: Tensor) -> Tensor:
    """Map [-1, 1] to [0, 1], without clipping."""
    return (x + 1) / 2


def to_signed(x: Tensor) -> Tensor:
    """Map [0, 1] to [-1, 1], without clipping."""
    return x * 2 - 1


def uint8_to_signed(pixels: Tensor) -> Tensor:
    """Map bytes 0 .. 255 to float32 in [-1, 1]: 0 becomes -1 and 255 becomes +1."""
    return pixels.float() / 127.5 - 1


def to_uint8(x: Tensor) -> np.ndarray:
    """Turn images in [-1, 1] into bytes that a screen understands.

    Parameters
    ----------
    x : Tensor, shape (..., C, H, W)
        Values outside [-1, 1] are clipped.

    Returns
    -------
    numpy.ndarray of uint8, shape (..., H, W, C)

    Raises
    ------
    ValueError
        If `x` has fewer than three axes, or contains NaN.
    """
    if x.ndim < 3:
        raise ValueError(f"an image has shape (..., C, H, W), but x has shape {tuple(x.shape)}.")
    if torch.isnan(x).any():
        raise ValueError("x contains NaN, so it is no picture; look where the NaN comes from.")
    # .cpu() before .float(): some accelerators lack conversions that the CPU has
    pixels = to_unit(x.detach().cpu().float()).clamp(0, 1).mul(255).round().to(torch.uint8)
    return pixels.movedim(-3, -1).contiguous().numpy()  # (..., C, H, W) -> (..., H, W, C)


def to_pil(x: Tensor) -> Image.Image:
    """Turn one image in [-1, 1], shape (3, H, W) or (1, H, W), into a PIL image.

    A batch of one, (1, C, H, W), is accepted as well, because samplers return batches.
    """
    from PIL import Image

    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        raise ValueError(
            f"to_pil takes one image of shape (3, H, W) or (1, H, W), not {tuple(x.shape)}; "
            "use to_pil_list for a batch."
        )
    pixels = to_uint8(x)
    return Image.fromarray(pixels[..., 0] if x.shape[0] == 1 else pixels)


def to_pil_list(x: Tensor) -> list[Image.Image]:
    """Turn a batch (B, C, H, W) in [-1, 1] into a list of PIL images."""
    if x.ndim != 4:
        raise ValueError(f"to_pil_list takes a batch (B, C, H, W), not {tuple(x.shape)}.")
    return [to_pil(image) for image in x]


def from_pil(image: Image.Image, size: int | None = None) -> Tensor:
    """Turn a PIL image into a tensor (3, H, W) in [-1, 1].

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode; it is converted to RGB (transparency becomes white).
    size : int, optional
        Cut the largest centred square and resize it to `size` x `size`.
    """
    import numpy as np
    from PIL import Image

    size = None if size is None else check_whole("size", size)
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    image = image.convert("RGB")
    if size is not None:
        edge = min(image.size)
        left, top = (image.width - edge) // 2, (image.height - edge) // 2
        square = (left, top, left + edge, top + edge)
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=square)
    pixels = torch.from_numpy(np.array(image))  # (H, W, 3) uint8
    return to_signed(pixels.movedim(-1, 0).float() / 255).contiguous()
