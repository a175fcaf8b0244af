r"""How far apart two pictures are, in numbers: MSE, PSNR and SSIM.

All three take images in [-1, 1], so the *data range*, the largest possible difference of two
pixels, is 2 and not 1 or 255. PSNR depends on it: a wrong range shifts every PSNR by
:math:`20\log_{10}` of the ratio, 6.02 dB for a factor of two. SSIM compares local means as ratios,
which only makes sense where black is 0: it is computed after mapping to [0, 1].

The work is done by torchmetrics. It is imported on first use, so `import course_lib` stays light.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.tensors import to_unit

DATA_RANGE = 2.0


def check_pair(a: Tensor, b: Tensor, reduction: str) -> None:
    """Raise ValueError unless a and b are batches of pictures of one shape."""
    check_choice("reduction", reduction, ("mean", "none"))
    if a.shape != b.shape:
        raise ValueError(
            f"both batches must have one shape, but a is {tuple(a.shape)} and b {tuple(b.shape)}."
        )
    if a.ndim != 4:
        raise ValueError(f"images must be a batch (B, C, H, W), not {tuple(a.shape)}; add [None].")
    if a.shape[0] == 0:
        raise ValueError("the batch is empty; there is nothing to measure.")
    if not (a.is_floating_point() and b.is_floating_point()):
        raise ValueError(
            f"images must be floats in [-1, 1], but a is {a.dtype} and b {b.dtype}; "
            "convert bytes with to_signed(pixels.float() / 255)."
        )


def reduce_batch(values: Tensor, reduction: str) -> Tensor:
    """Values (B,) as they are, or for "mean" their mean."""
    return values.mean() if reduction == "mean" else values


def mse(a: Tensor, b: Tensor, *, reduction: str = "mean") -> Tensor:
    r"""Mean squared error, :math:`\frac{1}{CHW}\sum (a-b)^2`; 0 means equal.

    Parameters
    ----------
    a, b : Tensor, shape (B, C, H, W)
        Images in [-1, 1].
    reduction : {"mean", "none"}
        One number for the batch, or one for each image, shape (B,).
    """
    check_pair(a, b, reduction)
    return reduce_batch((a - b).square().mean(dim=(1, 2, 3)), reduction)


def psnr(a: Tensor, b: Tensor, *, reduction: str = "mean") -> Tensor:
    r"""Peak signal-to-noise ratio in decibels, :math:`10\log_{10}(2^2/\mathrm{MSE})`.

    Higher is closer; equal images give infinity. The mean over a batch is the mean of each
    image's decibels. Arguments as for :func:`mse`.
    """
    check_pair(a, b, reduction)
    from torchmetrics.functional.image.psnr import peak_signal_noise_ratio

    values = peak_signal_noise_ratio(a, b, data_range=DATA_RANGE, reduction="none", dim=(1, 2, 3))
    return reduce_batch(values, reduction)


def ssim(a: Tensor, b: Tensor, *, reduction: str = "mean") -> Tensor:
    """Structural similarity: agreement of local means, contrasts and patterns; 1 means equal.

    The images are mapped to [0, 1] first. On [-1, 1] mid-gray would be 0, and two nearly equal
    grays on either side of it would count as opposites. The window is the usual Gaussian, sigma
    1.5 pixels, 11 pixels wide (Wang et al., IEEE Transactions on Image Processing 13(4), 2004).
    Arguments as for :func:`mse`.

    Raises
    ------
    ValueError
        If the images are smaller than the window, 11 x 11 pixels.
    """
    check_pair(a, b, reduction)
    if min(a.shape[-2:]) < 11:
        raise ValueError(
            f"SSIM looks through a window of 11 x 11 pixels, but the images are "
            f"{a.shape[-2]} x {a.shape[-1]}; use larger images."
        )
    from torchmetrics.functional.image.ssim import structural_similarity_index_measure

    values = structural_similarity_index_measure(
        to_unit(a), to_unit(b), data_range=1.0, reduction="none"
    )
    return reduce_batch(torch.as_tensor(values).reshape(a.shape[0]), reduction)
