"""Training: a generator loop that can be watched, stopped, killed and resumed.

`training_loop` trains any module on any batches; `train` is the loop for a denoiser of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.losses import check_images, denoising_loss, held_out_loss, pixels
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import expand_to
from course_lib.training_run import (
    EMA,
    TrainingDiverged,
    TrainingOptions,
    TrainingRun,
    batch_indices,
    check_whole,
    rank_of,
)

__all__ = [
    "EMA",
    "TrainStep",
    "TrainingDiverged",
    "TrainingOptions",
    "TrainingRun",
    "denoising_loss",
    "held_out_loss",
    "learning_rate",
    "train",
    "training_loop",
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
        Learning rate, and the norm of the gradient before clipping.
    held_out : float or None
        Loss of the averaged weights on held-out images, at the steps where it is measured.
    seconds : float
        Time spent on the run; with a time limit, that of resumed processes included.
    ema : EMA
        The averaged weights; ``step.ema.model`` generates better images than the raw model.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    held_out: float | None
    seconds: float
    ema: EMA


def learning_rate(
    step: int, steps: float, peak: float, warmup: int, *, clock: float = 0.0
) -> float:
    """Linear warm-up over `warmup` steps, then a cosine down to zero.

    Parameters
    ----------
    step : int
        Steps done so far.
    steps : float
        Steps in all; ``math.inf`` where only the clock ends the run.
    peak : float
    warmup : int
    clock : float
        Share of the time limit that is spent. The cosine follows whichever is nearer to its end,
        the steps or the clock.
    """
    rising = peak * (step + 1) / warmup if step < warmup else peak
    progress = max((step - warmup) / max(1, steps - warmup), clock, 0.0)
    return rising * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def training_loop(
    run: TrainingRun,
    batch: Callable[[int, torch.Generator], tuple],
    *,
    evaluate: Callable[[nn.Module], float] | None = None,
    evaluate_every: int = 100,
    patience: int | None = None,
    progress: bool = True,
    description: str = "training",
) -> Iterator[TrainStep]:
    """Train until the steps are done or the time is up, yielding after every step.

    Parameters
    ----------
    run : TrainingRun
        The module, its loss and its options. Resumed runs go on where they were.
    batch : callable
        ``batch(step, generator)`` -> what the loss takes: tensors, or dictionaries of tensors,
        each with ``options.batch_size`` rows. The step number and the CPU generator, seeded with
        it, must decide everything.
    evaluate : callable, optional
        Held-out loss of the averaged module, measured every `evaluate_every` steps and at the end.
    patience : int, optional
        Stop early after so many measurements in a row without a new lowest one.
    progress : bool
        Show a progress bar with the time left.
    description : str
        The bar's label.

    Yields
    ------
    TrainStep

    Raises
    ------
    TrainingDiverged
        When the loss is no longer finite. The last checkpoint is intact.
    OSError
        If a checkpoint cannot be written. The previous one is intact.
    """
    options = run.options
    steps = options.steps or math.inf
    ended = run.done >= steps or (clock := run.clock()) >= 1 or run.waited(patience)
    # The bar closes even when the caller leaves the loop early
    with _progress_bar(run, progress, description) as bar:
        while not ended:
            rate = learning_rate(run.done, steps, options.lr, options.warmup, clock=clock)
            loss, grad_norm = run.step(run.draw(batch), rate)
            ended = run.done >= steps or (clock := run.clock()) >= 1
            measured = None
            if evaluate is not None and (ended or run.done % evaluate_every == 0):
                measured = evaluate(run.ema.model)
                run.note(measured)
            ended = ended or run.waited(patience)
            if options.checkpoint and (ended or run.done % options.checkpoint_every == 0):
                run.save()
            bar.update(1)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            yield TrainStep(run.done, loss, rate, grad_norm, measured, run.seconds, run.ema)


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
    check_whole(steps=steps, eval_every=eval_every)
    options = TrainingOptions(
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        warmup=warmup,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        ema_decay=ema_decay,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        seed=seed,
        device=device,
    )
    run = TrainingRun(
        model,
        options,
        loss=partial(_loss, schedule=schedule, prediction=prediction, weighting=weighting),
        identity={"batch_size": batch_size, "seed": seed, "images": len(images), "steps": steps},
    )
    evaluate = None
    if held_out is not None:
        evaluate = partial(held_out_loss, images=held_out, schedule=schedule, prediction=prediction)
    yield from training_loop(
        run,
        partial(_image_batch, run, images, schedule.num_timesteps, mirror),
        evaluate=evaluate,
        evaluate_every=eval_every,
        patience=patience,
        progress=progress,
    )


def _loss(model: nn.Module, x_0: Tensor, t: Tensor, noise: Tensor, **options) -> Tensor:
    """`denoising_loss` with its arguments in the order that `_image_batch` gives them."""
    return denoising_loss(model, x_0, t=t, noise=noise, **options)


def _image_batch(
    run: TrainingRun,
    images: Tensor,
    num_timesteps: int,
    mirror: bool,
    step: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, C, H, W), timesteps (B,) and noise (B, C, H, W) of one step."""
    count = run.options.batch_size
    t = torch.randint(num_timesteps, (count,), generator=generator)
    noise = torch.randn((count, *images.shape[1:]), generator=generator)
    flips = torch.rand(count, generator=generator) < 0.5
    index = batch_indices(step, len(images), count, run.options.seed)
    x_0 = pixels(images, index, run.device)
    if mirror:
        x_0 = torch.where(expand_to(flips, x_0), x_0.flip(-1), x_0)
    return x_0, t, noise


def _progress_bar(run: TrainingRun, progress: bool, description: str):
    from tqdm.auto import tqdm

    hidden = not progress or rank_of(run.accelerator) != 0
    return tqdm(total=run.options.steps, initial=run.done, disable=hidden, desc=description)
