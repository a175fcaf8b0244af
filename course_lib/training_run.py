"""The state of a training run: the weights, their average, the optimiser, and how they are saved.

Every random choice of step k (which images, which timesteps, which noise, dropout) is drawn from a
seed made of ``(seed, k)`` alone. So a run that is killed and resumed from its checkpoint goes on
bit for bit as if nothing had happened, and several processes share one batch without overlap.
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.device import get_device, pick_dtype
from course_lib.ema import EMA
from course_lib.training_options import TrainingOptions
from course_lib.weights import as_json, load_tensors, save_tensors


class TrainingDiverged(RuntimeError):
    """The loss or the gradient became NaN or infinite."""


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
        What distinguishes this run from others, besides the options that decide what the weights
        become; a checkpoint of another identity is refused. Anything that JSON can write.

    Attributes
    ----------
    last : dict
        ``loss``, ``lr``, ``grad_norm`` and ``held_out`` of the latest step; kept by checkpoints.

    Raises
    ------
    ValueError
        If the checkpoint belongs to another run or to a model of another architecture.
    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainingOptions,
        *,
        loss: Callable[..., Tensor] | None = None,
        identity: Mapping[str, Any] | None = None,
    ):
        self.options = options
        self.identity = json.loads(as_json(identity or {}))  # as a checkpoint gives it
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
        self.last: dict[str, float | None] = {}
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
            info |= {"recipe": self.options.recipe(), "steps": self.options.steps}
            info |= {"without_gain": self.without_gain, "last": self.last}
            info |= {"best": None if self.best == math.inf else self.best}  # JSON has no infinity
            # Only a limited run needs its time; without it, equal runs have equal checkpoints
            info |= {"seconds": self.seconds if self.options.minutes else None}
            save_tensors(Path(str(self.options.checkpoint)), tensors, info)
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def resume(self, path: Path) -> None:
        """Go on from `path` if it exists; raises ValueError if it belongs to another run.

        Another number of steps is allowed and said: the learning rate follows the new plan.
        """
        if not path.exists():
            return
        tensors, info = load_tensors(path)
        self._check_identity(path, info)
        self._check_architecture(path, _under("model.", tensors))
        planned = info.get("steps", self.options.steps)
        if planned != self.options.steps:
            warnings.warn(
                f"The run of {path} was planned with steps={planned} and has done {info['done']}; "
                f"now steps={self.options.steps}. The learning rate follows the new plan.",
                stacklevel=3,
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
        self.last = info.get("last", {})

    def _check_identity(self, path: Path, info: Mapping[str, Any]) -> None:
        ours = self.identity | self.options.recipe()
        theirs = info.get("identity", {}) | info.get("recipe", self.options.recipe())
        changed = [
            f"{name} was {theirs.get(name)!r}, now {ours.get(name)!r}"
            for name in sorted(ours.keys() | theirs.keys())
            if theirs.get(name) != ours.get(name)
        ]
        if changed:
            raise ValueError(
                f"The checkpoint {path} belongs to another run: {'; '.join(changed)}. Give this "
                "run another checkpoint file, or delete that one to start from the beginning."
            )

    def _check_architecture(self, path: Path, saved: Mapping[str, Tensor]) -> None:
        own = {name: tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}
        other = {name: tuple(tensor.shape) for name, tensor in saved.items()}
        changed = [n for n in sorted(own.keys() | other.keys()) if own.get(n) != other.get(n)]
        if changed:
            name = changed[0]
            raise ValueError(
                f"The checkpoint {path} holds a model of another architecture: {len(changed)} of "
                f"its tensors differ, such as {name}, {other.get(name, 'missing')} there and "
                f"{own.get(name, 'missing')} here. Make the model as it was, or give this run "
                "another checkpoint file."
            )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def seed_of(*parts: int) -> int:
    """One well-mixed seed from several small numbers; seed + step would make runs overlap."""
    # int() first: NumPy 1 cannot shift its uint64 by a Python number
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1


def batch_indices(step: int, n: int, batch_size: int, seed: int) -> Tensor:
    """Which of `n` examples step `step` sees: each epoch is a new shuffle, from the seed alone."""
    first, last = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed_of(seed, epoch, 0)))
        parts.append(order[max(first - epoch * n, 0) : min(last - epoch * n, n)])
    return torch.cat(parts)


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

    # The device of a process is Accelerate's to choose; "cpu" is the one that can be insisted on.
    # Its own mixed precision, which a configuration file may switch on, stays off: the run's
    # autocast follows the device.
    return Accelerator(cpu=str(device or get_device()) == "cpu", mixed_precision="no")
