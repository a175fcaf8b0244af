"""The loop of a training run: one step after the other, measured, saved and shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from course_lib.ema import EMA
from course_lib.training_run import TrainingRun, rank_of


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

    A run that is resumed when it has ended takes no step more, and yields its last step again, so
    that the caller gets the averaged weights.

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
    if ended and run.last:
        yield TrainStep(run.done, **run.last, seconds=run.seconds, ema=run.ema)
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
            run.last = {"loss": loss, "lr": rate, "grad_norm": grad_norm, "held_out": measured}
            if options.checkpoint and (ended or run.done % options.checkpoint_every == 0):
                run.save()
            bar.update(1)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            yield TrainStep(run.done, **run.last, seconds=run.seconds, ema=run.ema)


def _progress_bar(run: TrainingRun, progress: bool, description: str):
    from tqdm.auto import tqdm

    hidden = not progress or rank_of(run.accelerator) != 0
    return tqdm(total=run.options.steps, initial=run.done, disable=hidden, desc=description)
