"""Estimates with 95 % intervals: of shares, of means, and of anything by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.device import make_generator
from course_lib.tensors import as_float64

Estimate = dict[str, float]  # value, low, high; n where it is a proportion
Z = 1.959964  # 97.5 % quantile of the normal distribution
RESAMPLES = 1000


def bootstrap(
    statistic: Callable[..., Tensor], *counts: int, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Value and 95 % percentile interval of a statistic of one or several samples.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Parameters
    ----------
    statistic : callable
        One tensor of weights (R, N) for each sample -> values (R,). Row r says how often each of
        the N items was drawn in resample r; all ones is the sample itself.
    *counts : int
        The sizes N of the samples, which are drawn independently. Data that belong together, such
        as two pictures of one person, are one item of one sample.
    resamples : int
        R.
    seed : int
        Of the draws.
    """
    generator, weights = make_generator(seed), []
    for count in counts:
        draws = torch.randint(count, (resamples, count), generator=generator)
        drawn = torch.zeros(resamples, count, dtype=torch.float64)
        weights.append(drawn.scatter_add_(1, draws, torch.ones_like(drawn)))
    values = statistic(*weights)
    # A resample may lack what a ratio counts, which gives NaN
    low, high = values.nanquantile(torch.tensor([0.025, 0.975]).double()).tolist()
    value = statistic(*(torch.ones(1, count, dtype=torch.float64) for count in counts)).item()
    return {"value": value, "low": low, "high": high}


def proportion(hits: Tensor) -> Estimate:
    """Share of true values in (N,) and its Wilson interval, which never leaves [0, 1].

    Wilson, Journal of the American Statistical Association 22(158), 1927. Without observations the
    share is NaN and the interval (0, 1).
    """
    total = hits.numel()
    if total == 0:
        return {"n": 0, "value": math.nan, "low": 0.0, "high": 1.0}
    share = as_float64(hits).mean().item()
    scale = 1 + Z * Z / total
    centre = (share + Z * Z / (2 * total)) / scale
    half = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total)) / scale
    return {
        "n": total, "value": share, "low": max(0.0, centre - half), "high": min(1.0, centre + half)
    }  # fmt: skip


def mean(values: Tensor) -> Estimate:
    """Mean of (N,) values with its normal interval; a single value has an infinite one."""
    values, half = as_float64(values), math.inf
    value = values.mean().item()
    if len(values) > 1:
        half = Z * values.std().item() / math.sqrt(len(values))
    return {"value": value, "low": value - half, "high": value + half}


def ratio(numerator: Tensor, denominator: Tensor) -> Callable[[Tensor], Tensor]:
    """Ratio of the sums of two columns (N,), as a statistic for `bootstrap`."""
    return lambda weights: (weights @ as_float64(numerator)) / (weights @ as_float64(denominator))
