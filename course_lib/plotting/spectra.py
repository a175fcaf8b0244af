"""Power spectra: how much of a picture lies in coarse shapes and how much in fine detail."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from course_lib.plotting.checks import check_mapping
from course_lib.plotting.style import CourseFigure, course_style, line_look, new_figure
from course_lib.tensors import as_float64


def radial_power(images: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean power at each spatial frequency, over directions, channels and images.

    The power at a frequency is :math:`|F|^2 / (H W)`, with :math:`F` the discrete Fourier
    transform, so white noise of variance :math:`\sigma^2` has power :math:`\sigma^2` everywhere
    (Parseval's theorem).

    Parameters
    ----------
    images : Tensor, shape (N, C, S, S)
        Square pictures with S >= 2; any finite values.

    Returns
    -------
    frequency : Tensor, int64, shape (S // 2,)
        1 ... S // 2, in periods per picture width. The mean of the picture, frequency 0, and the
        corners of the frequency plane, beyond S // 2, are left out.
    power : Tensor, float64, shape (S // 2,)

    Raises
    ------
    ValueError
        If the pictures are not square or not finite.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2] or images.shape[-1] < 2:
        raise ValueError(
            f"images must have shape (N, C, S, S) with S >= 2, not {tuple(images.shape)}."
        )
    if images.numel() == 0 or not bool(torch.isfinite(images).all()):
        raise ValueError("images must hold at least one value, all of them finite.")
    size = images.shape[-1]
    transform = torch.fft.fft2(as_float64(images))  # (N, C, S, S), complex
    plane = transform.abs().square().mean((0, 1)) / size**2  # (S, S)
    axis = torch.fft.fftfreq(size, d=1 / size)  # 0, 1, ..., -1: periods per width
    distance = (axis[:, None] ** 2 + axis**2).sqrt().round().long()  # (S, S)
    frequency = torch.arange(1, size // 2 + 1)
    return frequency, torch.stack([plane[distance == f].mean() for f in frequency])


def power_spectra(images: Mapping[str, Tensor], *, alt: str | None = None) -> CourseFigure:
    """Compare the power spectra of sets of pictures, on two logarithmic axes.

    Parameters
    ----------
    images : dict of str to Tensor (N, C, S, S)
        Legend name to pictures; see `radial_power`.
    alt : str, optional
        Text alternative.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_mapping(images, "images", '{"portraits": images}')
    with course_style():
        figure = new_figure(6.4, 3.6, alt=alt or f"power spectra of {', '.join(images)}")
        ax = figure.subplots()
        for index, (name, batch) in enumerate(images.items()):
            frequency, power = radial_power(batch)
            ax.plot(frequency.numpy(), power.numpy(), label=name, **line_look(index))
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_yscale("log")
        ax.set_xlabel("spatial frequency (periods per picture width)")
        ax.set_ylabel("power (variance of white noise)")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
