"""The state of a training run: the weights, their average, the optimiser, and how they are saved.

Every random choice of step k (which images, which timesteps, which noise, dropout) is drawn from a
seed made of ``(seed, k)`` alone. So a run that is killed and resumed from its checkpoint goes on
bit for bit as if nothing had happened, and several processes share one batch without overlap.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.device import device_report, get_device
from course_lib.losses import denoising_loss, pixels
from course_lib.tensors import expand_to
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


class TrainingRun:
    """The state of a training run: everything that a checkpoint must hold, and nothing else."""

    def __init__(
        self,
        model,
        schedule,
        lr,
        weight_decay,
        ema_decay,
        device,
        seed,
        memory_format=torch.channels_last,
    ):
        self.accelerator = _accelerator(device)
        self.device = self.accelerator.device if self.accelerator else device or get_device()
        self.device = torch.device(self.device)
        # channels_last: convolutions and per-pixel norms read neighbours in memory
        self.memory_format = memory_format
        self.model = model.to(self.device, memory_format=memory_format).train()
        self.schedule, self.seed = schedule, seed
        self.ema = EMA(self.model, ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99), fused=True
        )
        self.wrapped = self.model
        if self.accelerator:
            self.wrapped, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        # bf16 only where the processor has it: emulated, it is many times slower
        self.amp = device_report().dtype == torch.bfloat16
        self.done, self.best, self.without_gain = 0, math.inf, 0
        self.identity: dict = {}

    def draw(self, images: Tensor, batch_size: int, mirror: bool) -> tuple[Tensor, Tensor, Tensor]:
        """This step's images, timesteps and noise; of them, this process's share."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.done))
        index = batch_indices(self.done, len(images), batch_size, self.seed)
        t = torch.randint(self.schedule.num_timesteps, (batch_size,), generator=generator)
        noise = torch.randn((batch_size, *images.shape[1:]), generator=generator)
        flips = torch.rand(batch_size, generator=generator) < 0.5
        mine = share_of(batch_size, self.accelerator)
        x_0 = pixels(images, index[mine], self.device)
        if mirror:
            flips = expand_to(flips[mine], x_0)
            x_0 = torch.where(flips, x_0.flip(-1), x_0)
        to = {"device": self.device, "memory_format": self.memory_format}
        return x_0.to(**to), t[mine], noise[mine].to(**to)

    def step(self, x_0, t, noise, rate, clip_norm, loss_options) -> tuple[float, float]:
        def loss() -> Tensor:
            return denoising_loss(
                self.wrapped, x_0, self.schedule, t=t, noise=noise, **loss_options
            )

        return self.optimise(loss, rate, clip_norm)

    def optimise(
        self, loss_of: Callable[[], Tensor], rate: float, clip_norm: float
    ) -> tuple[float, float]:
        """One step of the optimiser and of the average; returns the loss and the gradient norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        devices = [self.device] if self.device.type == "cuda" else []
        # Dropout draws from the global generator: give it this step's seed, and put it back after
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_of(self.seed, self.done, 1 + rank_of(self.accelerator)))
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.amp):
                loss = loss_of()
            self.accelerator.backward(loss) if self.accelerator else loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm).item()
        if self.accelerator:
            loss = self.accelerator.reduce(loss.detach(), reduction="mean")
        value = loss.item()
        if not (math.isfinite(value) and math.isfinite(grad_norm)):
            raise TrainingDiverged(
                f"Step {self.done + 1}: the loss is {value} and the gradient's length {grad_norm}. "
                "The weights were left as they were before this step. Lower the learning rate "
                "(lr), lengthen the warm-up, or look for NaN in the images; a checkpoint, if you "
                "kept one, is intact."
            )
        self.optimizer.step()
        self.ema.update(self.model)
        self.done += 1
        return value, grad_norm

    def note(self, held_out: float) -> None:
        """Remember a held-out loss, for early stopping."""
        better = held_out < self.best
        self.best = min(self.best, held_out)
        self.without_gain = 0 if better else self.without_gain + 1

    def stopped(self, patience: int | None) -> bool:
        return patience is not None and self.without_gain >= patience

    def save(self, path: Path) -> None:
        if rank_of(self.accelerator) == 0:
            tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
            tensors |= {f"ema.{k}": v for k, v in self.ema.model.state_dict().items()}
            state = self.optimizer.state_dict()["state"]
            for index, values in state.items():
                tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items()}
            info = {"done": self.done, "ema_updates": self.ema.updates, "identity": self.identity}
            # JSON has no infinity
            info |= {"best": None if self.best == math.inf else self.best}
            save_tensors(path, tensors, info | {"without_gain": self.without_gain})
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def resume(self, path: Path) -> None:
        """Go on from `path` if it exists."""
        if not path.exists():
            return
        tensors, info = load_tensors(path)
        if info.get("identity") != self.identity:
            raise ValueError(
                f"The checkpoint {path} belongs to another run: it has {info.get('identity')}, "
                f"this run has {self.identity}. Give this run another checkpoint file, or delete "
                "that one to start anew."
            )
        self.model.load_state_dict(_under("model.", tensors))
        self.ema.model.load_state_dict(_under("ema.", tensors))
        parameters = list(self.model.parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            like = parameters[int(index)]
            if tensor.shape == like.shape:
                # The fused optimiser walks weights and moments in memory order, so the moments
                # must come back in the order that the weights have
                tensor = torch.empty_like(like, requires_grad=False).copy_(tensor)
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.done, self.ema.updates = info["done"], info["ema_updates"]
        self.best = math.inf if info["best"] is None else info["best"]
        self.without_gain = info["without_gain"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def seed_of(*parts: int) -> int:
    """One well-mixed seed from several small numbers; seed + step would make runs overlap."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def batch_indices(step: int, n: int, batch_size: int, seed: int) -> Tensor:
    """Which images step `step` sees: each epoch is a fresh shuffle, from the seed alone."""
    first, last = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed_of(seed, epoch, 0)))
        parts.append(order[max(first - epoch * n, 0) : min(last - epoch * n, n)])
    return torch.cat(parts)


def rank_of(accelerator) -> int:
    return accelerator.process_index if accelerator else 0


def share_of(batch_size: int, accelerator) -> slice:
    count = accelerator.num_processes if accelerator else 1
    if batch_size % count:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared by {count} processes; "
            f"use a multiple of {count}."
        )
    size = batch_size // count
    return slice(rank_of(accelerator) * size, (rank_of(accelerator) + 1) * size)


def _accelerator(device):
    """Accelerate's helper when this process was started by ``accelerate launch``, else None."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator

    # The device of a process is Accelerate's to choose; "cpu" is the one that can be insisted on
    return Accelerator(cpu=str(device or get_device()) == "cpu")
