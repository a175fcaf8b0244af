"""What a stepper knows about each of its frames: timestep, SNR, MSE, histogram, title."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.tensors import as_float64

_CURVE_POINTS = 160
# The page draws histograms with these numbers as well: inspect.js.
_BINS, _RANGE, _TOP = 41, 4.0, 0.8


def _alphas(schedule: Any | None, alphas_cumprod: Tensor | None) -> Tensor | None:
    """The schedule as a float64 vector, or None."""
    if schedule is not None and alphas_cumprod is not None:
        raise ValueError("give schedule or alphas_cumprod, not both.")
    if schedule is not None:
        if not hasattr(schedule, "alphas_cumprod"):
            raise ValueError(
                f"schedule must be a NoiseSchedule, not {type(schedule).__name__}; "
                "bare numbers go to alphas_cumprod."
            )
        alphas_cumprod = schedule.alphas_cumprod
    if alphas_cumprod is None:
        return None
    alphas = as_float64(alphas_cumprod)
    inside = bool(((alphas >= 0) & (alphas <= 1)).all())  # False for NaN as well
    if alphas.ndim != 1 or len(alphas) == 0 or not inside:
        raise ValueError(
            f"alphas_cumprod must be a vector (T,) of numbers in [0, 1], "
            f"got shape {tuple(alphas.shape)}."
        )
    return alphas


def _times(count: int, timesteps: Any, alphas: Tensor | None) -> list[float] | None:
    """One timestep for each frame, checked against the schedule."""
    if timesteps is None:
        if alphas is None:
            return None
        if len(alphas) != count:
            raise ValueError(
                f"the schedule has {len(alphas)} steps and there are {count} frames; "
                "say with timesteps=[...] which step each frame shows."
            )
        return list(range(count))
    times = [float(t) for t in timesteps]
    if len(times) != count:
        raise ValueError(f"timesteps has {len(times)} entries for {count} frames; give one each.")
    last = math.inf if alphas is None else len(alphas) - 1
    for t in times:
        if not -1 <= t <= last:
            raise ValueError(
                f"timestep {t:g} is outside 0..{last:g} (-1 stands for a picture without noise)."
            )
    return [int(t) if t == int(t) else t for t in times]


def _alpha_bar(t: float, alphas: Tensor) -> float:
    """alpha-bar at t; on a line between neighbours for a t that is not whole; 1 before t = 0."""
    low, part = math.floor(t), t - math.floor(t)
    left = 1.0 if low < 0 else float(alphas[low])
    return left if part == 0 else (1 - part) * left + part * float(alphas[low + 1])


def _snr(alpha_bar: float) -> float | None:
    """Signal-to-noise ratio; None stands for infinity, which JSON lacks."""
    return None if alpha_bar >= 1 else alpha_bar / (1 - alpha_bar)


def _curve(alphas: Tensor) -> dict[str, list[float]]:
    """The schedule at a few points, for drawing; log10 of the SNR is held within 1e-6 ... 1e6."""
    picked = torch.linspace(0, len(alphas) - 1, min(len(alphas), _CURVE_POINTS)).round().long()
    left = alphas[picked]
    log_snr = torch.log10(left.clamp_min(1e-12) / (1 - left).clamp_min(1e-12)).clamp(-6, 6)
    return {
        "t": picked.tolist(),
        "alpha_bar": [round(a, 6) for a in left.tolist()],
        "log_snr": [round(s, 4) for s in log_snr.tolist()],
    }


def describe_moments(
    count: int,
    timesteps: Sequence[float] | Tensor | None,
    schedule: Any | None,
    alphas_cumprod: Tensor | None,
    titles: Sequence[str] | None,
) -> dict[str, Any]:
    """Everything the page writes beside a frame, as JSON.

    Returns
    -------
    dict
        ``t``, ``alpha_bar``, ``snr``, ``titles``: lists of `count` entries, or None where
        unknown; ``curve``: the schedule for drawing, or None.

    Raises
    ------
    ValueError
        For lists of the wrong length and timesteps outside the schedule.
    """
    alphas = _alphas(schedule, alphas_cumprod)
    times = _times(count, timesteps, alphas)
    if titles is not None and len(titles) != count:
        raise ValueError(f"titles has {len(titles)} entries for {count} frames; give one each.")
    left = None if alphas is None else [_alpha_bar(t, alphas) for t in times]
    return {
        "t": times,
        "alpha_bar": left,
        "snr": None if left is None else [_snr(a) for a in left],
        "titles": None if titles is None else [str(title) for title in titles],
        "curve": None if alphas is None else _curve(alphas),
    }


def moment_label(info: Mapping[str, Any], index: int) -> str:
    """What is written above a frame of the film strip: its title, else its timestep, else i."""
    if info["titles"]:
        return info["titles"][index]
    if info["t"]:
        t = info["t"][index]
        return "clean" if t < 0 else f"t = {t:.4g}"
    return f"i = {index}"


def mean_squared_errors(
    raw: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> dict[str, list[float]]:
    """MSE of every frame of a row to the target (C, H, W) of that row.

    Frames are taken as they are, before any clipping.
    """
    return {
        name: [
            float(f"{one:.5g}") for one in (raw[name] - target).square().mean((1, 2, 3)).tolist()
        ]
        for name, target in targets.items()
    }


def pixel_histograms(raw: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The distribution of each frame's pixel values, to be drawn beside the standard normal.

    Returns
    -------
    dict
        For each row: ``bytes``, base64 of `count` numbers for each frame, where 255 stands for a
        density of 0.8 or more; ``count``, the bins over [-4, 4], where values beyond count in the
        outermost ones; ``mean`` and ``std`` of each frame.
    """
    edges = torch.linspace(-_RANGE, _RANGE, _BINS + 1)
    width = 2 * _RANGE / _BINS
    described = {}
    for name, frames in raw.items():
        packed = bytearray()
        for frame in frames:
            values = frame.flatten().clamp(-_RANGE, _RANGE)
            density = torch.histogram(values, edges).hist / values.numel() / width
            packed += bytes((density / _TOP * 255).clamp(0, 255).round().int().tolist())
        flat = frames.flatten(1)
        described[name] = {
            "bytes": base64.b64encode(packed).decode("ascii"),
            "count": _BINS,
            "mean": [round(m, 3) for m in flat.mean(1).tolist()],
            "std": [round(d, 3) for d in flat.std(1, unbiased=False).tolist()],
        }
    return described
