r"""Flow matching: a network learns the velocity of straight lines from noise to data.

Notation: ``x_s = (1 - s) * x_0 + s * eps``, with the noise level s from 0 (data) to 1 (noise), as
in diffusers. The velocity ``dx/ds`` of such a line is ``eps - x_0``. A network that learns it by
squared error learns the mean velocity of all lines through a point, and the ODE
``dx/ds = u(x, s)`` carries noise to data (arXiv:2210.02747, arXiv:2209.03003).

The functions here work at any s in [0, 1], with networks ``model(x, s)``, s of shape (B,). For
networks of whole timesteps `course_lib.sample` takes ``prediction="flow"``: its images, divided by
``sqrt(bar_a) + sqrt(1 - bar_a)``, are the ``x_s`` of `noise_levels`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import check_choice, check_whole
from course_lib.process import randn_like
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import expand_to
from course_lib.unet import timestep_embedding

SOLVERS = ("euler", "heun")
LEVEL_FEATURES = 16  # sines and cosines of the noise level
Network = Callable[[Tensor, Tensor], Tensor]


def interpolate(x_0: Tensor, eps: Tensor, s: Tensor) -> Tensor:
    """The point ``(1 - s) x_0 + s eps`` on the line from data to noise.

    Shapes (B, ...) for `x_0` and `eps`, (B,) for `s` in [0, 1].
    """
    if x_0.shape != eps.shape:
        raise ValueError(
            f"x_0 and eps must have one shape, got {tuple(x_0.shape)} and {tuple(eps.shape)}."
        )
    # lerp(x_0, eps, s) is x_0 + s (eps - x_0)
    return torch.lerp(x_0, eps, expand_to(s.to(x_0), x_0))


def flow_loss(
    model: Network,
    x_0: Tensor,
    *,
    s: Tensor | None = None,
    eps: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Squared error of the velocity :math:`\epsilon - x_0` (arXiv:2209.03003, equation 1).

    Parameters
    ----------
    model : callable
        ``model(x, s)`` -> velocity, of the shape of `x`.
    x_0 : Tensor, shape (B, ...)
        Data.
    s : Tensor, shape (B,), optional
        Noise levels; default: uniform in [0, 1), from `generator`.
    eps : Tensor, shape of x_0, optional
        The noise that each row is paired with; default: standard normal, from `generator`. To
        rectify, give the noise that `integrate` turned into `x_0`.

    Returns
    -------
    Tensor
        A scalar with gradient.
    """
    if s is None:
        s = torch.rand(len(x_0), generator=generator).to(x_0)
    if eps is None:
        eps = randn_like(x_0, generator)
    return F.mse_loss(model(interpolate(x_0, eps, s), s), eps - x_0)


@torch.no_grad()
def integrate(model: Network, eps: Tensor, steps: int, method: str = "euler") -> Tensor:
    """Follow ``dx/ds = model(x, s)`` from noise, s = 1, to data, s = 0, in equal steps.

    Parameters
    ----------
    eps : Tensor, shape (B, ...)
        Noise, where the paths start.
    steps : int
    method : {"euler", "heun"}
        Heun asks the model twice a step, and is of second order.

    Returns
    -------
    Tensor, shape (steps + 1, B, ...)
        The paths; the last entry is the result.

    Raises
    ------
    ValueError
        For an unknown method or no steps.
    """
    check_choice("solver", method, SOLVERS)
    steps = check_whole("steps", steps)
    levels = torch.linspace(1, 0, steps + 1, dtype=torch.float64).to(eps)
    path = [eps]
    for s, s_prev in zip(levels, levels[1:], strict=False):
        x = path[-1]
        u = model(x, s.expand(len(x)))
        if method == "heun":
            trial = x + (s_prev - s) * u
            u = (u + model(trial, s_prev.expand(len(x)))) / 2
        path.append(x + (s_prev - s) * u)
    return torch.stack(path)


def straightness(path: Tensor) -> Tensor:
    r"""How far the paths are from straight lines: 0 for straight ones.

    The mean over steps of :math:`|u_i - \bar u|^2`, where u is the velocity of a step and
    :math:`\bar u` that of the whole path (arXiv:2209.03003, section 2.2, which averages over paths
    as well), divided by :math:`|\bar u|^2`, averaged over the paths. It is a number without unit.

    Parameters
    ----------
    path : Tensor, shape (steps + 1, B, ...)
        As `integrate` returns it, in equal steps.

    Returns
    -------
    Tensor
        A scalar.
    """
    if path.ndim < 3 or len(path) < 3:
        raise ValueError(
            "path must have shape (steps + 1, B, ...) with 2 steps or more, got "
            f"{tuple(path.shape)}; one step is always straight."
        )
    velocity = path.diff(dim=0).flatten(2) * (len(path) - 1)  # (steps, B, D)
    whole = velocity.mean(dim=0)
    off = (velocity - whole).square().sum(dim=(0, 2)).mean() / len(velocity)
    return off / whole.square().sum(dim=1).mean()


def noise_levels(schedule: NoiseSchedule) -> Tensor:
    r"""The noise level s of each timestep, shape (T,), float64.

    :math:`s = \sqrt{1-\bar\alpha_t} / (\sqrt{\bar\alpha_t} + \sqrt{1-\bar\alpha_t})`: there
    :math:`(1-s)\,x_0 + s\,\epsilon` is x_t divided by the same sum.
    """
    signal, sigma = schedule.alphas_cumprod.sqrt(), (1 - schedule.alphas_cumprod).sqrt()
    return sigma / (signal + sigma)


def with_timesteps(model: Network, schedule: NoiseSchedule) -> Network:
    """A network of noise levels as one of timesteps, for ``sample(..., prediction="flow")``."""
    levels = noise_levels(schedule)
    ratio = levels / (1 - levels)

    def timestep_model(x: Tensor, t: Tensor) -> Tensor:
        # Euler and Heun may ask between two timesteps, where s / (1 - s) is interpolated linearly
        low = t.cpu().long()
        high = (low + 1).clamp(max=len(ratio) - 1)
        between = torch.lerp(ratio[low], ratio[high], t.cpu().double() - low)
        return model(x, (between / (1 + between)).to(x))

    return timestep_model


class PointNetwork(nn.Module):
    """A small network for points of any dimension: ``model(x, s)``, (B, D) and (B,) -> (B, D).

    Three hidden layers; the noise level enters as sines and cosines of 1000 s.
    """

    def __init__(self, dim: int, width: int = 128):
        super().__init__()
        layers = [nn.Linear(dim + LEVEL_FEATURES, width), nn.SiLU()]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, dim))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Estimate what it is trained to predict."""
        return self.layers(torch.cat([x, timestep_embedding(1000 * s, LEVEL_FEATURES)], dim=1))
