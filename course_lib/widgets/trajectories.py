"""Collect the steps of samplers into rows of frames, and lock several samplers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.plotting import display_limit

# Row name in the widget -> field of a SampleStep
TRAJECTORY_ROWS = {"x_t": "x_t", "predicted x_0": "x_0_hat", "eps": "eps_hat"}


@dataclass
class Reel:
    """One trajectory: rows of frames (C, H, W), their timesteps, and the finished picture."""

    rows: dict[str, list[Tensor]]
    times: list[float]
    result: Tensor

    def __len__(self) -> int:
        return len(self.times)

    def finish(self) -> Reel:
        """Add the moment after the last step: the result at t = -1."""
        for name, frames in self.rows.items():
            # The model says nothing about the finished picture, so its last words stay.
            frames.append(self.result if name == "x_t" else frames[-1])
        self.times.append(-1)
        return self


def row_names(rows: str | Sequence[str]) -> list[str]:
    """Check which rows of a trajectory are wanted."""
    names = [rows] if isinstance(rows, str) else list(rows)
    for name in names:
        check_choice("row", name, TRAJECTORY_ROWS)
    return names


def record(steps: Iterable[Any], rows: str | Sequence[str], sample: int) -> Reel:
    """Run or replay a sampler and keep one image of its batch.

    Raises
    ------
    ValueError
        For an unknown row, a `sample` outside the batch, and an empty iterable.
    """
    frames: dict[str, list[Tensor]] = {name: [] for name in row_names(rows)}
    times: list[float] = []
    result = None
    for step in steps:
        if not 0 <= sample < len(step.x_t):
            raise ValueError(
                f"sample must lie in 0..{len(step.x_t) - 1} for this batch, not {sample}."
            )
        for name, kept in frames.items():
            kept.append(getattr(step, TRAJECTORY_ROWS[name])[sample].detach().cpu())
        times.append(float(step.t))
        result = step.x_prev[sample].detach().cpu()
    if result is None:
        raise ValueError("steps is empty; a generator can be used only once, so make it anew.")
    return Reel(frames, times, result).finish()


def lock(reels: Mapping[str, Reel]) -> dict[str, Any]:
    """Put several trajectories on one time line, that of the one with the most steps.

    The others show, at every moment, their frame whose timestep is nearest; so pictures side by
    side are always about equally noisy.

    Returns
    -------
    dict
        Options of `TimestepStepper`: ``frames``, ``lines``, ``timesteps``, ``limits`` and
        ``target``, the result of each trajectory, for rows named "label: row".
    """
    times = max(reels.values(), key=len).times
    frames: dict[str, Tensor] = {}
    lines: dict[str, list[str]] = {}
    limits: dict[str, float] = {}
    target: dict[str, Tensor] = {}
    for label, reel in reels.items():
        own = torch.tensor(reel.times, dtype=torch.float64)
        picked = [int((own - t).abs().argmin()) for t in times]
        lines[label] = []
        for row, kept in reel.rows.items():
            name = f"{label}: {row}"
            lines[label].append(name)
            frames[name] = torch.stack([kept[k] for k in picked])
            limits[name] = display_limit(row)
            if limits[name] == 1:
                target[name] = reel.result
    return {
        "frames": frames,
        "lines": lines,
        "timesteps": times,
        "limits": limits,
        "target": target,
        "target_name": "result",
    }
