"""A linear probe: what a linear classifier can read off features."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.tensors import as_float64


def linear_probe(
    features: Tensor, labels: Tensor, *, penalty: float = 0.03
) -> Callable[[Tensor], Tensor]:
    """Fit a linear classifier by ridge regression on one-hot labels.

    The solution is in closed form, so the same data give the same probe. Always state its accuracy
    on data that it was not fitted to.

    Parameters
    ----------
    features : Tensor, shape (N, F)
    labels : Tensor, shape (N,)
        Whole numbers from 0.
    penalty : float
        Ridge penalty for features of variance 1 and a mean squared error.

    Returns
    -------
    callable
        Features (M, F) -> labels (M,).

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or len(labels) < 2:
        raise ValueError(
            "linear_probe takes features (N, F) and N labels, N >= 2, but got "
            f"{tuple(features.shape)} and {tuple(labels.shape)}."
        )
    x = as_float64(features)
    center, spread = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
    x = (x - center) / spread
    target = F.one_hot(labels).double()
    # The columns of x have mean 0, so the best offset is the mean of the target
    offset = target.mean(dim=0)
    target = (target - offset) / len(x)
    # (X'X + c)^-1 X' = X' (XX' + c)^-1: of both systems of equations the smaller one
    wide = x.shape[1] > len(x)
    gram = (x @ x.T if wide else x.T @ x) / len(x)
    gram.diagonal().add_(penalty)
    solved = torch.linalg.solve(gram, target if wide else x.T @ target)
    slope = x.T @ solved if wide else solved
    return lambda other: ((as_float64(other) - center) / spread @ slope + offset).argmax(dim=1)
