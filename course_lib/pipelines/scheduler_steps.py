"""Whether a scheduler of diffusers can take so many steps: found out before anything is painted.

Some numbers of steps break some schedulers on some noise schedules: two equal noise levels, whose
distance a solver divides by; a first timestep that stands twice, so that the index runs over the
end; a timestep of -1 with trailing spacing.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from course_lib.pipelines.registry import make_scheduler


def check_scheduler_steps(name: str, steps: int, current: Any) -> None:
    """Raise unless the scheduler `name` takes `steps` steps on the noise schedule of `current`.

    Parameters
    ----------
    name : str
        As in `make_scheduler`.
    steps : int
        Number of steps, at least 1.
    current : diffusers scheduler
        Flow matching, which has no ``alphas_cumprod``, is not checked.

    Raises
    ------
    ValueError
        With the nearest number of steps that works.
    """
    if not hasattr(current, "alphas_cumprod"):
        return
    make_scheduler(name, current)  # an unknown name has a message of its own
    if _works(name, steps, current):
        return
    nearest = next((n for n in (steps - 1, steps + 1) if n and _works(name, n, current)), 0)
    nearest = nearest or _most(name, steps - 1, current)
    advice = f"Take {nearest} steps, or another scheduler" if nearest else "Take another scheduler"
    raise ValueError(
        f"The scheduler {name!r} cannot take {steps} steps with this model's noise schedule. "
        f"{advice}."
    )


def _most(name: str, steps: int, current: Any) -> int:
    """The largest number of steps up to `steps` that works, by bisection; 0 if none is found."""
    low, high = 0, steps
    while low < high:
        middle = (low + high + 1) // 2
        if _works(name, middle, current):
            low = middle
        else:
            high = middle - 1
    return low


def _works(name: str, steps: int, current: Any) -> bool:
    """Walk the scheduler from start to end on one number, with a model that answers 0."""
    generator = torch.Generator().manual_seed(0)  # the caller's random numbers stay as they are
    try:
        scheduler = make_scheduler(name, current, steps=steps)
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        extra = {"generator": generator} if takes_generator else {}
        x = torch.ones(1, 1, 1, 1)
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, t)
            x = scheduler.step(torch.zeros_like(seen), t, x, return_dict=False, **extra)[0]
    except Exception:  # schedulers fail with many kinds of errors, IndexError included
        return False
    return bool(x.isfinite().all()) and float(scheduler.timesteps[-1]) >= 0
