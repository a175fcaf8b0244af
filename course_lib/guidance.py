"""Class labels of a denoiser, and classifier-free guidance (arXiv:2207.12598)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import check_number


def num_classes_of(model: Any) -> int:
    """How many classes a model knows; that number itself is the label "no class".

    Raises
    ------
    ValueError
        If the model takes no labels.
    """
    count = getattr(model, "num_classes", None)
    if count is None:
        raise ValueError(
            "labels were given, but the model takes none: it has no num_classes. Make it with "
            "SmallUNet(num_classes=...), or leave labels out."
        )
    return count


def check_labels(
    labels: Tensor | Sequence[int] | int, num_classes: int, count: int, name: str = "labels"
) -> Tensor:
    """Return `labels` as an int64 CPU tensor of shape (count,).

    Parameters
    ----------
    labels : Tensor of shape (count,), sequence of int, or int
        Classes in 0 .. num_classes, where `num_classes` means "no class"; one number is for all.
    num_classes, count : int
        Number of classes, and of images.
    name : str
        What messages call them.

    Raises
    ------
    ValueError
        If they are not whole, not one for each image, or out of range.
    """
    try:
        given = torch.as_tensor(labels)
        whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    except (TypeError, ValueError, RuntimeError):
        whole = False
    if not whole or given.ndim > 1 or given.numel() not in (1, count):
        shown = f"shape {tuple(given.shape)}, {given.dtype}" if whole else repr(labels)
        raise ValueError(f"{name} must be {count} whole numbers, one for each image; got {shown}.")
    given = given.detach().cpu().long().reshape(-1).expand(count)
    if count and not (int(given.min()) >= 0 and int(given.max()) <= num_classes):
        raise ValueError(
            f"{name} must lie in 0 .. {num_classes - 1}, or be {num_classes} for no class; got "
            f"values from {int(given.min())} to {int(given.max())}."
        )
    return given


def drop_labels(
    labels: Tensor, num_classes: int, probability: float, generator: torch.Generator | None = None
) -> Tensor:
    """Replace a random share of the labels (B,) by "no class", as guidance needs in training.

    (arXiv:2207.12598, algorithm 1, line 3.)
    """
    dropped = torch.rand(labels.shape, generator=generator) < probability
    return labels.masked_fill(dropped.to(labels.device), num_classes)


def guided(
    model: Callable, labels: Tensor | Sequence[int] | int | None, guidance: float, *, batch: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """A model of (x_t, t) alone: `model` with these labels and this scale of guidance.

    The combination ``uncond + guidance * (cond - uncond)`` (arXiv:2207.12598, equation 6, whose w
    is `guidance` - 1) is the same for models of the noise, the clean image and the velocity, since
    each is an affine function of the others.

    Raises
    ------
    ValueError
        If guidance is asked for without labels, or the labels do not fit the model.
    """
    guidance = check_number("guidance", guidance, low=0, high=100)
    if labels is None:
        if guidance != 1:
            raise ValueError(
                f"guidance={guidance:g} needs labels to guide by; give labels, or guidance=1."
            )
        return model
    nothing = num_classes_of(model)
    labels = check_labels(labels, nothing, batch)

    def ask(x_t: Tensor, t: Tensor) -> Tensor:
        wanted = labels.to(x_t.device)
        if guidance == 1:
            return model(x_t, t, labels=wanted)
        both = torch.cat([torch.full_like(wanted, nothing), wanted])
        out = model(torch.cat([x_t, x_t]), torch.cat([t, t]), labels=both)
        without, with_label = getattr(out, "sample", out).chunk(2)
        return without + guidance * (with_label - without)

    return ask
