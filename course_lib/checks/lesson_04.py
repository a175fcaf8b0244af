"""Checks of lesson 04: samplers."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from course_lib.checks import attempted, exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.process import posterior_mean_variance, q_sample
from course_lib.samplers import METHODS, sample, time_grid
from course_lib.schedules import NoiseSchedule


@exercise(
    hints=(
        "Two terms: aim at x_0_hat, and keep a share of eps_hat. What must their squared "
        "weights, with the fresh noise, add up to?",
        "The new picture is sqrt(bar_a_prev) * x_0_hat + (something) * eps_hat + sigma * noise, "
        "and its noise must have variance 1 - bar_a_prev in all.",
        "sqrt(bar_a_prev) * x_0_hat + sqrt(1 - bar_a_prev - sigma**2) * eps_hat + sigma * noise",
    ),
    success="At eta = 0 it lands on the closed form, at eta = 1 on the posterior.",
    copies=True,
)
def ddim_step(answer) -> None:
    """answer(x_0_hat, eps_hat, bar_a_prev, sigma, noise) is one DDIM step."""
    for s, t in ((NoiseSchedule.cosine(100), 60), (NoiseSchedule.linear(50), 9)):
        x_0, eps, noise = torch.randn(3, 4, 3, 8, 8, generator=make_generator(t)).double()
        # Numbers as tensors, so that torch.sqrt, math.sqrt and ** 0.5 all take them
        bar_a_prev, none = s.alphas_cumprod[t - 1], torch.zeros((), dtype=torch.float64)
        # With the true x_0 and eps a step without fresh noise is the closed form one step earlier
        expect_close(
            answer(x_0, eps, bar_a_prev, none, noise),
            q_sample(x_0, t - 1, s, noise=eps),
            "x_prev without fresh noise (sigma = 0)",
        )
        # ... and with the posterior's deviation it is a draw from the posterior (lesson 02)
        mean, variance = posterior_mean_variance(x_0, q_sample(x_0, t, s, noise=eps), t, s)
        sigma = variance.flatten()[0].sqrt()
        expect_close(
            answer(x_0, eps, bar_a_prev, sigma, noise),
            mean + sigma * noise,
            "x_prev with fresh noise (sigma > 0)",
        )


@exercise(
    hints=(
        "First the slope dx/dsigma at the point where you stand.",
        "The slope is (x - x_0_hat) / sigma. How far do you walk along it?",
        "x + (sigma_next - sigma) * (x - x_0_hat) / sigma",
    ),
    success="A straight line is followed exactly, and sigma = 0 gives x_0_hat.",
    copies=True,
)
def euler_step(answer) -> None:
    """answer(x, x_0_hat, sigma, sigma_next) is one Euler step in sigma units."""
    x_0, eps = torch.randn(2, 4, 3, 8, 8, generator=make_generator(1)).double()
    for sigma, sigma_next in ((10.0, 4.0), (2.0, 1.5), (0.3, 0.0)):
        # If x_0_hat never changed, the path would be this straight line
        x, line = x_0 + sigma * eps, x_0 + sigma_next * eps
        expect_close(answer(x, x_0, sigma, sigma_next), line, f"x at sigma = {sigma_next}")


@exercise(
    hints=(
        "Draw a line through the last two estimates, over lambda. Where is the middle of the step?",
        "The slope is (D - D_before) / (lam - lam_before); the middle lies (lam_next - lam) / 2 "
        "further on.",
        "D + (D - D_before) * (lam_next - lam) / (2 * (lam - lam_before))",
    ),
    success="Estimates on a straight line are continued exactly, for unequal steps as well.",
    copies=True,
)
def extrapolation(answer) -> None:
    """answer(D, D_before, lam, lam_before, lam_next) is the estimate at the middle of the step."""
    start, slope = torch.randn(2, 4, 3, 8, 8, generator=make_generator(2)).double()
    for lam_before, lam, lam_next in ((-2.0, -1.0, 0.0), (-1.0, 0.5, 1.0), (0.0, 0.2, 1.7)):

        def line(at: float) -> Tensor:
            return start + slope * at

        middle = line((lam + lam_next) / 2)
        got = answer(line(lam), line(lam_before), lam, lam_before, lam_next)
        expect_close(got, middle, f"the estimate between lambda = {lam} and {lam_next}")


@exercise(
    hints=(
        "Four of the five ask the model once in each step.",
        "Heun asks twice, at both ends of the step. What would the second question of the last "
        "step be about?",
        "The last step of Heun lands on sigma = 0, where there is no slope: 2 * steps - 1.",
    ),
    success="Counted on the real samplers.",
)
def model_calls(answer) -> None:
    """answer(method, steps) is how often the model is asked."""
    schedule, x_T = NoiseSchedule.cosine(20), torch.zeros(1, 1, 2, 2)
    for method in METHODS:
        for steps in (1, 4, 10):
            asked: list[int] = []

            def model(x_t: Tensor, t: Tensor, asked: list[int] = asked) -> Tensor:
                asked.append(1)
                return x_t

            for _ in sample(model, x_T, schedule, method, steps):
                pass
            given = answer(method, steps)
            right = isinstance(given, (int, float, Tensor)) and given == len(asked)
            expect(right, f"{method} with {steps} steps asks another number than {given}")


@exercise(
    hints=(
        "leading counts up from 0 in steps of T // 4; trailing counts down from T - 1.",
        "linspace has both ends, 0 and 999, so the gap is 999 / 3.",
        "leading ends in 0 and begins at 750; trailing begins at 999 and ends in 249.",
    ),
    success="Only trailing and linspace begin at the noisiest timestep; only leading and linspace "
    "end at 0.",
)
def spacings(leading, trailing, linspace) -> None:
    """Three lists: DDIM's 4 timesteps of T = 1000, from noisy to clean."""
    schedule = NoiseSchedule.cosine(1000)
    answers = {"leading": leading, "trailing": trailing, "linspace": linspace}
    for spacing, given in answers.items():
        truth = [node.t for node in time_grid(schedule, method="ddim", steps=4, spacing=spacing)]
        several = isinstance(given, Iterable) and not isinstance(given, str)
        expect(several, f"{spacing} should be a list of 4 timesteps, not {given!r}")
        given = [float(attempted(t)) for t in given]
        expect(len(given) == 4, f"{spacing} should have 4 timesteps, not {len(given)}")
        expect(given != truth[::-1], f"{spacing}: samplers go from noisy to clean, turn it round")
        wrong = sum(not math.isclose(g, t) for g, t in zip(given, truth, strict=True))
        expect(wrong == 0, f"{spacing}: {wrong} of the 4 timesteps differ")
