"""Memorisation: copies of training images among samples, and members told by their loss.

A sample counts as a copy where its nearest training image is much nearer than the second nearest
(arXiv:2505.17638; a ratio of distances as in arXiv:2301.13188). A training image is often denoised
better than an image that the model never saw: the loss tells members.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_number, check_whole
from course_lib.metrics.features import checked_pair
from course_lib.metrics.intervals import Estimate, proportion
from course_lib.metrics.roc import auc_interval
from course_lib.process import (
    check_timesteps,
    model_input,
    prediction_of,
    q_sample,
    signal_and_sigma,
    x0_and_eps,
)
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import as_float64

THRESHOLD = 1 / 3  # of d1 / d2 (arXiv:2505.17638)


class Neighbours(NamedTuple):
    """Distances to the nearest and the second nearest image, and the index of the nearest: (N,)."""

    d1: Tensor
    d2: Tensor
    index: Tensor


def nearest_two(samples: Tensor, training: Tensor) -> Neighbours:
    """The two nearest training images of each sample, by Euclidean distance.

    Parameters
    ----------
    samples, training : Tensor, shape (N, ...) and (M, ...)
        Images or features of equal shape; at least two training images.

    Raises
    ------
    ValueError
        If the shapes do not fit, fewer than two training images are given, or a value is NaN.
    """
    if len(training) < 2:
        raise ValueError(
            f"memorisation needs two neighbours of each sample, but the training set holds "
            f"{len(training)}; give at least two training images."
        )
    rows, others = checked_pair(
        samples.flatten(1), training.flatten(1), least=1, what="memorisation",
        names=("samples", "training"),
    )  # fmt: skip
    # The exact differences, not cdist's matrix product: a copy's distance is a small number
    mode = "donot_use_mm_for_euclid_dist"
    found = [
        torch.cdist(part, others, compute_mode=mode).topk(2, dim=1, largest=False)
        for part in rows.split(64)
    ]
    values = torch.cat([f.values for f in found])  # (N, 2)
    return Neighbours(values[:, 0], values[:, 1], torch.cat([f.indices[:, 0] for f in found]))


def memorized(samples: Tensor, training: Tensor, *, threshold: float = THRESHOLD) -> Tensor:
    """Which samples are copies: d1 / d2 < `threshold` (arXiv:2505.17638), (N,), bool.

    The training set must hold every image once. Of two copies the nearest is as far as the second
    nearest, and so a perfect copy has the ratio 1, or 0 / 0, and is missed.

    Parameters
    ----------
    samples, training
        As for `nearest_two`.
    threshold : float
        Between 0 and 1.
    """
    threshold = check_number("threshold", threshold, low=0, high=1)
    d1, d2, _ = nearest_two(samples, training)
    return d1 < threshold * d2


def memorized_share(samples: Tensor, training: Tensor, *, threshold: float = THRESHOLD) -> Estimate:
    """Share of `memorized` samples with its 95 % interval."""
    return proportion(memorized(samples, training, threshold=threshold))


@torch.no_grad()
def membership_scores(
    model: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    schedule: NoiseSchedule,
    t: int,
    *,
    draws: int = 4,
    prediction: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> Tensor:
    r"""Minus the denoising loss of each image: high for images that the model knows.

    .. math:: -\frac{1}{draws} \sum_k \lVert \hat x_0(x_{t,k}, t) - x_0 \rVert^2 / D

    The loss-based attack of arXiv:2301.09956 and arXiv:2302.03262.

    Parameters
    ----------
    model : callable
        A denoiser, see the model contract in `course_lib.samplers`; in eval mode.
    images : Tensor, shape (N, C, H, W)
        Images in [-1, 1], or latents, of D numbers each.
    t : int
        The timestep. All images meet the same `draws` noises there, so that the noise, which is
        common to all, does not blur the comparison.
    prediction : {"eps", "x0", "v", "flow"}, optional
        Default: what the model says itself, else "eps".
    seed : int
        Of the noise.

    Returns
    -------
    Tensor, shape (N,)
    """
    draws = check_whole("draws", draws)
    check_timesteps(t, schedule.num_timesteps, len(images))
    prediction = prediction_of(model, prediction)
    noises = torch.randn(draws, *images.shape[1:], generator=make_generator(seed))
    totals = []
    for x_0 in images.split(batch_size):
        times, total = torch.full((len(x_0),), t), torch.zeros(len(x_0), dtype=torch.float64)
        for noise in noises:
            signal, sigma = signal_and_sigma(schedule, times, x_0)
            x_t = q_sample(x_0, times, schedule, noise.to(x_0).expand_as(x_0))
            out = model(model_input(x_t, signal, sigma, prediction), times.to(x_0.device))
            x_0_hat, _ = x0_and_eps(getattr(out, "sample", out), x_t, signal, sigma, prediction)
            total += (x_0_hat - x_0).double().square().flatten(1).mean(dim=1).cpu()
        totals.append(-total / draws)
    return torch.cat(totals)


def membership_auc(members: Tensor, others: Tensor) -> Estimate:
    """Chance that a member scores above another image, ties half: the area under the ROC curve.

    Parameters
    ----------
    members, others : Tensor, shape (N,) and (M,)
        `membership_scores` of images of the training set and of others of the same kind.

    Returns
    -------
    dict
        With the 95 % interval of a bootstrap over both kinds of images.

    Raises
    ------
    ValueError
        If a side is empty, or a score is NaN.
    """
    members, others = as_float64(members), as_float64(others)
    for name, scores in (("members", members), ("others", others)):
        if scores.ndim != 1 or len(scores) == 0 or scores.isnan().any():
            raise ValueError(
                f"{name} must be scores of shape (N,) without NaN, N >= 1; got shape "
                f"{tuple(scores.shape)} with {int(scores.isnan().sum())} NaN."
            )
    return auc_interval(members, others)
