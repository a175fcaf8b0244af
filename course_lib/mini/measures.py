r"""Measures of generated portraits: intervals, kernel distance, spread and nearest neighbours.

Everything here works on plain numbers and feature vectors, so each measure can be checked against
a case that is known in closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LOW_RESOLUTION = 16  # pixels: small enough that a shifted line does not hide a copied picture


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion; unlike the usual one, it never leaves [0, 1].

    Wilson, Journal of the American Statistical Association 22(158), 1927. An empty sample gives
    (0, 1): nothing is known.
    """
    if total == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / total
    centre = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def mean_interval(values: Tensor) -> tuple[float, float]:
    """Mean of (N,) values and half the width of its 95 % interval."""
    mean = values.double().mean().item()
    if len(values) < 2:
        return mean, math.inf
    return mean, 1.959964 * values.double().std().item() / math.sqrt(len(values))


def kid(x: Tensor, y: Tensor) -> float:
    r"""Kernel distance of two sets of features, the unbiased estimate of :math:`\mathrm{MMD}^2`.

    .. math:: \frac{1}{m(m-1)}\sum_{i \ne j} k(x_i, x_j) + \frac{1}{n(n-1)}\sum_{i \ne j}
        k(y_i, y_j) - \frac{2}{mn}\sum_{i,j} k(x_i, y_j),
        \qquad k(a, b) = \left(\frac{a \cdot b}{d} + 1\right)^3

    (arXiv:1801.01401). Zero on average if both sets come from one distribution, so an estimate can
    be a little below zero.

    Parameters
    ----------
    x, y : Tensor, shapes (M, D) and (N, D)
        At least two vectors each.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"KID needs two pictures on each side, but has {len(x)} and {len(y)}.")
    x, y = x.double(), y.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        pairs = kernel(a, a)
        return (pairs.sum() - pairs.diagonal().sum()) / (len(a) * (len(a) - 1))

    return (within(x) + within(y) - 2 * kernel(x, y).mean()).item()


def mean_pairwise(x: Tensor) -> float:
    """Mean Euclidean distance of all pairs of different rows of (S, D)."""
    return F.pdist(x.flatten(1).double()).mean().item()


def low_resolution(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 768): the pictures at 16 x 16, in [-1, 1]."""
    small = F.adaptive_avg_pool2d(pixels.float(), LOW_RESOLUTION) / 127.5 - 1
    return small.flatten(1)


@dataclass
class Nearest:
    """For each of B vectors, the nearest of all that were offered so far.

    Attributes
    ----------
    queries : Tensor, shape (B, D)
    distance : Tensor, shape (B,)
        Euclidean.
    index : Tensor, shape (B,)
        Which one it was, counted over all that were offered; -1 before any was.
    """

    queries: Tensor
    offered: int = 0

    def __post_init__(self) -> None:
        self.distance = torch.full((len(self.queries),), math.inf)
        self.index = torch.full((len(self.queries),), -1)

    def offer(self, others: Tensor) -> None:
        """Compare with (K, D) more vectors."""
        distance, index = torch.cdist(self.queries, others).min(dim=1)
        closer = distance < self.distance
        self.distance = torch.where(closer, distance, self.distance)
        self.index = torch.where(closer, index + self.offered, self.index)
        self.offered += len(others)
