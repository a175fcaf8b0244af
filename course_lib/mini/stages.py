"""The stages of training, and the one loop that runs each: resumable, watched, interruptible."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.device import get_device
from course_lib.training import learning_rate
from course_lib.training_run import TrainingRun, batch_indices, rank_of, seed_of, share_of


@dataclass(eq=False)
class Stage:
    """One stage: what is trained, on what, and how long.

    Attributes
    ----------
    name : str
        Also the name of its checkpoint.
    task : Module
        Holds the networks to train; called with a batch, returns the loss.
    batch : callable
        ``batch(indices, generator, step)`` -> the arguments of `task`, from the data's indices.
    count : int
        Size of the data.
    steps, batch_size, lr, ema_decay, warmup
        As in `course_lib.train`.
    memory_format : torch.memory_format
        Of weights and pictures.
    """

    name: str
    task: nn.Module
    batch: Callable[[Tensor, torch.Generator, int], tuple]
    count: int
    steps: int
    batch_size: int
    lr: float
    ema_decay: float = 0.998
    warmup: int = 100
    memory_format: torch.memory_format = torch.channels_last
    identity: dict = field(default_factory=dict)


@dataclass(frozen=True)
class StageStep:
    """One step of a stage: its number from 1, the loss, and seconds since this call began."""

    step: int
    loss: float
    seconds: float
    average: nn.Module  # the task with averaged weights


@contextlib.contextmanager
def first_process_first():
    """Of several processes, one paints or encodes first; the others find the result."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    from accelerate import PartialState

    with PartialState(cpu=get_device().type == "cpu").main_process_first():
        yield


def run_stage(
    stage: Stage,
    folder: Path,
    *,
    seed: int = 0,
    save_every: int = 200,
    compiled: bool = False,
    device: torch.device | None = None,
) -> Iterator[StageStep]:
    """Train a stage to its end, yielding after every step; go on from its checkpoint if there is.

    Raises
    ------
    TrainingDiverged
        If the loss becomes NaN; the checkpoint is intact.
    ValueError
        If the checkpoint belongs to other settings.
    """
    run = TrainingRun(
        stage.task, None, stage.lr, 0.01, stage.ema_decay, device, seed, stage.memory_format
    )
    keys = ("name", "count", "batch_size", "lr", "steps")
    run.identity = {key: getattr(stage, key) for key in keys} | stage.identity | {"seed": seed}
    checkpoint = folder / f"{stage.name}.safetensors"
    run.resume(checkpoint)
    if compiled:
        run.wrapped = torch.compile(run.wrapped)
    start = time.perf_counter()
    if run.done >= stage.steps:
        yield StageStep(run.done, float("nan"), 0.0, run.ema.model)
    while run.done < stage.steps:
        arguments = _arguments(stage, run)
        rate = learning_rate(run.done, stage.steps, stage.lr, stage.warmup)
        loss, _ = run.optimise(lambda given=arguments: run.wrapped(*given), rate, 1.0)
        if run.done % save_every == 0 or run.done == stage.steps:
            run.save(checkpoint)
        yield StageStep(run.done, loss, time.perf_counter() - start, run.ema.model)


def _arguments(stage: Stage, run: TrainingRun) -> tuple:
    """This step's batch; of it, this process's share. The seed and the step decide everything."""
    indices = batch_indices(run.done, stage.count, stage.batch_size, run.seed)
    mine = indices[share_of(stage.batch_size, run.accelerator)]
    generator = torch.Generator().manual_seed(
        seed_of(run.seed, run.done, 2, rank_of(run.accelerator))
    )
    return tuple(_to(run, part) for part in stage.batch(mine, generator, run.done))


def _to(run: TrainingRun, part):
    if isinstance(part, dict):
        return {name: value.to(run.device) for name, value in part.items()}
    if part.ndim == 4:
        return part.to(run.device, memory_format=run.memory_format)
    return part.to(run.device)
