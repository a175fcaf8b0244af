r"""KID: the kernel distance of two sets of features, an unbiased estimate of MMD squared.

The kernel is :math:`k(a, b) = (a \cdot b / F + 1)^3` (arXiv:1801.01401).
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.metrics.features import checked_pair
from course_lib.metrics.intervals import Estimate, bootstrap
from course_lib.tensors import as_float64

KID_SIZE = 1000  # images a side for which the floor of the kernel distance is stated


def kid(x: Tensor, y: Tensor) -> float:
    r"""Kernel distance of two sets, over all of their images.

    .. math::
        \mathbb{E}\,k(x, x') + \mathbb{E}\,k(y, y') - 2\,\mathbb{E}\,k(x, y)

    where a vector is never paired with itself. For two samples of one distribution the estimate is
    0 on average whatever their size, so it can be negative. torchmetrics averages it over random
    subsets, which changes the noise and not the expectation.

    Parameters
    ----------
    x, y : Tensor, shape (N, F) and (M, F)
        Features of at least two images each.
    """
    ones = (torch.ones(1, len(s), dtype=torch.float64) for s in (x, y))
    return kid_of_resamples(x, y, *ones).item()


def kid_interval(x: Tensor, y: Tensor, *, resamples: int = 1000, seed: int = 0) -> Estimate:
    """`kid` with its 95 % interval: a bootstrap that draws from both sets independently."""
    checked_pair(x, y, least=2, what="KID")
    return bootstrap(_KernelDistance(x, y), len(x), len(y), resamples=resamples, seed=seed)


def kid_of_resamples(
    x: Tensor, y: Tensor, weights: Tensor, weights_y: Tensor | None = None
) -> Tensor:
    """Kernel distances of resamples, a statistic for `bootstrap`.

    Parameters
    ----------
    x, y : Tensor, shape (N, F) and (M, F)
    weights : Tensor, shape (R, N)
        Row r says how often each row of x was drawn in resample r.
    weights_y : Tensor, shape (R, M), optional
        The same for y. Default: `weights`, for rows that belong to the same people.

    Returns
    -------
    Tensor, shape (R,)
    """
    return _KernelDistance(x, y)(weights, weights_y)


class _KernelDistance:
    """The kernel between all rows, then as many weighings as one likes."""

    def __init__(self, x: Tensor, y: Tensor):
        x, y = checked_pair(x, y, least=2, what="KID")
        self.xx, self.yy, self.xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)

    def __call__(self, weights: Tensor, weights_y: Tensor | None = None) -> Tensor:
        other = weights if weights_y is None else weights_y
        across = ((weights @ self.xy) * other).sum(dim=1)
        across = across / (weights.sum(dim=1) * other.sum(dim=1))
        return _within(self.xx, weights) + _within(self.yy, other) - 2 * across


def _within(pairs: Tensor, weights: Tensor) -> Tensor:
    # An image drawn twice is no pair of two images, so all of the diagonal is left out
    sums = ((weights @ pairs) * weights).sum(dim=1) - weights.square() @ pairs.diagonal()
    return sums / (weights.sum(dim=1).square() - weights.square().sum(dim=1))


def kid_floor(x: Tensor, *, size: int = KID_SIZE) -> float:
    r"""The kernel distance that two sets of `size` images of one distribution show by chance.

    The expectation of the *biased* estimate, which keeps the pairs of a vector with itself (Gretton
    et al., JMLR 13, 2012, equation 5): with :math:`m` vectors a side,
    :math:`\frac{2}{m} (\mathbb{E}\,k(s, s) - \mathbb{E}\,k(s, s'))` over the rows of x, (N, F).
    """
    x = as_float64(x)
    pairs, count = _kernel(x, x), len(x)
    diagonal = pairs.diagonal()
    different = (pairs.sum() - diagonal.sum()) / (count * (count - 1))
    return (2 * (diagonal.mean() - different) / size).item()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """(M, F) and (N, F) -> (M, N)."""
    return (a @ b.T / a.shape[1] + 1) ** 3
