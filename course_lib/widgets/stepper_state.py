"""Check what a stepper is given and turn it into what the page needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.plotting.images import pick_evenly
from course_lib.widgets.moments import describe_moments, mean_squared_errors, pixel_histograms
from course_lib.widgets.panels import Panels, build_panels, page_width
from course_lib.widgets.sprite import pack_sprite

STRIP_FRAMES = 8  # in the film strip that stands in for the widget


@dataclass(frozen=True, eq=False)
class StepperState:
    """What goes to the page, and the few frames that the film strip shows."""

    sprite: bytes
    layout: dict[str, Any]
    info: dict[str, Any]
    strip_rows: dict[str, Tensor]

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.layout["at"][0])

    def traits(self) -> dict[str, Any]:
        """Values of the widget's own traits."""
        return {"_sprite": self.sprite, "_layout": self.layout, "_info": self.info}


def describe_stepper(
    frames: Any,
    *,
    rows: str | Sequence[str] | None = None,
    lines: Mapping[str, Sequence[str]] | None = None,
    timesteps: Sequence[float] | Tensor | None = None,
    schedule: Any | None = None,
    alphas_cumprod: Tensor | None = None,
    target: Tensor | Mapping[str, Tensor] | bool | None = None,
    target_name: str = "x_0",
    attention: Mapping[str, Any] | None = None,
    histogram: bool = True,
    titles: Sequence[str] | None = None,
    limits: Mapping[str, float] | None = None,
    frame_size: int | None = None,
    quality: int = 80,
    lossless: bool = False,
    caption: str = "",
    alt: str | None = None,
) -> StepperState:
    """Check everything and pack it; the options are those of `TimestepStepper`."""
    panels = build_panels(frames, rows, limits or {}, lines, attention)
    sprite, layout = pack_sprite(panels.shown, quality=quality, lossless=lossless)
    layout["limits"] = list(panels.limits.values())
    count, widest = len(layout["at"][0]), max(len(line["panels"]) for line in panels.lines)
    info = describe_moments(count, timesteps, schedule, alphas_cumprod, titles)
    info |= {
        "caption": caption,
        "alt": alt or caption or f"{count} frames of {', '.join(panels.shown)}",
        "frame_size": page_width(frame_size, layout["width"], widest),
        "lines": panels.lines,
        "mse": mean_squared_errors(panels.raw, _targets(target, panels, info["t"])),
        "mse_to": target_name,
        "bins": pixel_histograms(panels.raw),
        "histogram": bool(histogram),
    }
    picked = pick_evenly(count, STRIP_FRAMES)
    strip = {name: batch[picked] for name, batch in panels.shown.items()}
    return StepperState(sprite, layout, info, strip)


def _targets(target: Any, panels: Panels, times: list[float] | None) -> dict[str, Tensor]:
    """Row name to the picture (C, H, W) to which its MSE is taken.

    By default that is the frame at t = -1. Noise has no target: rows drawn to +-3 get none.
    """
    pictures = [name for name in panels.raw if panels.limits[name] == 1]
    if target is None:
        clean = [k for k, t in enumerate(times or []) if t == -1]
        if len(clean) != 1 or len(panels.raw) > 1:
            return {}
        return {name: panels.raw[name][clean[0]] for name in pictures}
    if target is False:
        return {}
    given = target if isinstance(target, Mapping) else dict.fromkeys(pictures, target)
    for name in given:
        check_choice("row", name, panels.raw)
    return {name: _target(one, panels.raw[name]) for name, one in given.items()}


def _target(target: Any, frames: Tensor) -> Tensor:
    shape = tuple(frames.shape[1:])
    if isinstance(target, Tensor) and target.ndim == 4 and len(target) == 1:
        target = target[0]
    if not isinstance(target, Tensor) or tuple(target.shape) != shape:
        given = tuple(target.shape) if isinstance(target, Tensor) else repr(target)
        raise ValueError(f"target must be one picture {shape} like the frames, not {given}.")
    if not bool(torch.isfinite(target).all()):
        raise ValueError("target contains NaN or infinity; look for the step that produced it.")
    return target.detach().cpu().float()
