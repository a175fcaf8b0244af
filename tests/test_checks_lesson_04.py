"""Lesson 04's checkers accept right answers in any form and name the typical mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_lib.checks import lesson_04

LEADING, TRAILING, LINSPACE = [750, 500, 250, 0], [999, 749, 499, 249], [999, 666, 333, 0]


def ddim(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    direction = (1 - bar_a_prev - sigma**2) ** 0.5 * eps_hat
    return bar_a_prev**0.5 * x_0_hat + direction + sigma * noise


def ddim_in_place(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    x_0_hat.mul_(torch.sqrt(bar_a_prev)).add_(noise.mul_(sigma))
    return x_0_hat.add_(eps_hat * torch.sqrt(1 - bar_a_prev - sigma**2))


def ddim_by_math(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    keep = math.sqrt(1 - float(bar_a_prev) - float(sigma) ** 2)
    weights = (math.sqrt(bar_a_prev), keep, float(sigma))
    terms = (x_0_hat, eps_hat, noise)
    return sum(weight * term for weight, term in zip(weights, terms, strict=True)).tolist()


def ddim_too_much(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    return bar_a_prev**0.5 * x_0_hat + (1 - bar_a_prev) ** 0.5 * eps_hat + sigma * noise


def ddim_without_roots(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    return bar_a_prev * x_0_hat + (1 - bar_a_prev) * eps_hat


def ddim_without_square(x_0_hat, eps_hat, bar_a_prev, sigma, noise):
    return ddim(x_0_hat, eps_hat, bar_a_prev, sigma**0.5, 0 * noise) + sigma * noise


def euler(x, x_0_hat, sigma, sigma_next):
    return x + (sigma_next - sigma) * (x - x_0_hat) / sigma


def euler_in_place(x, x_0_hat, sigma, sigma_next):
    x.sub_(x_0_hat)
    return x.mul_(sigma_next / sigma).add_(x_0_hat)


def euler_by_interpolation(x, x_0_hat, sigma, sigma_next):
    return torch.lerp(x_0_hat, x, sigma_next / sigma).tolist()


def extrapolate(D, D_before, lam, lam_before, lam_next):
    return D + (D - D_before) * (lam_next - lam) / (2 * (lam - lam_before))


def extrapolate_by_ratio(D, D_before, lam, lam_before, lam_next):
    """As DPM-Solver++ writes it, with r = h_before / h."""
    r = (lam - lam_before) / (lam_next - lam)
    return (1 + 1 / (2 * r)) * D - 1 / (2 * r) * D_before


def extrapolate_by_line(D, D_before, lam, lam_before, lam_next):
    """The straight line in Lagrange's form, in place, at the middle."""
    middle, gap = (lam + lam_next) / 2, lam - lam_before
    return D.mul_((middle - lam_before) / gap).add_(D_before.mul_((lam - middle) / gap))


def calls(method, steps):
    return 2 * steps - 1 if method == "heun" else steps


RIGHT = {
    "ddim_step": [
        (ddim,),
        (ddim_in_place,),
        (ddim_by_math,),
        (lambda *given: ddim(*(one.float() for one in given)),),
    ],
    "euler_step": [
        (euler,),
        (euler_in_place,),
        (euler_by_interpolation,),
        (lambda x, x_0_hat, s, n: x_0_hat + n / s * (x.float() - x_0_hat.float()),),
    ],
    "extrapolation": [
        (extrapolate,),
        (extrapolate_by_ratio,),
        (extrapolate_by_line,),
        (lambda *given: extrapolate(*given).tolist(),),
    ],
    "model_calls": [
        (calls,),
        (lambda method, steps: float(steps + (steps - 1) * (method == "heun")),),
        (lambda method, steps: torch.tensor({"heun": 2 * steps - 1}.get(method, steps)),),
    ],
    "spacings": [
        (LEADING, TRAILING, LINSPACE),
        (range(750, -1, -250), tuple(TRAILING), torch.linspace(999, 0, 4)),
        (np.arange(4)[::-1] * 250, torch.arange(999, 0, -250), [999.0, 666.0, 333.0, 0.0]),
    ],
}
MISTAKES = [
    ("ddim_step", (ddim_too_much,), "with fresh noise"),
    ("ddim_step", (ddim_without_roots,), "without fresh noise"),
    ("ddim_step", (ddim_without_square,), "with fresh noise"),
    ("ddim_step", (lambda x, e, bar, s, z: ddim(e, x, bar, s, z),), "without fresh noise"),
    ("ddim_step", (lambda x, e, bar, s, z: ddim(x, e, bar, s, 0 * z),), "with fresh noise"),
    ("ddim_step", (lambda x, e, bar, s, z: ddim(x, e, bar, s, z)[0],), "shape"),
    ("euler_step", (lambda x, x_0, s, n: euler(x, x_0, s, 2 * s - n),), "X at sigma = 4.0"),
    ("euler_step", (lambda x, x_0, s, n: x + (n - s) * (x - x_0),), "X at sigma = 4.0"),
    ("euler_step", (lambda x, x_0, s, n: x_0,), "X at sigma = 4.0"),
    ("euler_step", (lambda x, x_0, s, n: x_0 + n * x,), "X at sigma = 4.0"),
    ("euler_step", (lambda x, x_0, s, n: x + (n - s) * (x - x_0) / n,), "X at sigma"),
    (
        "extrapolation",
        (lambda D, B, lam, before, after: D + (D - B) * (after - lam) / (lam - before),),
        "between lambda = -1.0 and 0.0",
    ),
    ("extrapolation", (lambda D, B, *_: D + (D - B) / 2,), "between lambda = 0.5 and 1.0"),
    ("extrapolation", (lambda D, B, *_: (D + B) / 2,), "between lambda = -1.0 and 0.0"),
    ("extrapolation", (lambda D, *_: D,), "between lambda = -1.0 and 0.0"),
    ("extrapolation", (lambda D, B, *lam: extrapolate(B, D, *lam),), "between lambda = -1.0"),
    ("model_calls", (lambda method, steps: steps,), "Heun with 4 steps asks another"),
    ("model_calls", (lambda m, n: 2 * n if m == "heun" else n,), "Heun with 1 steps"),
    ("model_calls", (lambda m, n: 2 * n - 1,), "ddpm with 4 steps"),
    ("model_calls", (lambda m, n: 2 * n - 1 if m in ("heun", "dpmpp_2m") else n,), "dpmpp_2m"),
    ("model_calls", (lambda m, n: 19 if m == "heun" else n,), "Heun with 1 steps"),
    ("model_calls", (lambda m, n: "many",), "another number than many"),
    ("spacings", (LEADING[::-1], TRAILING, LINSPACE), "turn it round"),
    ("spacings", (TRAILING, LEADING, LINSPACE), "leading: 4 of the 4"),
    ("spacings", (LEADING, TRAILING, [*LINSPACE, -1]), "not 5"),
    ("spacings", ([1000, 750, 500, 250], TRAILING, LINSPACE), "leading: 4 of the 4"),
    ("spacings", (LEADING, [999, 750, 500, 250], LINSPACE), "trailing: 3 of the 4"),
    ("spacings", (LEADING, TRAILING, 4), "a list of 4 timesteps"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass_however_they_are_written_and_blanks_are_not_attempted(name):
    check = getattr(lesson_04, name)
    assert len(RIGHT[name]) >= 3 and sum(mistake[0] == name for mistake in MISTAKES) >= 5
    for answers in RIGHT[name]:
        check(*answers).require()
    assert check(*[...] * len(RIGHT[name][0])).status == "not attempted"
    if callable(RIGHT[name][0][0]):
        assert check(lambda *args: ...).status == "not attempted"


@pytest.mark.parametrize(("name", "answers", "message"), MISTAKES)
def test_typical_mistakes_are_named(name, answers, message):
    result = getattr(lesson_04, name)(*answers)
    assert result.status == "try again" and result.hint
    assert message.lower() in result.message.lower(), result


@pytest.mark.parametrize("name", ["ddim_step", "euler_step", "extrapolation"])
@pytest.mark.parametrize("index", range(5))
def test_no_answer_changes_its_inputs_unnoticed(name, index):
    """The right values, and each tensor in turn overwritten on the way out."""
    changed = []

    def spoil(*given):
        result = RIGHT[name][0][0](*given)
        if index < len(given) and isinstance(given[index], torch.Tensor):
            given[index].add_(1)
            changed.append(index)
        return result

    message = getattr(lesson_04, name)(spoil).message
    assert ("your function changes" in message.lower()) == bool(changed), message
