"""Noise schedules: how much of the picture is left at each timestep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.errors import check_choice, check_whole
from course_lib.tensors import as_float64


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    r"""A variance-preserving noise schedule, kept in float64.

    Step ``t`` adds noise of variance ``betas[t]``; the first and least noisy step is ``t = 0``, and
    its result is :math:`x_{t=0}`, while :math:`x_0` is the clean picture.
    Then :math:`q(x_t \mid x_0) = N(\sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I)` with
    :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)` (arXiv:2006.11239, equation 4).

    Parameters
    ----------
    betas : Tensor, shape (T,)
        Noise variances, each in (0, 1). Any float dtype; stored as float64.
    name : str
        Shown in figures and messages.

    Raises
    ------
    ValueError
        If `betas` is empty, not one-dimensional, not finite or outside (0, 1).
    """

    betas: Tensor
    name: str = "custom"

    def __post_init__(self) -> None:
        betas = as_float64(self.betas)
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(
                f"betas must be one row of T >= 1 numbers, got shape {tuple(betas.shape)}."
            )
        # The comparison is False for NaN, so one test covers NaN and the range.
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(
                f"every beta must lie in (0, 1), got values from {float(betas.min()):.3g} to "
                f"{float(betas.max()):.3g}. A beta is the noise variance that one step adds."
            )
        object.__setattr__(self, "betas", betas)
        # Computed once: samplers read these at every step.
        object.__setattr__(self, "_alphas_cumprod", torch.cumprod(1 - betas, dim=0))

    @property
    def num_timesteps(self) -> int:
        """T, the number of noising steps."""
        return len(self.betas)

    @property
    def alphas(self) -> Tensor:
        """``1 - betas``, shape (T,)."""
        return 1 - self.betas

    @property
    def alphas_cumprod(self) -> Tensor:
        r""":math:`\bar\alpha_t`, the square of the factor on x_0, shape (T,)."""
        return self._alphas_cumprod.clone()  # a copy: in-place changes must not reach the schedule

    @property
    def snr(self) -> Tensor:
        r"""Signal-to-noise ratio :math:`\bar\alpha_t / (1 - \bar\alpha_t)`, shape (T,)."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    @classmethod
    def linear(
        cls, num_timesteps: int = 1000, *, beta_start: float = 1e-4, beta_end: float = 0.02
    ) -> NoiseSchedule:
        """Betas on a straight line (arXiv:2006.11239, section 4).

        The default end points are meant for about 1000 steps. With far fewer steps the last
        picture is not yet noise: ``linear(100).alphas_cumprod[-1]`` is about 0.36.
        """
        _check_size(num_timesteps, beta_start, beta_end)
        betas = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)
        return cls(betas, name="linear")

    @classmethod
    def scaled_linear(
        cls, num_timesteps: int = 1000, *, beta_start: float = 0.00085, beta_end: float = 0.012
    ) -> NoiseSchedule:
        """Square roots of the betas on a straight line: Stable Diffusion's schedule.

        The default end points are those of the Stable Diffusion 1 configuration.
        """
        _check_size(num_timesteps, beta_start, beta_end)
        roots = torch.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=torch.float64)
        return cls(roots**2, name="scaled_linear")

    @classmethod
    def cosine(
        cls, num_timesteps: int = 1000, *, offset: float = 0.008, max_beta: float = 0.999
    ) -> NoiseSchedule:
        r"""Choose :math:`\bar\alpha(u) \propto \cos^2` so that it falls gently at both ends.

        :math:`\beta_t = \min(1 - \bar\alpha((t+1)/T) / \bar\alpha(t/T),\ 0.999)`
        (arXiv:2102.09672, equation 17). It works for any number of steps.
        """
        _check_size(num_timesteps)
        # Python's own cosine, so that the values agree with the reference to the last bit.
        bar = [
            math.cos((i / num_timesteps + offset) / (1 + offset) * math.pi / 2) ** 2
            for i in range(num_timesteps + 1)
        ]
        betas = [
            min(1 - after / before, max_beta) for before, after in zip(bar, bar[1:], strict=False)
        ]
        return cls(torch.tensor(betas, dtype=torch.float64), name="cosine")

    @classmethod
    def flow(cls, num_timesteps: int = 1000) -> NoiseSchedule:
        r"""The noise levels of flow matching, evenly spaced: :math:`s_t = (t + 1) / (T + 1)`.

        There :math:`x = (1 - s)\,x_0 + s\,\epsilon` (arXiv:2209.03003), whose variance is not
        preserved. Divided by :math:`\sqrt{(1-s)^2 + s^2}` it is, so
        :math:`\bar\alpha = (1-s)^2 / ((1-s)^2 + s^2)`.
        """
        _check_size(num_timesteps)
        s = torch.arange(num_timesteps + 1, dtype=torch.float64) / (num_timesteps + 1)
        bar_a = (1 - s) ** 2 / ((1 - s) ** 2 + s**2)
        return cls(1 - bar_a[1:] / bar_a[:-1], name="flow")

    @classmethod
    def named(cls, name: str, num_timesteps: int = 1000) -> NoiseSchedule:
        """The schedule called `name`: "linear", "scaled_linear", "cosine" or "flow".

        Raises
        ------
        ValueError
            For an unknown name; the message suggests the nearest one.
        """
        makers = {
            "linear": cls.linear,
            "scaled_linear": cls.scaled_linear,
            "cosine": cls.cosine,
            "flow": cls.flow,
        }
        return makers[check_choice("noise schedule", name, makers)](num_timesteps)

    def __repr__(self) -> str:
        return f"NoiseSchedule.{self.name}({self.num_timesteps})"


def _check_size(num_timesteps: int, *betas: float) -> None:
    check_whole("num_timesteps", num_timesteps)
    for beta in betas:
        if not 0 < beta < 1:
            raise ValueError(f"beta_start and beta_end must lie in (0, 1), got {beta!r}.")
