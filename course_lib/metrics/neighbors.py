"""Metrics by nearest neighbours: precision and recall, density and coverage, near-duplicates.

Around each vector of a set lies a ball that reaches to its k-th nearest neighbour in that set. The
union of the balls stands for the region that the set's distribution occupies.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import check_whole
from course_lib.metrics.features import checked_pair
from course_lib.tensors import uint8_to_signed

THUMBNAIL = 16  # pixels: small enough that a shifted line does not hide a near-duplicate


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """`density` is at least 0 and about 1 for equal distributions; `coverage` is a share."""

    density: float
    coverage: float


def precision_recall(real: Tensor, generated: Tensor, *, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (arXiv:1904.06991, equations 1 and 2).

    Precision is the share of generated vectors that lie in a ball of the real ones: are they
    plausible? Recall is the share of real vectors that lie in a ball of the generated ones: could
    the generator have made them? A single outlier has a large ball, which counts too much in
    either; `density_coverage` mends that.

    Parameters
    ----------
    real, generated : Tensor, shape (N, F) and (M, F)
        Features of more than `k` images each.
    k : int
        The radius of a ball is the distance to the k-th nearest neighbour of the same set.
    """
    return PrecisionRecall(
        inside(real, generated, k=k).double().mean().item(),
        inside(generated, real, k=k).double().mean().item(),
    )


def density_coverage(real: Tensor, generated: Tensor, *, k: int = 5) -> DensityCoverage:
    r"""Density and coverage (arXiv:2002.09797, equations 3 and 4).

    Density is the mean number of real balls in which a generated vector lies, divided by k.
    Coverage is the share of real balls that hold a generated vector: how much of the real
    distribution is reached. Both use balls of real vectors only. For two samples of N vectors of
    one distribution the expected density is 1 and the expected coverage
    :math:`1 - \prod_{i=1}^{k} (N - i) / (2N - i)`, about :math:`1 - 2^{-k}`.

    Parameters as for `precision_recall`.
    """
    distances, radii = _balls(real, generated, k)
    hits = distances <= radii[:, None]  # (N, M)
    return DensityCoverage(
        hits.double().sum().item() / (k * hits.shape[1]),
        hits.any(dim=1).double().mean().item(),
    )


def inside(centres: Tensor, points: Tensor, *, k: int = 3) -> Tensor:
    """Which of the points (M, F) lie in at least one ball of the centres (N, F): (M,), bool."""
    distances, radii = _balls(centres, points, k)
    return (distances <= radii[:, None]).any(dim=0)


def _balls(centres: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances of all centres and points, (N, M), and the radius of each centre's ball, (N,)."""
    k = check_whole("k", k)
    centres, points = checked_pair(
        centres, points, least=k + 1, what=f"a metric of {k} neighbours",
        names=("the first set", "the second set"),
    )  # fmt: skip
    own = torch.cdist(centres, centres)
    own.fill_diagonal_(torch.inf)  # no vector is its own neighbour
    return torch.cdist(centres, points), own.kthvalue(k, dim=1).values


def thumbnails(images: Tensor) -> Tensor:
    """Bytes (N, 3, H, W) at 16 x 16 pixels, as floats in [-1, 1], (N, 768)."""
    return uint8_to_signed(F.adaptive_avg_pool2d(images.float(), THUMBNAIL)).flatten(1)


def nearest(queries: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of (B, F) the Euclidean distance and the index of its nearest row of (K, F)."""
    found = [torch.cdist(part, others).min(dim=1) for part in queries.split(64)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
