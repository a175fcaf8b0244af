"""Which numbers of a latent count how much in the U-Net's loss: what a caption decides counts."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.mini.data import UNSEEN

# What is said of the person. Backgrounds and clothes cover much more and are learned anyway.
PERSON = (
    "age", "gender", "skin", "hair_color", "hair_style", "eyewear", "facial_hair", "headwear",
    "expression",
)  # fmt: skip
EVEN_SHARE = 0.3  # of the weight, spread evenly, so that no place is forgotten


def emphasis(latents: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """Weights of a latent's numbers for the loss, by how much of each the captions explain.

    The squared error of a whole picture hardly sees an expression: moving it changes 0.1 % of the
    variance, in four cells of the mouth, while backgrounds change a third. Here each attribute a
    has its part of the weight, proportional to (what a explains of a number's variance) /
    (a's explained variance in all numbers): mouths count for the expression, rims for the glasses.
    Where a network has learned enough, weights change nothing, since the best guess is the same
    for each number alone; in a short training they decide what is learned first.

    Parameters
    ----------
    latents : Tensor, shape (N, C, H, W)
    labels : dict
        Attribute -> values' numbers, (N,), or `UNSEEN`, as `labels_of` makes them.

    Returns
    -------
    Tensor, shape (C, H, W)
        At least 0.3, mean 1; all 1 where no attribute explains anything.
    """
    x = latents.float()
    total, weights = x.var(dim=0, correction=0), torch.zeros_like(x[0])
    for name in PERSON:
        explained = explained_variance(x, labels[name])
        if explained.sum() > 0:
            weights += explained / total.clamp(min=1e-12) / explained.sum()
    if not weights.any():
        return torch.ones_like(weights)
    return EVEN_SHARE + (1 - EVEN_SHARE) * weights / weights.mean()


def explained_variance(x: Tensor, numbers: Tensor) -> Tensor:
    """Variance of x's group means, one group for each value: (N, ...) and (N,) -> (...).

    A mean of n differs from the true one by chance, in variance by 1/n of the group's; that is
    taken off, else small groups would seem to explain what they do not.
    """
    x, numbers = x[numbers != UNSEEN], numbers[numbers != UNSEEN]
    centre, explained = x.mean(dim=0), x.new_zeros(x.shape[1:])
    for value in numbers.unique():
        group = x[numbers == value]
        if len(group) > 1:
            distance = (group.mean(dim=0) - centre).square()
            explained += len(group) / len(x) * (distance - group.var(dim=0) / len(group))
    return explained.clamp(min=0)
