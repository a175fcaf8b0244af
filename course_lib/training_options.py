"""How a training run is optimised, how long, and where it is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from course_lib.device import check_seed
from course_lib.errors import check_number, check_whole


@dataclass(frozen=True)
class TrainingOptions:
    """How a run is optimised, how long, and where it is kept.

    Attributes
    ----------
    steps, minutes : int and float, optional
        Number of steps and wall-clock limit, each with what was done before a resume included. At
        least one of the two must be given.
    batch_size : int
        Examples per step over all processes.
    lr, warmup, weight_decay, clip_norm, ema_decay : float
        Peak learning rate; warm-up steps; AdamW's decay; clipping norm; decay of the average.
    checkpoint : path, optional
        A safetensors file, written every `checkpoint_every` steps and at the end. Default: none.
    memory_format : torch.memory_format
        Of weights and image batches. channels_last makes a pixel's channels neighbours in memory.
    """

    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    lr: float = 1e-3
    warmup: int = 50
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    checkpoint: str | Path | None = None
    checkpoint_every: int = 200
    seed: int = 0
    device: torch.device | str | None = None
    memory_format: torch.memory_format = torch.channels_last

    def __post_init__(self):
        if self.steps is None and self.minutes is None:
            raise ValueError("A training needs an end: give steps, minutes or both.")
        # Numbers of numpy become Python's, so that a checkpoint can write them down
        for name, low in {"steps": 1, "batch_size": 1, "warmup": 0, "checkpoint_every": 1}.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_whole(name, value, low=low))
        for name, high in {"weight_decay": math.inf, "clip_norm": math.inf, "ema_decay": 1}.items():
            value = check_number(name, getattr(self, name), low=0, high=high)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "seed", check_seed(self.seed))
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be a positive number, got {self.minutes!r}.")
        if not 0 < self.lr < 1:
            raise ValueError(f"lr must lie in (0, 1), got {self.lr!r}; 1e-3 is a good start.")
        object.__setattr__(self, "lr", float(self.lr))

    def recipe(self) -> dict[str, int | float]:
        """The options that decide what the weights become; a resumed run must have the same."""
        names = ("batch_size", "lr", "warmup", "weight_decay", "clip_norm", "ema_decay", "seed")
        return {name: getattr(self, name) for name in names}
