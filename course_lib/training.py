"""Training: a generator loop that can be watched, stopped, killed and resumed.

`training_loop` trains any module on any batches; `train` is the loop for a denoiser of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.ema import EMA
from course_lib.errors import check_number, check_whole
from course_lib.guidance import check_labels, drop_labels, num_classes_of
from course_lib.losses import check_images, denoising_loss, held_out_loss, pixels
from course_lib.process import prediction_of
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import expand_to
from course_lib.training_loop import TrainStep, learning_rate, training_loop
from course_lib.training_options import TrainingOptions
from course_lib.training_run import TrainingDiverged, TrainingRun, batch_indices
from course_lib.weights import checksum

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
    prediction: str | None = None,
    weighting: str = "uniform",
    mirror: bool = True,
    labels: Tensor | Sequence[int] | None = None,
    label_dropout: float = 0.1,
    held_out: Tensor | None = None,
    held_out_labels: Tensor | Sequence[int] | None = None,
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
        As in `denoising_loss`; ``model.prediction`` is set to it, so that a saved model knows.
    mirror : bool
        Flip half of the images left to right: regularisation for free where left and right mean
        the same.
    labels : Tensor of shape (N,) or sequence of int, optional
        The class of each image, for a model with ``num_classes``.
    label_dropout : float
        Share of the labels that are replaced by "no class" (arXiv:2207.12598), so that guidance
        has something to guide away from. 0 trains a model that needs a class.
    held_out, held_out_labels : Tensor, optional
        Images, and their classes, to measure `held_out_loss` on every `eval_every` steps and at
        the end.
    patience : int, optional
        Stop early after so many measurements in a row without a new lowest held-out loss.
    checkpoint : path, optional
        A safetensors file, written every `checkpoint_every` steps and at the end, whole or not at
        all. If it exists, training resumes from it, bit for bit as if it had never stopped; a run
        that has ended yields its last step again. Data and options must be those it began with,
        except `steps`, whose change is said in a warning.
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
    prediction = model.prediction = prediction_of(model, prediction)
    steps, eval_every = check_whole("steps", steps), check_whole("eval_every", eval_every)
    if labels is not None:
        labels = check_labels(labels, num_classes_of(model), len(images))
        label_dropout = check_number("label_dropout", label_dropout, low=0, high=1)
    evaluate = None
    if held_out is not None:
        evaluate = _evaluation(model, held_out, held_out_labels, schedule, prediction)
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
        identity=None
        if checkpoint is None
        else _data_identity(images, labels, label_dropout)
        | {
            "network": getattr(model, "config", None),
            "schedule": checksum({"betas": schedule.betas.float()}),
            "prediction": prediction,
            "weighting": weighting,
            "mirror": mirror,
        },
    )
    yield from training_loop(
        run,
        partial(_batch, run, images, labels, schedule.num_timesteps, mirror, label_dropout),
        evaluate=evaluate,
        evaluate_every=eval_every,
        patience=patience,
        progress=progress,
    )


def _evaluation(model, held_out: Tensor, labels, schedule: NoiseSchedule, prediction: str):
    """`held_out_loss` as a function of the model alone; its data are checked before training."""
    images = check_images(held_out, "held_out")
    if labels is not None:
        labels = check_labels(labels, num_classes_of(model), len(images), "held_out_labels")
    options = {"schedule": schedule, "prediction": prediction, "labels": labels}
    return partial(held_out_loss, images=images, **options)


def _data_identity(images: Tensor, labels: Tensor | None, label_dropout: float) -> dict:
    """What a checkpoint remembers of its data: checksums of their content."""
    data = {"images": checksum({"images": images.cpu()})}
    if labels is None:
        return data
    return data | {"labels": checksum({"labels": labels}), "label_dropout": label_dropout}


def _loss(
    model: nn.Module, x_0: Tensor, t: Tensor, noise: Tensor, labels: Tensor | None = None, **options
) -> Tensor:
    """`denoising_loss` with its arguments in the order that `_batch` gives them."""
    return denoising_loss(model, x_0, t=t, noise=noise, labels=labels, **options)


def _batch(
    run: TrainingRun,
    images: Tensor,
    labels: Tensor | None,
    num_timesteps: int,
    mirror: bool,
    label_dropout: float,
    step: int,
    generator: torch.Generator,
) -> tuple[Tensor, ...]:
    """Images (B, C, H, W), timesteps (B,), noise (B, C, H, W) and labels (B,), if any."""
    count = run.options.batch_size
    t = torch.randint(num_timesteps, (count,), generator=generator)
    noise = torch.randn((count, *images.shape[1:]), generator=generator)
    flips = torch.rand(count, generator=generator) < 0.5
    index = batch_indices(step, len(images), count, run.options.seed)
    x_0 = pixels(images, index, run.device)
    if mirror:
        x_0 = torch.where(expand_to(flips, x_0), x_0.flip(-1), x_0)
    if labels is None:
        return x_0, t, noise
    chosen = drop_labels(labels[index], run.model.num_classes, label_dropout, generator)
    return x_0, t, noise, chosen
