"""Lesson 04's checkers accept the solution and name the typical mistakes."""

from __future__ import annotations

import pytest

from course_lib.checks import lesson_04 as checks

LEADING, TRAILING, LINSPACE = [750, 500, 250, 0], [999, 749, 499, 249], [999, 666, 333, 0]


def ddim(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    direction = (1 - bar_a_prev - sigma**2) ** 0.5 * eps_hat
    return bar_a_prev**0.5 * x_0_hat + direction + sigma * noise


def ddim_that_adds_too_much(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    return bar_a_prev**0.5 * x_0_hat + (1 - bar_a_prev) ** 0.5 * eps_hat + sigma * noise


def ddim_without_roots(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    return bar_a_prev * x_0_hat + (1 - bar_a_prev) * eps_hat


def euler(x, x_0_hat, sigma, sigma_next):
    return x + (sigma_next - sigma) * (x - x_0_hat) / sigma


def euler_backwards(x, x_0_hat, sigma, sigma_next):
    return x + (sigma - sigma_next) * (x - x_0_hat) / sigma


def euler_in_place(x, x_0_hat, sigma, sigma_next):
    return x.copy_(euler(x, x_0_hat, sigma, sigma_next))


def extrapolate(D, D_before, lam, lam_before, lam_next):
    return D + (D - D_before) * (lam_next - lam) / (2 * (lam - lam_before))


def extrapolate_to_the_end(D, D_before, lam, lam_before, lam_next):
    return D + (D - D_before) * (lam_next - lam) / (lam - lam_before)


def extrapolate_for_equal_steps(D, D_before, lam, lam_before, lam_next):
    return D + (D - D_before) / 2


SOLUTIONS = {
    "ddim_step": (ddim,),
    "euler_step": (euler,),
    "extrapolation": (extrapolate,),
    "model_calls": (lambda method, steps: 2 * steps - 1 if method == "heun" else steps,),
    "spacings": (LEADING, TRAILING, LINSPACE),
}
MISTAKES = [
    ("ddim_step", (ddim_that_adds_too_much,), "with fresh noise"),
    ("ddim_step", (ddim_without_roots,), "without fresh noise"),
    ("euler_step", (euler_backwards,), "X at sigma = 4.0"),
    ("euler_step", (euler_in_place,), "instead of changing x"),
    ("extrapolation", (extrapolate_to_the_end,), "between lambda = -1.0 and 0.0"),
    ("extrapolation", (extrapolate_for_equal_steps,), "between lambda = 0.5 and 1.0"),
    ("model_calls", (lambda method, steps: steps,), "Heun with 4 steps asks another"),
    ("model_calls", (lambda m, n: 2 * n if m == "heun" else n,), "Heun with 1 steps"),
    ("spacings", (LEADING[::-1], TRAILING, LINSPACE), "turn it round"),
    ("spacings", (TRAILING, LEADING, LINSPACE), "leading: 4 of the 4"),
    ("spacings", (LEADING, TRAILING, [*LINSPACE, -1]), "not 5"),
]


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solutions_pass_and_blanks_are_not_attempted(name):
    check = getattr(checks, name)
    assert check(*SOLUTIONS[name]).status == "passed", check(*SOLUTIONS[name])
    assert check(*[...] * len(SOLUTIONS[name])).status == "not attempted"
    if callable(SOLUTIONS[name][0]):
        assert check(lambda *args: ...).status == "not attempted"


@pytest.mark.parametrize("name,answers,message", MISTAKES)
def test_typical_mistakes_are_named(name, answers, message):
    verdict = getattr(checks, name)(*answers)
    assert verdict.status == "try again" and verdict.hint
    assert message.lower() in verdict.message.lower(), verdict
