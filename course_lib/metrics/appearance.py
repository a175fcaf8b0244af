"""How pictures look, whatever they show: spectra, texture, sharpness, grain.

Pictures are bytes, (N, 3, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.device import make_generator


def radial_spectra(images: Tensor) -> Tensor:
    """Log power of brightness and of two color differences by radius of frequency, (N, 3 H / 2).

    Radii are whole cycles an image, from 1 to H / 2; each bin holds the mean power of its ring.
    """
    red, green, blue = _unit(images).unbind(dim=1)
    channels = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], dim=1)
    size = channels.shape[-1]
    power = torch.fft.fft2(channels, norm="ortho").abs().square()  # (N, 3, H, H)
    frequency = torch.fft.fftfreq(size, 1 / size)
    radius = torch.hypot(frequency[:, None], frequency[None]).round().long().flatten()
    sums = torch.zeros(*power.shape[:2], int(radius.max()) + 1)
    sums.index_add_(2, radius, power.flatten(2))
    rings = (sums / radius.bincount())[:, :, 1 : size // 2 + 1]
    # 1e-6 is below the power of rounding to bytes, 1 / (12 * 255^2)
    return (rings + 1e-6).log().flatten(1)


def random_features(images: Tensor, *, seed: int = 0) -> Tensor:
    """Mean and deviation of the responses of `random_maps` over the whole image, (N, 256)."""
    rows = []
    for part in images.split(8):
        maps = random_maps(_unit(part), seed=seed)
        pooled = [torch.cat([m.mean(dim=(2, 3)), m.std(dim=(2, 3))], dim=1) for m in maps]
        rows.append(torch.cat(pooled, dim=1))
    return torch.cat(rows)


def random_maps(x: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Responses of two layers of fixed random filters to images in [0, 1], each with ReLU.

    32 filters of 5 x 5 without a mean, so that they see texture and not brightness, then 96 of
    3 x 3 at half the resolution.
    """
    generator = make_generator(seed)
    first = torch.randn(32, 3, 5, 5, generator=generator) * (2 / 75) ** 0.5  # He: 2 / fan-in
    first -= first.mean(dim=(2, 3), keepdim=True)
    second = torch.randn(96, 32, 3, 3, generator=generator) * (2 / 288) ** 0.5
    low = F.conv2d(x, first.to(x)).relu()
    return low, F.conv2d(F.avg_pool2d(low, 2), second.to(x)).relu()


def sharpness(images: Tensor) -> Tensor:
    """Mean absolute Laplacian of the brightness, (N,), for brightness in [0, 1]."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    brightness = _unit(images).mean(dim=1, keepdim=True)
    return F.conv2d(brightness, kernel).abs().mean(dim=(1, 2, 3))


def grain(images: Tensor, *, share: float = 0.1) -> Tensor:
    """Root mean square of the high-frequency residual in the flattest parts of images, (N,).

    The residual is a pixel minus the mean of its 3 x 3 neighbourhood, scaled so that white noise
    of deviation sigma gives sigma. How flat a pixel's surroundings are is judged on the image
    averaged over 7 x 7 pixels, which hardly sees grain: by the largest minus the smallest value
    within 9 x 9 pixels. The `share` of all pixels where this is least counts. For values in [0, 1];
    at least 1 / (255 sqrt(12)), the deviation of rounding to bytes.
    """
    rows = []
    for part in images.split(64):
        x = _unit(part)
        residual = x[..., 1:-1, 1:-1] - F.avg_pool2d(x, 3, 1)
        energy = residual.square().mean(dim=1) * 9 / 8  # white noise keeps 8/9 of its variance
        smooth = F.avg_pool2d(x, 7, 1)
        spread = (F.max_pool2d(smooth, 9, 1) + F.max_pool2d(-smooth, 9, 1)).amax(dim=1)
        flat = spread <= spread.flatten(1).quantile(share, dim=1)[:, None, None]
        energy = energy[:, 6:-6, 6:-6] * flat  # 7 x 7, then 9 x 9: 7 pixels of margin, 1 is gone
        rows.append((energy.sum(dim=(1, 2)) / flat.sum(dim=(1, 2))).sqrt())
    return torch.cat(rows).clamp(min=1 / (255 * 12**0.5))


def _unit(images: Tensor) -> Tensor:
    """Bytes -> floats in [0, 1]."""
    return images.float() / 255
