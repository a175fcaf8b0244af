"""Checks that the metrics of feature vectors share."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.tensors import as_float64


def checked_pair(
    x: Tensor, y: Tensor, *, least: int, what: str, names: tuple[str, str] = ("x", "y")
) -> tuple[Tensor, Tensor]:
    """Two sets of features as float64 on the CPU.

    Parameters
    ----------
    x, y : Tensor, shape (N, F) and (M, F)
    least : int
        How many rows each needs.
    what : str
        The metric's name, for the message.
    names : tuple of str
        What the caller knows the two sets by.

    Raises
    ------
    ValueError
        If a shape does not fit, a set is too small, or a value is NaN or infinite.
    """
    pair = as_float64(x), as_float64(y)
    for name, values in zip(names, pair, strict=True):
        if values.ndim != 2:
            raise ValueError(
                f"{what} takes features of shape (N, F), but {name} is {tuple(values.shape)}; "
                "use an image encoder, or flatten(1) for pixels."
            )
        if len(values) < least:
            raise ValueError(
                f"{what} needs at least {least} images on each side, but {name} has {len(values)}."
            )
        if not torch.isfinite(values).all():
            raise ValueError(f"{what} needs finite features, but {name} contains NaN or infinity.")
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ValueError(
            f"{what} needs features of one encoder, but {names[0]} has {pair[0].shape[1]} columns "
            f"and {names[1]} {pair[1].shape[1]}."
        )
    return pair
