"""The classifier two-sample test: can a classifier tell two sets apart?"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import check_whole
from course_lib.metrics.features import checked_pair
from course_lib.metrics.intervals import Estimate, proportion


def two_sample_accuracy(x: Tensor, y: Tensor, *, folds: int = 5, penalty: float = 0.05) -> Estimate:
    """Accuracy of a linear classifier on pictures that it was not fitted to, with its interval.

    Arguments as for `two_sample_hits`. Of the larger set the surplus is left out, so that 0.5 is
    what guessing gives. The interval is Wilson's over both sets.
    """
    count = min(len(x), len(y))
    hits = two_sample_hits(x[:count], y[:count], folds=folds, penalty=penalty)
    return proportion(torch.cat(hits))


def two_sample_hits(
    x: Tensor, y: Tensor, *, folds: int = 5, penalty: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Which pictures a linear classifier assigns to the right set, each while it is held out.

    The classifier two-sample test (arXiv:1610.06545): an accuracy of 0.5 is what no difference
    gives. Ridge regression of -1 and 1 on standardized features, where both sets weigh the same;
    row i of either set is in fold i modulo `folds`. So rows that belong to one person are held out
    together, or the classifier would know a person's features from the other set.

    Parameters
    ----------
    x, y : Tensor, shape (N, F) and (M, F)
        At least as many rows as folds.
    folds : int
        At least 2.
    penalty : float
        Ridge penalty for features of variance 1 and a mean squared error.

    Returns
    -------
    tuple of Tensor
        Right or wrong for the rows of x, (N,), and of y, (M,), bool.
    """
    folds = check_whole("folds", folds, low=2)
    x, y = checked_pair(x, y, least=folds, what=f"a two-sample test of {folds} folds")
    hits = torch.empty(len(x), dtype=torch.bool), torch.empty(len(y), dtype=torch.bool)
    fold_x, fold_y = torch.arange(len(x)) % folds, torch.arange(len(y)) % folds
    for fold in range(folds):
        train = torch.cat([x[fold_x != fold], y[fold_y != fold]])
        first = int((fold_x != fold).sum())
        target, weight = torch.ones(2, len(train), dtype=torch.float64)
        target[first:] = -1
        weight[:first] /= 2 * first
        weight[first:] /= 2 * (len(train) - first)
        center = weight @ train
        spread = (weight @ (train - center).square()).sqrt().clamp(min=1e-6)
        train = (train - center) / spread
        gram = train.T @ (train * weight[:, None])
        gram.diagonal().add_(penalty)
        slope = torch.linalg.solve(gram, train.T @ (weight * target))
        for values, folded, side, right in ((x, fold_x, 1, hits[0]), (y, fold_y, -1, hits[1])):
            mask = folded == fold
            right[mask] = side * ((values[mask] - center) / spread @ slope) > 0
    return hits
