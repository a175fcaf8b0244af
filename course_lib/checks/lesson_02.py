"""Checks for the exercises of lesson 02, the derivation of the loss.

Each compares with the truth by another road than the solution's: Bayes on a grid, integration on a
grid, or a gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.checks import attempted, exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.process import posterior_mean_variance, predict_x0_from_eps
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import as_float64

_GRID = torch.linspace(-12, 12, 24001, dtype=torch.float64)


def _log_normal(x: Tensor, mean: float | Tensor, variance: float | Tensor) -> Tensor:
    variance = torch.as_tensor(variance, dtype=torch.float64)
    return -0.5 * ((x - mean) ** 2 / variance + torch.log(2 * math.pi * variance))


def _schedule() -> NoiseSchedule:
    return NoiseSchedule(torch.linspace(0.05, 0.6, 8, dtype=torch.float64), name="tiny")


def _close_to(given: object, wrong: Tensor) -> bool:
    """Whether an answer is a known mistake; anything that is not a number is not."""
    try:
        given = as_float64(given)
        return given.shape == wrong.shape and torch.allclose(given, wrong, rtol=1e-4)
    except (TypeError, ValueError, RuntimeError):
        return False


def _number(given: object) -> object:
    """A tensor or a list with a single entry as that entry; anything else as it is."""
    if isinstance(given, (list, tuple)) and len(given) == 1:
        return _number(given[0])
    if isinstance(given, Tensor) and given.numel() == 1:
        return given.reshape(())
    return given


@exercise(
    hints=(
        "Multiplying two Gaussians over the same unknown: the precisions (1 / variance) add up.",
        "As a Gaussian over x_{t-1}, the step q(x_t | x_{t-1}) has centre x_t / sqrt(alpha_t) and "
        "variance beta_t / alpha_t.",
        "variance = 1 / (1 / (1 - bar_prev) + alpha / beta); mean = variance * (sqrt(bar_prev) * "
        "x_0 / (1 - bar_prev) + sqrt(alpha) * x_t / beta).",
    ),
    success="Your Gaussian is the one that Bayes' rule draws on a grid.",
    copies=True,
)
def posterior_by_hand(answer):
    """answer(x_0, x_t, alpha, beta, bar_prev) -> (mean, variance) of q(x_{t-1} | x_t, x_0)."""
    s = _schedule()
    for t, x_0, x_t in ((1, 0.8, 0.1), (4, -0.5, 0.9), (7, 1.5, -1.2)):
        alpha, beta, bar_prev = s.alphas[t], s.betas[t], s.alphas_cumprod[t - 1]
        log_product = _log_normal(_GRID, bar_prev.sqrt() * x_0, 1 - bar_prev)
        log_product = log_product + _log_normal(x_t, alpha.sqrt() * _GRID, beta)
        weights = log_product.softmax(0)
        mean = (weights * _GRID).sum()
        variance = (weights * (_GRID - mean) ** 2).sum()
        x_0, x_t = torch.tensor([x_0, x_t], dtype=torch.float64)
        given = answer(x_0, x_t, alpha, beta, bar_prev)
        pair = isinstance(given, (tuple, list)) or getattr(given, "ndim", 0) > 0
        expect(pair and len(given) == 2, "return two things: mean, variance")
        given_mean, given_variance = (_number(attempted(one)) for one in given)
        expect(
            not _close_to(given_variance, variance.sqrt()),
            "the second result is the standard deviation, but the variance is asked for",
        )
        expect_close(given_variance, variance, f"the variance at t = {t}")
        expect_close(given_mean, mean, f"the mean at t = {t}")


@exercise(
    hints=(
        "Write out log(p / q) for the two densities, then average it under the first one.",
        "Under the first Gaussian, (x - mean_1)**2 averages to var_1, and (x - mean_2)**2 to "
        "var_1 + (mean_1 - mean_2)**2.",
        "0.5 * (var_1 / var_2 - 1 + log(var_2 / var_1) + (mean_1 - mean_2)**2 / var_2).",
    ),
    success="Your formula agrees with the integral.",
    copies=True,
)
def kl_of_gaussians(answer):
    """answer(mean_1, var_1, mean_2, var_2) -> KL(N(mean_1, var_1) || N(mean_2, var_2)) in nats."""
    cases = [
        (0.3, 0.5, 0.3, 0.5),
        (0.0, 1.0, 0.7, 1.0),
        (0.0, 0.4, 0.0, 1.3),
        (1.0, 0.3, -0.5, 0.8),
    ]
    for case in cases:
        mean_1, var_1, mean_2, var_2 = torch.tensor(case, dtype=torch.float64)
        log_1, log_2 = _log_normal(_GRID, mean_1, var_1), _log_normal(_GRID, mean_2, var_2)
        truth = torch.trapezoid(log_1.exp() * (log_1 - log_2), _GRID)
        turned = torch.trapezoid(log_2.exp() * (log_2 - log_1), _GRID)
        given = _number(answer(mean_1, var_1, mean_2, var_2))
        if (truth - turned).abs() > 1e-6:
            expect(
                not _close_to(given, turned),
                "that is KL(second || first); the average is taken under the first one",
            )
        expect_close(given, truth, f"the KL of {case}")


@exercise(
    hints=(
        "Start from (mean difference)**2 / (2 * variance). The means differ by a multiple of "
        "x_0 - x_0_hat, and that by a multiple of eps - eps_hat.",
        "The mean of the reverse step is (x_t - beta / sqrt(1 - bar) * eps_hat) / sqrt(alpha).",
        "beta**2 / (2 * variance * alpha * (1 - bar)).",
    ),
    success="It turns the squared error of eps into the KL, at every step.",
    copies=True,
)
def eps_weight(answer):
    """answer(t, s, variance) -> the factor on (eps - eps_hat)**2 in L_t."""
    s = NoiseSchedule.linear(1000)
    for t in (1, 10, 300, 999):
        for variance in (s.betas[t], 0.5 * s.betas[t]):
            x_t, eps, eps_hat = torch.tensor([0.4, -0.7, 0.5], dtype=torch.float64).split(1)
            means = [
                posterior_mean_variance(predict_x0_from_eps(x_t, t, guess, s), x_t, t, s)[0]
                for guess in (eps, eps_hat)
            ]
            kl = (means[0] - means[1]) ** 2 / (2 * variance)  # two Gaussians of one variance
            truth = (kl / (eps - eps_hat) ** 2).squeeze()
            given = _number(answer(t, s, variance))
            expect(
                not _close_to(given, 2 * truth),
                "that is twice the weight: the exponent of a Gaussian has a factor 1/2",
            )
            expect_close(given, truth, f"the weight at t = {t}")


@exercise(
    hints=(
        "Two equations, two unknowns: x_t = c * x_0 + d * eps and v = c * eps - d * x_0, with "
        "c = sqrt(bar), d = sqrt(1 - bar).",
        "Multiply the first by d, the second by c, and add them: x_0 drops out.",
        "eps = sqrt(1 - bar) * x_t + sqrt(bar) * v.",
    ),
    success="One rotation, and the noise is back.",
    copies=True,
)
def eps_from_v(answer):
    """answer(x_t, v, bar) -> eps, where bar is alphas_cumprod[t]."""
    x_0, eps = torch.randn(2, 5, generator=make_generator(0), dtype=torch.float64)
    for bar in torch.tensor([0.999, 0.6, 0.02], dtype=torch.float64):
        x_t = bar.sqrt() * x_0 + (1 - bar).sqrt() * eps
        v = bar.sqrt() * eps - (1 - bar).sqrt() * x_0
        given = answer(x_t, v, bar)
        expect(not _close_to(given, x_0), "that is x_0; the noise is asked for")
        expect_close(given, eps, f"eps at bar = {float(bar)}")


@exercise(
    hints=(
        "With much noise the best guess is the mean of the data; with none it is x_t / sqrt(bar). "
        "In between, it is a straight line in x_t.",
        "Slope = covariance of x_0 and x_t, over the variance of x_t. The covariance is "
        "sqrt(bar) * variance; the variance of x_t is bar * variance + 1 - bar.",
        "mean + sqrt(bar) * variance / (bar * variance + 1 - bar) * (x_t - sqrt(bar) * mean).",
    ),
    success="It agrees with Tweedie's formula, whose score came from autograd.",
    copies=True,
)
def optimal_denoiser(answer):
    """answer(x_t, mean, variance, bar) -> E[x_0 | x_t] for data N(mean, variance)."""
    for mean, variance, bar in ((0.5, 0.09, 0.7), (-1.0, 2.0, 0.2), (0.3, 1.0, 0.99)):
        mean, variance, bar = torch.tensor([mean, variance, bar], dtype=torch.float64)
        x_t = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
        log_q = _log_normal(x_t, bar.sqrt() * mean, bar * variance + 1 - bar).sum()
        (score,) = torch.autograd.grad(log_q, x_t)
        x_t = x_t.detach()
        given = answer(x_t, mean, variance, bar)
        expect(
            not _close_to(given, x_t / bar.sqrt()),
            "that only undoes the shrinking; the noise is still in it",
        )
        what = f"the guess for data N({float(mean)}, {float(variance)}) at bar = {float(bar)}"
        expect_close(given, (x_t + (1 - bar) * score) / bar.sqrt(), what)
