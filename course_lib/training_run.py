"""The state of a training run: the weights, their average, the optimiser, and how they are saved.

Every random choice of step k (which images, which timesteps, which noise, dropout) is drawn from a
seed made of ``(seed, k)`` alone. So a run that is killed and resumed from its checkpoint goes on
bit for bit as if nothing had happened, and several processes share one batch without overlap.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.device import get_device, pick_dtype
from course_lib.weights import load_tensors, save_tensors


class TrainingDiverged(RuntimeError):
    """The loss or the gradient became NaN or infinite."""


class EMA:
    """An exponential moving average of a model's weights.

    The decay starts low and rises to `decay`, ``min(decay, (1 + n) / (10 + n))`` at update n, so
    that the random initial weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay!r}; 0.999 is common.")
        self.decay, self.updates = decay, 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average one step towards the weights of `model`; buffers are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)


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
        A safetensors file, written every `checkpoint_every` steps and at the end.
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
        check_whole(batch_size=self.batch_size, checkpoint_every=self.checkpoint_every)
        if self.steps is not None:
            check_whole(steps=self.steps)
        elif self.minutes is None:
            raise ValueError("A training needs an end: give steps, minutes or both.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be a positive number, got {self.minutes!r}.")
        if not 0 < self.lr < 1:
            raise ValueError(f"lr must lie in (0, 1), got {self.lr!r}; 1e-3 is a good start.")


class TrainingRun:
    """A module in training, with all that a checkpoint must hold.

    Parameters
    ----------
    model : nn.Module
        Trained in place: moved to the device and switched to training mode.
    options : TrainingOptions
        If ``options.checkpoint`` exists, the run resumes from it.
    loss : callable, optional
        ``loss(model, *batch)`` -> scalar. Default: the module's own ``forward(*batch)``.
    identity : mapping, optional
        What distinguishes this run from others; a checkpoint of another identity is refused.

    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainingOptions,
        *,
        loss: Callable[..., Tensor] | None = None,
        identity: Mapping[str, Any] | None = None,
    ):
        self.options, self.identity = options, dict(identity or {})
        self.loss = loss or (lambda wrapped, *batch: wrapped(*batch))
        self.accelerator = _accelerator(options.device)
        chosen = self.accelerator.device if self.accelerator else options.device or get_device()
        self.device = torch.device(chosen)
        self.model = model.to(self.device, memory_format=options.memory_format).train()
        self.ema = EMA(self.model, options.ema_decay)
        adam = {"weight_decay": options.weight_decay, "betas": (0.9, 0.99), "fused": True}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=options.lr, **adam)
        self.wrapped = self.model
        if self.accelerator:
            self.wrapped, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        # Only where the processor has bfloat16: emulated, it is many times slower
        self.autocast = pick_dtype(self.device) == torch.bfloat16
        self.done, self.best, self.without_gain = 0, math.inf, 0
        self._seconds_before = 0.0  # of the processes that were resumed
        if options.checkpoint is not None:
            self.resume(Path(options.checkpoint))
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent on the run so far, that of resumed processes included."""
        return self._seconds_before + time.monotonic() - self._start

    def clock(self) -> float:
        """The share of the time limit that is spent; 0 without a limit."""
        spent = self.seconds / (60 * self.options.minutes) if self.options.minutes else 0.0
        if not self.accelerator or not spent:
            return spent
        # Processes that read their own clocks would stop at different steps and wait for ever
        return self.accelerator.reduce(torch.tensor(spent, device=self.device), "mean").item()

    def draw(self, batch: Callable[[int, torch.Generator], tuple]) -> tuple:
        """This step's batch on the device; of it, this process's share."""
        generator = torch.Generator().manual_seed(seed_of(self.options.seed, self.done))
        mine = share_of(self.options.batch_size, self.accelerator)
        return tuple(self._place(part, mine) for part in batch(self.done, generator))

    def _place(self, part, mine: slice):
        if isinstance(part, dict):
            return {name: self._place(value, mine) for name, value in part.items()}
        layout = {"memory_format": self.options.memory_format} if part.ndim == 4 else {}
        return part[mine].to(self.device, **layout)

    def step(self, batch: tuple, rate: float) -> tuple[float, float]:
        """One step of the optimiser and of the average; returns the loss and the gradient norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        devices = [self.device] if self.device.type == "cuda" else []
        # Dropout draws from the global generator: give it this step's seed, and put it back after
        with torch.random.fork_rng(devices=devices):
            rank = rank_of(self.accelerator)
            torch.manual_seed(seed_of(self.options.seed, self.done, 1 + rank))
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
                loss = self.loss(self.wrapped, *batch)
            self.accelerator.backward(loss) if self.accelerator else loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm).item()
        if self.accelerator:
            loss = self.accelerator.reduce(loss.detach(), reduction="mean")
        value = loss.item()
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise TrainingDiverged(
                f"Step {self.done + 1}: the loss is {value} and the gradient's norm {norm}. "
                "The weights were left as they were before this step. Lower the learning rate "
                "(lr), lengthen the warm-up, or look for NaN in the images; a checkpoint, if you "
                "kept one, is intact."
            )
        self.optimizer.step()
        self.ema.update(self.model)
        self.done += 1
        return value, norm

    def note(self, held_out: float) -> None:
        """Remember a held-out loss, for early stopping."""
        self.without_gain = 0 if held_out < self.best else self.without_gain + 1
        self.best = min(self.best, held_out)

    def waited(self, patience: int | None) -> bool:
        return patience is not None and self.without_gain >= patience

    def save(self) -> None:
        """Write the checkpoint: whole, or not at all."""
        if rank_of(self.accelerator) == 0:
            tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
            tensors |= {f"ema.{k}": v for k, v in self.ema.model.state_dict().items()}
            state = self.optimizer.state_dict()["state"]
            for index, values in state.items():
                tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items()}
            info = {"done": self.done, "ema_updates": self.ema.updates, "identity": self.identity}
            info |= {"without_gain": self.without_gain}
            info |= {"best": None if self.best == math.inf else self.best}  # JSON has no infinity
            # Only a limited run needs its time; without it, equal runs have equal checkpoints
            info |= {"seconds": self.seconds if self.options.minutes else None}
            save_tensors(Path(str(self.options.checkpoint)), tensors, info)
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def resume(self, path: Path) -> None:
        """Go on from `path` if it exists; raises ValueError if it belongs to another run."""
        if not path.exists():
            return
        tensors, info = load_tensors(path)
        if info.get("identity") != self.identity:
            raise ValueError(
                f"The checkpoint {path} belongs to another run: it has {info.get('identity')}, "
                f"this run has {self.identity}. Give this run another checkpoint file, or delete "
                "that one to start from the beginning."
            )
        self.model.load_state_dict(_under("model.", tensors))
        self.ema.model.load_state_dict(_under("ema.", tensors))
        parameters = list(self.model.parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            like = parameters[int(index)]
            if tensor.shape == like.shape:
                # The fused optimiser walks weights and moments in memory order: restore that
                tensor = torch.empty_like(like, requires_grad=False).copy_(tensor)
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.done, self.ema.updates = info["done"], info["ema_updates"]
        self.best = math.inf if info["best"] is None else info["best"]
        self.without_gain, self._seconds_before = info["without_gain"], info["seconds"] or 0.0


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def seed_of(*parts: int) -> int:
    """One well-mixed seed from several small numbers; seed + step would make runs overlap."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def batch_indices(step: int, n: int, batch_size: int, seed: int) -> Tensor:
    """Which of `n` examples step `step` sees: each epoch is a new shuffle, from the seed alone."""
    first, last = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed_of(seed, epoch, 0)))
        parts.append(order[max(first - epoch * n, 0) : min(last - epoch * n, n)])
    return torch.cat(parts)


def check_whole(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")


def rank_of(accelerator) -> int:
    return accelerator.process_index if accelerator else 0


def share_of(batch_size: int, accelerator) -> slice:
    """This process's rows of a batch."""
    count = accelerator.num_processes if accelerator else 1
    size, rest = divmod(batch_size, count)
    if rest:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared by {count} processes; use a multiple of "
            f"{count}."
        )
    return slice(rank_of(accelerator) * size, (rank_of(accelerator) + 1) * size)


def _accelerator(device):
    """Accelerate's helper when this process was started by ``accelerate launch``, else None."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator

    # The device of a process is Accelerate's to choose; "cpu" is the one that can be insisted on
    return Accelerator(cpu=str(device or get_device()) == "cpu")
