"""Check image tensors before they are drawn, with messages that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Noise is N(0, 1): with +-3 as black and white 99.7 % of it is shown without clipping.
NOISE_LIMIT = 3.0
_NOISE_NAMES = ("eps", "noise", "score", "velocity")
# Values that are never negative and go beyond this are bytes (0..255), not a picture in [-1, 1].
_FAR_OUT = 10.0


def display_limit(name: str) -> float:
    """The value shown as white (and, negated, as black) for a row called `name`.

    1 for pictures. 3 for rows whose name starts with eps, noise, score or velocity, and for v:
    they are spread like N(0, 1), and at a limit of 1 a third of their pixels would be clipped.
    """
    lowered = name.lower().strip()
    noise = lowered.startswith(_NOISE_NAMES) or lowered in {"v", "v_hat"}
    return NOISE_LIMIT if noise else 1.0


def _stack(images: Tensor | Sequence[Tensor], name: str) -> Tensor:
    """Join a list of (C, H, W) tensors, or return a tensor as it is."""
    if isinstance(images, Tensor):
        return images
    if not isinstance(images, Sequence) or not all(isinstance(one, Tensor) for one in images):
        raise ValueError(
            f"{name} must be a tensor (N, C, H, W) or a list of tensors (C, H, W), not "
            f"{type(images).__name__}; course_lib.tensors.from_pil converts PIL images."
        )
    if not images:
        raise ValueError(f"{name} is empty; give at least one image.")
    shapes = sorted({tuple(one.shape) for one in images})
    if len(shapes) > 1:
        raise ValueError(f"{name} mixes images of shapes {shapes}; resize them to one size first.")
    return torch.stack([one.detach().cpu() for one in images])


def as_frames(
    images: Tensor | Sequence[Tensor], *, name: str = "images", limit: float = 1.0
) -> Tensor:
    """Return `images` as a checked float32 batch on the CPU, scaled so that [-1, 1] is shown.

    Parameters
    ----------
    images : Tensor (N, C, H, W), or a sequence of (C, H, W)
        C is 1 (grey) or 3 (RGB). Values outside [-limit, limit] are clipped, because a
        noisy x_t and an early predicted x_0 leave the range.
    name : str
        Used in the messages.
    limit : float
        The value that is shown as full brightness.

    Returns
    -------
    Tensor, float32, shape (N, C, H, W), values in [-1, 1]

    Raises
    ------
    ValueError
        For a wrong shape, an empty batch, mixed sizes, integers, NaN or infinity, a non-positive
        limit, and values that look like bytes (0..255).
    """
    if limit <= 0:
        raise ValueError(f"the display limit of {name} must be positive, not {limit}.")
    images = _stack(images, name)
    shape = tuple(images.shape)
    if images.ndim != 4:
        hint = f" Use {name}[None] for a single image." if images.ndim == 3 else ""
        raise ValueError(f"{name} must have shape (N, C, H, W), not {shape}.{hint}")
    if images.numel() == 0:
        raise ValueError(f"{name} is empty (shape {shape}); give at least one image.")
    if shape[1] not in (1, 3):
        raise ValueError(
            f"{name} has {shape[1]} channels (shape {shape}); pictures have 1 or 3, in the order "
            "(N, C, H, W). Decode latents with the autoencoder first."
        )
    if not images.is_floating_point():
        raise ValueError(
            f"{name} has dtype {images.dtype}; pictures are floats in [-1, 1]. "
            "For bytes use images.float() / 127.5 - 1."
        )
    images = images.detach().cpu().float()
    if not bool(torch.isfinite(images).all()):
        raise ValueError(f"{name} contains NaN or infinity; look for the step that produced it.")
    low, high = float(images.min()), float(images.max())
    # A predicted x_0 may shoot far beyond [-1, 1] at high t, but in both directions.
    if low >= 0 and high > _FAR_OUT * limit:
        raise ValueError(
            f"{name} has values from {low:.4g} to {high:.4g}, outside [-{limit:g}, {limit:g}]; "
            "they look like bytes. Scale pictures to [-1, 1] with x / 127.5 - 1."
        )
    return (images / limit).clamp(-1, 1)
