"""Where a sampler asks the model: timesteps and noise levels, from noisy to clean."""

from __future__ import annotations

import numpy as np

from course_lib.errors import check_choice, check_whole
from course_lib.sampler_steps import Node
from course_lib.schedules import NoiseSchedule

METHODS = ("ddpm", "ddim", "euler", "heun", "dpmpp_2m")
SPACINGS = ("leading", "trailing", "linspace")
# What diffusers' scheduler of that name does by default.
DEFAULT_SPACING = {
    "ddpm": "leading",
    "ddim": "leading",
    "euler": "linspace",
    "heun": "linspace",
    "dpmpp_2m": "linspace",
}


def time_grid(
    schedule: NoiseSchedule,
    *,
    method: str = "ddpm",
    steps: int | None = None,
    spacing: str | None = None,
) -> list[Node]:
    """Where a sampler asks the model, and at which noise level each step lands.

    Parameters as in `sample`. The last node lands on the clean image, ``bar_a_prev = 1``.

    Notes
    -----
    As in diffusers, DDIM lands each step but the last exactly ``T // steps`` timesteps earlier. The
    next node lies there with leading spacing, and with trailing spacing if `steps` divides T.
    Elsewhere the model is asked at a slightly different noise level than the picture has. The last
    step lands on the clean image, where diffusers' DDIM with trailing spacing may stop at t = 0.
    The other methods land each step on the next node.

    One step asks the model at t = T - 1 with trailing spacing only; the other two spacings begin
    counting at t = 0, as in diffusers, and a single step from noise is then useless.
    """
    check_choice("sampling method", method, METHODS)
    spacing = check_choice("timestep spacing", spacing or DEFAULT_SPACING[method], SPACINGS)
    T = schedule.num_timesteps
    if steps is None:
        steps = T if method == "ddpm" else min(50, T - (method == "dpmpp_2m"))
    # DPM-Solver++ needs one timestep more than steps, except where the spacing ends on the last.
    most = T - 1 if method == "dpmpp_2m" and spacing != "trailing" else T
    limits = f"in 1 .. {most} for {method} with {spacing} spacing on a schedule of {T} timesteps"
    steps = check_whole("steps", steps, high=most, limits=limits)
    times = _timesteps(T, steps, method, spacing)
    bar_a = _bar_alpha_at(schedule, times)
    if method == "ddim":
        known = schedule.alphas_cumprod.tolist()
        bar_a_prev = [*(known[t - T // steps] for t in times[:-1]), 1.0]
    else:
        bar_a_prev = [*bar_a[1:], 1.0]
    return [Node(*node) for node in zip(times, bar_a, bar_a_prev, strict=True)]


def _timesteps(T: int, steps: int, method: str, spacing: str) -> list[int] | list[float]:
    """Timesteps from noisy to clean, on the grids of arXiv:2305.08891, table 2."""
    # DPM-Solver++ lays one point more and leaves out the last, whose noise it steps over.
    extra = int(method == "dpmpp_2m")
    if spacing == "trailing":
        # T / steps is rounded, so that arange may add a point: at t = -1, beyond the clean end
        grid = np.arange(T, 0, -T / steps)[:steps].round() - 1
    elif spacing == "leading":
        grid = (np.arange(steps + extra) * (T // (steps + extra)))[::-1]
    else:
        grid = np.linspace(0, T - 1, steps + extra)[::-1]
        if method in ("euler", "heun"):
            # Their noise levels interpolate between the training timesteps. Rounding to float32
            # here keeps the grid that of the reference implementation to the bit.
            return grid.astype(np.float32).tolist()
        grid = grid.round()
    return grid[: len(grid) - extra if spacing != "trailing" else None].astype(int).tolist()


def _bar_alpha_at(schedule: NoiseSchedule, times: list[int] | list[float]) -> list[float]:
    """alphas_cumprod at whole timesteps; between them, sigma is interpolated linearly."""
    bar_a = schedule.alphas_cumprod.numpy()
    if all(isinstance(t, int) for t in times):
        return bar_a[times].tolist()
    sigma = np.interp(times, np.arange(len(bar_a)), np.sqrt((1 - bar_a) / bar_a))
    return (1 / (1 + sigma**2)).tolist()
