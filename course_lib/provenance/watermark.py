r"""A spread-spectrum watermark in the pixels of a picture (Cox and others, IEEE TIP 6(12), 1997).

A secret number, the key, makes a noise pattern :math:`w` of 64 x 64 pixels with middle frequencies
only, and :math:`x + s\,m\,w` is the marked picture: `s` is the strength, and the mask `m` is larger
where the picture has texture that hides the pattern. Who knows the key finds the pattern again by
correlation, though each pixel changes less than the eye can see. The pattern repeats over the
picture, so a crop contains it too, moved by an unknown offset: all 4,096 offsets are tried at once
with the Fourier transform, and the p-value accounts for having tried them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_number, check_whole

TILE = 64  # pixels: the pattern's period
MAX_BITS = 32
# Cycles a pixel. Below lies what pictures are made of, above what JPEG and resizing remove.
_LOWEST, _HIGHEST = 0.08, 0.30
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG


@dataclass(frozen=True)
class WatermarkReading:
    """What the detector finds.

    Attributes
    ----------
    score : float
        The largest correlation over all offsets, in standard deviations of the correlations.
    p_value : float
        Probability of such a score, or a larger one, in a picture without this key's watermark.
    bits : tuple of bool
        The message, as far as it can be read; meaningless where the watermark is not there.
    offset : (int, int)
        Rows and columns by which the pattern is moved: not (0, 0) after a crop.
    """

    score: float
    p_value: float
    bits: tuple[bool, ...]
    offset: tuple[int, int]

    def found(self, level: float = 1e-6) -> bool:
        """Whether the watermark is there; in a share `level` of unmarked pictures it is wrong."""
        return self.p_value < level


def add_watermark(
    image: Tensor, key: int, *, bits: Sequence[bool | int] = (), strength: float = 0.015
) -> Tensor:
    """Mark a picture.

    Parameters
    ----------
    image : Tensor, shape (3, H, W)
        In [-1, 1], at least 64 x 64 pixels.
    key : int
        Any seed. Who knows it can find the watermark, and remove it.
    bits : sequence of bool, optional
        A message of at most 32 bits. Each has a pattern of its own, added or subtracted, so the
        more there are, the weaker is each.
    strength : float
        Standard deviation of the change as a share of the range, from black to white; more is
        found more surely and seen more easily. 0.015 is a PSNR of about 36 dB.

    Returns
    -------
    Tensor, shape (3, H, W)
        In [-1, 1].
    """
    _check_picture(image)
    strength = check_number("strength", strength, low=0, high=0.5)
    signs = torch.tensor([1.0, *(1.0 if bit else -1.0 for bit in bits)], dtype=torch.float64)
    pattern = (_patterns(key, len(bits)) * signs[:, None, None]).sum(dim=0)
    height, width = image.shape[1:]
    pattern = pattern.repeat(-(-height // TILE), -(-width // TILE))[:height, :width]
    contrast = local_deviation(brightness(image))
    # At least half the mean strength in flat parts, which are a large part of some styles
    mask = (0.5 + contrast / contrast.mean().clamp(min=1e-6)).clamp(max=2)
    change = pattern / pattern.std() * mask / mask.mean()
    return (image.double() + 2 * strength * change).clamp(-1, 1).to(image.dtype)


def read_watermark(image: Tensor, key: int, *, num_bits: int = 0) -> WatermarkReading:
    """Look for the watermark of a key.

    Parameters
    ----------
    image : Tensor, shape (3, H, W)
        In [-1, 1], at least 64 x 64 pixels, at the scale at which it was marked.
    key : int
    num_bits : int
        Length of the message, which the reader must know.
    """
    _check_picture(image)
    spectrum = torch.fft.fft2(fold(whitened(brightness(image))))
    # Phases only: otherwise the few frequencies in which the picture is strong decide
    spectrum = spectrum / spectrum.abs().clamp(min=1e-9)
    patterns = torch.fft.fft2(_patterns(key, num_bits))
    correlation = torch.fft.ifft2(spectrum * patterns.conj()).real  # (1 + bits, TILE, TILE)
    deviation = correlation.std(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    scores = correlation / deviation
    best = int(scores[0].argmax())
    score = scores[0].flatten()[best].item()
    # Of one offset the score is nearly normal; 4,096 are tried
    single = 0.5 * math.erfc(score / math.sqrt(2))
    p_value = -math.expm1(TILE * TILE * math.log1p(-single)) if single < 1 else 1.0
    bits = tuple((scores[1:].flatten(1)[:, best] > 0).tolist())
    return WatermarkReading(score, p_value, bits, divmod(best, TILE))


def _check_picture(image: Tensor) -> None:
    shape = tuple(image.shape)
    if len(shape) != 3 or shape[0] != 3 or min(shape[1:]) < TILE:
        raise ValueError(
            f"a watermark needs one picture (3, H, W) of at least {TILE} x {TILE} pixels, "
            f"not {shape}."
        )


def _patterns(key: int, num_bits: int) -> Tensor:
    """The pattern that is looked for and one for each bit: (1 + bits, TILE, TILE), variance 1."""
    num_bits = check_whole("the number of bits", num_bits, low=0, high=MAX_BITS)
    noise = torch.randn(
        (1 + num_bits, TILE, TILE), generator=make_generator(key), dtype=torch.float64
    )
    frequency = torch.fft.fftfreq(TILE, dtype=torch.float64)
    radius = torch.hypot(frequency[:, None], frequency[None])
    band = (radius >= _LOWEST) & (radius <= _HIGHEST)
    noise = torch.fft.ifft2(torch.fft.fft2(noise) * band).real
    return noise / noise.std(dim=(1, 2), keepdim=True)


def brightness(image: Tensor) -> Tensor:
    """(3, H, W) -> (H, W), float64."""
    return torch.einsum("chw,c->hw", image.double(), torch.tensor(_LUMA, dtype=torch.float64))


def _box_mean(values: Tensor, size: int) -> Tensor:
    """Mean over size x size pixels around each of (H, W); the edges are mirrored."""
    margin = size // 2
    padded = F.pad(values[None, None], (margin,) * 4, mode="reflect")
    return F.avg_pool2d(padded, size, 1)[0, 0]


def local_deviation(values: Tensor) -> Tensor:
    return _box_mean((values - _box_mean(values, 9)).square(), 9).sqrt()


def whitened(brightness: Tensor) -> Tensor:
    """The picture itself is what drowns the pattern: keep its fine part, at equal contrast."""
    fine = brightness - _box_mean(brightness, 5)
    return fine / (local_deviation(fine) + 0.01)  # a step of 8 bits is 2 / 255 = 0.008


def fold(values: Tensor) -> Tensor:
    """Add up (H, W) by tile; a place that fewer tiles reach counts in proportion."""
    height, width = values.shape
    rows = (torch.arange(height) % TILE)[:, None].expand(height, width)
    columns = (torch.arange(width) % TILE)[None].expand(height, width)
    sums = torch.zeros(TILE, TILE, dtype=torch.float64)
    counts = torch.zeros_like(sums)
    sums.index_put_((rows, columns), values, accumulate=True)
    counts.index_put_((rows, columns), torch.ones_like(values), accumulate=True)
    return sums / counts.sqrt()
