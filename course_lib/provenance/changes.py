"""What happens to pictures on their way: saved as JPEG, resized, cropped, blurred, painted over."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.tensors import from_pil, to_pil


def jpeg(image: Tensor, quality: int = 50) -> Tensor:
    """Save (3, H, W) in [-1, 1] as JPEG and read it again."""
    from PIL import Image

    buffer = io.BytesIO()
    to_pil(image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as opened:
        return from_pil(opened.convert("RGB"))


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """To (height, width) pixels, bilinear, without aliasing."""
    found = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)
    return found[0].clamp(-1, 1)


def half_size_and_back(image: Tensor) -> Tensor:
    """Every second pixel's worth of detail is lost."""
    height, width = image.shape[1:]
    return resized(resized(image, (height // 2, width // 2)), (height, width))


def cropped(image: Tensor) -> Tensor:
    """Seven eighths of the height and width, cut out a little off the centre."""
    height, width = (edge * 7 // 8 for edge in image.shape[1:])
    top, left = (edge // 16 - 1 for edge in image.shape[1:])
    return image[:, top : top + height, left : left + width]


def cropped_and_enlarged(image: Tensor) -> Tensor:
    """The crop, at the size that the picture had before."""
    return resized(cropped(image), tuple(image.shape[1:]))


def blurred(image: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation of one pixel."""
    weights = torch.exp(-0.5 * torch.arange(-3.0, 4.0).square())
    kernel = torch.outer(weights, weights)[None, None] / weights.sum().square()
    padded = F.pad(image[:, None], (3,) * 4, mode="replicate")  # (3, 1, H + 6, W + 6)
    return F.conv2d(padded, kernel.to(image.dtype))[:, 0]


def mirrored(image: Tensor) -> Tensor:
    """Left and right exchanged."""
    return image.flip(-1)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "unchanged": lambda image: image,
    "JPEG of quality 50": jpeg,
    "half size and back": half_size_and_back,
    "blur": blurred,
    "crop to 7/8": cropped,
    "crop, enlarged again": cropped_and_enlarged,
    "mirrored": mirrored,
}


def repainted(image: Tensor, prompt: str, *, strength: float, model: Any = "mini") -> Tensor:
    """Noise it and let the model denoise it: image to image, an attack on any faint watermark.

    That it removes watermarks in the pixels is shown in arXiv:2306.01953. `prompt` and `strength`
    are those of `image_to_image`.
    """
    from course_lib.pipelines.editing import image_to_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the size, or words that the mini lacks
        return from_pil(image_to_image(prompt, to_pil(image), strength=strength, model=model)[0])
