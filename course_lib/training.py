"""Training: a generator loop that can be watched, stopped, killed and resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.losses import check_images, denoising_loss, held_out_loss
from course_lib.schedules import NoiseSchedule
from course_lib.training_run import EMA, TrainingDiverged, TrainingRun, rank_of

__all__ = [
    "EMA",
    "TrainStep",
    "TrainingDiverged",
    "denoising_loss",
    "held_out_loss",
    "learning_rate",
    "train",
]


@dataclass(frozen=True, eq=False)
class TrainStep:
    """What one training step did.

    Attributes
    ----------
    step : int
        Number of steps done so far, counted from 1.
    loss : float
        Loss on this step's batch.
    lr, grad_norm : float
        Learning rate, and the length of the gradient before clipping.
    held_out : float or None
        Loss of the averaged weights on held-out images, at the steps where it is measured.
    seconds : float
        Time since this call of `train` began.
    ema : EMA
        The averaged weights; ``step.ema.model`` paints better pictures than the raw model.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    held_out: float | None
    seconds: float
    ema: EMA


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then a cosine down to zero at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    model: nn.Module,
    images: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int = 1000,
    batch_size: int = 32,
    lr: float = 1e-3,
    warmup: int = 50,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    ema_decay: float = 0.999,
    prediction: str = "eps",
    weighting: str = "uniform",
    mirror: bool = True,
    held_out: Tensor | None = None,
    eval_every: int = 100,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 200,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Iterator[TrainStep]:
    """Train a denoiser with AdamW, yielding after every step.

    Parameters
    ----------
    model : nn.Module
        Trained in place. See the model contract in `course_lib.samplers`.
    images : Tensor, shape (N, C, H, W)
        Clean images: floats in [-1, 1], or uint8 pixels, which take a quarter of the memory.
    schedule : NoiseSchedule
    steps, batch_size : int
        Number of steps in all, resumed ones included; images per step over all processes.
    lr, warmup, weight_decay, clip_norm, ema_decay : float
        Peak learning rate; warm-up steps of its cosine schedule; AdamW's decay; the length to
        which longer gradients are cut; decay of the weight average.
    prediction, weighting : str
        As in `denoising_loss`.
    mirror : bool
        Flip half of the images left to right: regularisation for free where left and right mean
        the same.
    held_out : Tensor, optional
        Images to measure `held_out_loss` on every `eval_every` steps and at the end.
    patience : int, optional
        Stop early after so many measurements in a row without a new lowest held-out loss.
    checkpoint : path, optional
        A safetensors file, written every `checkpoint_every` steps and at the end, whole or not at
        all. If it exists, training resumes from it, bit for bit as if it had never stopped.
    seed : int
        With the step number, the source of every random choice.
    device : torch.device, optional
        Default: `get_device()`.
    progress : bool
        Show a progress bar with the time left.

    Yields
    ------
    TrainStep

    Raises
    ------
    ValueError
        For images, options or a checkpoint that do not fit; the message says which and why.
    TrainingDiverged
        When the loss is no longer finite. The last checkpoint is intact.
    OSError
        If a checkpoint cannot be written. The previous one is intact.

    Notes
    -----
    Under ``accelerate launch`` each process works on its share of every batch and gradients are
    averaged, so N processes take the same steps as one, up to rounding.
    """
    images = check_images(images, "images")
    if held_out is not None:
        held_out = check_images(held_out, "held_out")
    _check_options(steps=steps, batch_size=batch_size, eval_every=eval_every, lr=lr)
    run = TrainingRun(model, schedule, lr, weight_decay, ema_decay, device, seed)
    run.identity = {"batch_size": batch_size, "seed": seed, "images": len(images), "steps": steps}
    if checkpoint is not None:
        run.resume(Path(checkpoint))
    loss_options = {"prediction": prediction, "weighting": weighting}
    begin = time.monotonic()
    # The bar closes even when the caller leaves the loop early
    with _progress_bar(run, steps, progress) as bar:
        while run.done < steps and not run.stopped(patience):
            rate = learning_rate(run.done, steps, lr, warmup)
            x_0, t, noise = run.draw(images, batch_size, mirror)
            loss, grad_norm = run.step(x_0, t, noise, rate, clip_norm, loss_options)
            last = run.done == steps
            measured = None
            if held_out is not None and (last or run.done % eval_every == 0):
                measured = held_out_loss(run.ema.model, held_out, schedule, prediction=prediction)
                run.note(measured)
            ends = last or run.stopped(patience)
            if checkpoint is not None and (ends or run.done % checkpoint_every == 0):
                run.save(Path(checkpoint))
            bar.update(1)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            seconds = time.monotonic() - begin
            yield TrainStep(run.done, loss, rate, grad_norm, measured, seconds, run.ema)


def _progress_bar(run: TrainingRun, steps: int, progress: bool):
    from tqdm.auto import tqdm

    hidden = not progress or rank_of(run.accelerator) != 0
    return tqdm(total=steps, initial=run.done, disable=hidden, desc="training")


def _check_options(*, steps: int, batch_size: int, eval_every: int, lr: float) -> None:
    whole = {"steps": steps, "batch_size": batch_size, "eval_every": eval_every}
    for name, value in whole.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")
    if not 0 < lr < 1:
        raise ValueError(f"lr must lie in (0, 1), got {lr!r}; 1e-3 is a good start.")
