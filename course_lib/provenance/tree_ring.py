r"""Tree-Ring: a watermark in the noise that a picture is painted from (arXiv:2305.20030).

The pixel watermark is added to a finished picture. This one decides part of the picture: rings of
the initial noise's Fourier transform, in some channels of the latents, get the key's values instead
of random ones. Who knows the key and has the model walks from the picture back to its noise by DDIM
inversion and compares the rings. The values are constant on each ring, so a rotation of the noise
leaves them where they are.

Let :math:`S_{cr}` be the sum of the real parts on ring `r` of channel `c`, each channel scaled to
length 1 on its rings, and :math:`k_{cr}` the key's values, drawn from N(0, 1). The score is

.. math:: z = \sum_{cr} k_{cr} S_{cr} \Big/ \sqrt{\sum_{cr} S_{cr}^2} .

For any picture that has nothing to do with the key, `z` is exactly N(0, 1) over the draw of the
key, whatever the inversion gets wrong. (The paper compares distances with a noncentral chi-squared
distribution instead, which assumes that the inverted noise is white. The mini's is not.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_whole

# The mini's latents have 64 channels of 16 x 16, in the order of their variance: the noise of the
# first is found again best. Ring 0, the mean of a channel, would tint every picture of a key.
CHANNELS, RADIUS = 16, 7


@dataclass(frozen=True)
class TreeRingReading:
    """What the detector finds.

    Attributes
    ----------
    score : float
        Correlation of the noise's rings with the key, in standard deviations over random keys.
    p_value : float
        Probability that a random key fits this picture as well or better.
    """

    score: float
    p_value: float

    def found(self, level: float = 1e-6) -> bool:
        """Whether the watermark is there; a share `level` of the keys would answer so by chance."""
        return self.p_value < level


def tree_ring_noise(
    shape: Sequence[int], key: int, *, seed: int = 0, channels: int = CHANNELS,
    radius: int = RADIUS,
) -> Tensor:  # fmt: skip
    """Standard normal noise with the key's rings in it, to start a diffusion model from.

    Parameters
    ----------
    shape : (B, C, h, w)
        Of the latents; (B, 64, 16, 16) for the mini.
    key : int
        Any seed. Who knows it, and has the model, can find the watermark.
    seed : int
        For everything but the rings; picture k of the batch has ``seed + k``, as in `paint`.
    channels : int
        The rings are in the first so many channels.
    radius : int
        Rings 1 ... radius, in cycles over the latents' width. Fewer rings and channels leave more
        of the picture to chance, and less to be found.

    Returns
    -------
    Tensor, shape (B, C, h, w)
        For ``paint_steps(pipe, prompt, noise=...)``.
    """
    if len(shape) != 4:
        raise ValueError(f"shape must be that of latents, (B, C, h, w), not {tuple(shape)}.")
    batch, *single = (int(edge) for edge in shape)
    noise = torch.stack([torch.randn(single, generator=make_generator(seed + k))
                         for k in range(batch)])  # fmt: skip
    rings, values = _rings(single, radius), _values(key, single, channels, radius)
    spectrum = torch.fft.fft2(noise[:, :channels].double(), norm="ortho")
    # Real values, the same at f and -f, so that the noise stays real
    pattern = torch.einsum("cr,rhw->chw", values, rings.double())
    spectrum = torch.where(rings.any(dim=0), pattern.to(spectrum.dtype), spectrum)
    noise[:, :channels] = torch.fft.ifft2(spectrum, norm="ortho").real.float()
    return noise


def ring_scores(
    noise: Tensor, key: int, *, channels: int = CHANNELS, radius: int = RADIUS
) -> Tensor:
    """Scores (B,) of latent noise (B, C, h, w), float64: N(0, 1) for a key it does not contain."""
    single = tuple(noise.shape[1:])
    rings, values = _rings(single, radius), _values(key, single, channels, radius)
    spectrum = torch.fft.fft2(noise[:, :channels].double().cpu(), norm="ortho")
    spectrum = spectrum * rings.any(dim=0)
    # The inverted noise is much weaker in some channels than in others: all count alike
    strength = torch.linalg.vector_norm(spectrum, dim=(2, 3), keepdim=True).clamp(min=1e-12)
    sums = torch.einsum("bchw,rhw->bcr", (spectrum / strength).real, rings.double())
    length = sums.square().sum(dim=(1, 2)).sqrt().clamp(min=1e-12)
    return (sums * values).sum(dim=(1, 2)) / length


def detect_tree_ring(
    image: Any, key: int, *, model: Any = "mini", prompt: str = "", steps: int = 5,
    channels: int = CHANNELS, radius: int = RADIUS,
) -> TreeRingReading:  # fmt: skip
    """Look for a key's rings in the noise that leads to a picture.

    Parameters
    ----------
    image : PIL.Image.Image or path
        Of any size; it is cut and resized to what the model paints, with a warning.
    key, channels, radius
        As for `tree_ring_noise`.
    model : str, path or pipeline
        The model that painted it, as for `paint`.
    prompt : str
        What the picture shows, if that is known; it helps a little.
    steps : int
        Of the DDIM inversion.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As `ddim_inversion`.
    """
    from course_lib.pipelines.editing import ddim_inversion

    noise = ddim_inversion(image, prompt, model=model, steps=steps).noise
    score = float(ring_scores(noise, key, channels=channels, radius=radius))
    return TreeRingReading(score, 0.5 * math.erfc(score / math.sqrt(2)))


def _rings(single: Sequence[int], radius: int) -> Tensor:
    """Which frequencies are on ring 1 ... radius: bool (radius, h, w)."""
    height, width = single[1:]
    radius = check_whole("radius", radius, low=1, high=(min(height, width) - 1) // 2)
    rows, columns = (torch.fft.fftfreq(n, d=1 / n, dtype=torch.float64) for n in (height, width))
    distance = torch.hypot(rows[:, None], columns[None]).round()
    return distance == torch.arange(1, radius + 1)[:, None, None]


def _values(key: int, single: Sequence[int], channels: int, radius: int) -> Tensor:
    """The key's numbers, float64 (channels, radius), N(0, 1) like the noise that they replace."""
    channels = check_whole("channels", channels, low=1, high=single[0])
    return torch.randn((channels, radius), generator=make_generator(key), dtype=torch.float64)
