"""The arithmetic of one sampler step, as pure functions of the model's estimates.

Notation: ``bar_a = alphas_cumprod`` at the timestep where the model was asked, ``bar_a_prev`` where
the step lands (1 for the clean image), both Python floats; images are tensors (B, C, H, W) in the
variance-preserving convention ``x_t = sqrt(bar_a) * x_0 + sqrt(1 - bar_a) * eps``. "prev" is the
less noisy side, as in the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# (x_t, t, bar_a) -> (x_0_hat, eps_hat)
Predict = Callable[[Tensor, float, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Node:
    """A point on the sampler's grid: ask the model at `t`, `bar_a`; land at `bar_a_prev`."""

    t: int | float
    bar_a: float
    bar_a_prev: float


def ddpm_step(
    x_t: Tensor, x_0_hat: Tensor, bar_a: float, bar_a_prev: float, noise: Tensor | None = None
) -> Tensor:
    r"""Draw from the posterior with the estimate in place of x_0 (arXiv:2006.11239, eq. 6-7).

    ``noise=None`` returns the mean; the last step adds no noise.
    """
    # One step over several timesteps has alpha = bar_a_t / bar_a_prev and beta = 1 - alpha.
    alpha = bar_a / bar_a_prev
    beta = 1 - alpha
    # (7) mean of q(x_prev | x_t, x_0)
    mean = (bar_a_prev**0.5 * beta / (1 - bar_a)) * x_0_hat
    mean = mean + (alpha**0.5 * (1 - bar_a_prev) / (1 - bar_a)) * x_t
    if noise is None:
        return mean
    # (7) its variance, beta tilde
    return mean + (beta * (1 - bar_a_prev) / (1 - bar_a)) ** 0.5 * noise


def ddim_step(
    x_0_hat: Tensor,
    eps_hat: Tensor,
    bar_a: float,
    bar_a_prev: float,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    r"""Aim at the estimate, keep part of the estimated noise, add fresh noise for the rest.

    (arXiv:2010.02502, equation 12 with the sigma of equation 16.)
    """
    # (16) eta = 1 is the posterior's standard deviation
    sigma = eta * ((1 - bar_a_prev) / (1 - bar_a) * (1 - bar_a / bar_a_prev)) ** 0.5
    # (12) "predicted x_0" + "direction pointing to x_t" + fresh noise; the clamp keeps
    # rounding from making the square root's argument negative at the last step
    direction = max(1 - bar_a_prev - sigma**2, 0.0) ** 0.5
    x_prev = bar_a_prev**0.5 * x_0_hat + direction * eps_hat
    return x_prev if noise is None else x_prev + sigma * noise


def euler_step(x_t: Tensor, x_0_hat: Tensor, bar_a: float, bar_a_prev: float) -> Tensor:
    r"""One Euler step of dx/dsigma = (x - x_0_hat) / sigma (arXiv:2206.00364, equation 1).

    In that paper's units the image is x / sqrt(bar_a) and sigma = sqrt((1 - bar_a) / bar_a).
    """
    sigma, sigma_prev = _sigma(bar_a), _sigma(bar_a_prev)
    x = x_t / bar_a**0.5
    d = (x - x_0_hat) / sigma
    # x + (sigma_prev - sigma) * d, written so that float32 does not subtract two huge numbers
    # where a cosine schedule starts at sigma = 20,000
    return (x_0_hat + sigma_prev * d) * bar_a_prev**0.5


def heun_step(
    predict: Predict, x_t: Tensor, x_0_hat: Tensor, node: Node, following: Node
) -> Tensor:
    r"""Euler step, slope there, then again with the mean slope (arXiv:2206.00364, algorithm 1)."""
    sigma, sigma_prev = _sigma(node.bar_a), _sigma(node.bar_a_prev)
    x = x_t / node.bar_a**0.5
    d = (x - x_0_hat) / sigma
    # Line 5: the trial point, brought back to the units the model knows
    x_trial = x + (sigma_prev - sigma) * d
    signal = node.bar_a_prev**0.5
    x_0_trial, _ = predict(x_trial * signal, following.t, following.bar_a)
    # Lines 7-8: the mean of both slopes
    d_trial = (x_trial - x_0_trial) / sigma_prev
    return (x + (sigma_prev - sigma) * (d + d_trial) / 2) * signal


def dpmpp_2m_step(
    x_t: Tensor, x_0_hat: Tensor, node: Node, last: tuple[Node, Tensor] | None
) -> Tensor:
    r"""DPM-Solver++(2M), midpoint form (arXiv:2211.01095, algorithm 2).

    The first step, which has no history, and the last, which lands on sigma = 0, are first order.
    """
    signal_prev, sigma_prev = node.bar_a_prev**0.5, (1 - node.bar_a_prev) ** 0.5
    if sigma_prev == 0:
        return x_0_hat
    sigma = (1 - node.bar_a) ** 0.5
    h = _log_snr_half(node.bar_a_prev) - _log_snr_half(node.bar_a)
    D = x_0_hat
    if last is not None:
        node_before, x_0_before = last
        # r = h_{i-1} / h_i; D extrapolates the clean-image estimate to the middle of this step
        r = (_log_snr_half(node.bar_a) - _log_snr_half(node_before.bar_a)) / h
        D = x_0_hat + (x_0_hat - x_0_before) / (2 * r)
    return (sigma_prev / sigma) * x_t - signal_prev * math.expm1(-h) * D


def _sigma(bar_a: float) -> float:
    return ((1 - bar_a) / bar_a) ** 0.5


def _log_snr_half(bar_a: float) -> float:
    """lambda = log(sqrt(bar_a) / sqrt(1 - bar_a))."""
    return -math.log(_sigma(bar_a))
