"""The checks of lesson 01 accept what is right and say what is wrong with the rest."""

from __future__ import annotations

import pytest
import torch

import course_lib as cl
from course_lib.checks import lesson_01


def closed_form(x_0, t, s, eps, *, signal_power=0.5, noise_power=0.5, alphas="alphas_cumprod"):
    bar = cl.expand_to(getattr(s, alphas)[t], x_0)
    return bar**signal_power * x_0 + (1 - bar) ** noise_power * eps


def spoil(x_0, t, s, eps):
    x_0.mul_(0.5)
    return x_0


def snr(s):
    return s.alphas_cumprod / (1 - s.alphas_cumprod)


def shift(s, k):
    return snr(s) / (k**2 + snr(s))


def from_snr(values):
    bar = values / (1 + values)
    return cl.NoiseSchedule(1 - bar / torch.cat([torch.ones(1).double(), bar[:-1]]))


def own_schedule(T, last, *, first=4.0):
    end = float(torch.tensor(last).double().log10())
    return from_snr(torch.logspace(first, end, T, dtype=torch.float64))


def cliff(T, last):
    values = torch.logspace(4, 2, T, dtype=torch.float64)
    values[-1] = last
    return from_snr(values)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (lesson_01.closed_form, closed_form),
        (lesson_01.closed_form, lambda x_0, t, s, eps: cl.q_sample(x_0, t, s, noise=eps)),
        # A learner who casts to float32 is right too.
        (lesson_01.closed_form, lambda *given: closed_form(*given).float()),
        (lesson_01.signal_to_noise, snr),
        (lesson_01.signal_to_noise, lambda s: s.snr.float()),
        (lesson_01.half_way, lambda s: int((s.snr > 1).sum())),
        (lesson_01.half_way, lambda s: (s.snr <= 1).nonzero()[0, 0]),
        (lesson_01.half_way, lambda s: next(t for t, r in enumerate(s.snr.tolist()) if r <= 1)),
        (lesson_01.shift_for_size, shift),
        (lesson_01.own_schedule, own_schedule),
    ],
)
def test_solutions_pass(check, answer):
    check(answer).require()


@pytest.mark.parametrize(
    "check",
    [
        lesson_01.closed_form,
        lesson_01.signal_to_noise,
        lesson_01.half_way,
        lesson_01.shift_for_size,
        lesson_01.own_schedule,
    ],
)
def test_blanks_are_not_attempted(check):
    assert check(...).status == "not attempted"

    def stub(*given):
        return ...

    assert check(stub).status == "not attempted"


@pytest.mark.parametrize(
    ("check", "answer", "fragment"),
    [
        (
            lesson_01.closed_form,
            lambda *given: closed_form(*given, noise_power=1),
            "gray picture (x_0 = 0), x_t is 0.01 times",
        ),
        (
            lesson_01.closed_form,
            lambda *given: closed_form(*given, signal_power=1),
            "without noise (eps = 0), x_t is",
        ),
        (lesson_01.closed_form, lambda *given: closed_form(*given, alphas="alphas"), "without"),
        (lesson_01.closed_form, lambda x_0, t, s, eps: s.alphas_cumprod[t] * x_0, "RuntimeError"),
        (lesson_01.closed_form, lambda x_0, t, s, eps: x_0[0], "shape"),
        (lesson_01.closed_form, spoil, "changes x_0"),
        (lesson_01.signal_to_noise, lambda s: snr(s).sqrt(), "their squares"),
        (lesson_01.signal_to_noise, lambda s: 1 / snr(s), "wrong way up"),
        (lesson_01.signal_to_noise, lambda s: s.alphas / s.betas, "single step"),
        (lesson_01.signal_to_noise, lambda s: s.alphas_cumprod, "share alone"),
        (lesson_01.signal_to_noise, lambda s: snr(s)[-1], "one number for each"),
        (lesson_01.signal_to_noise, lambda s: snr(s) * 1.01, "off by as much"),
        (lesson_01.half_way, lambda s: int((s.snr > 1).sum()) + 1, "one too late"),
        (lesson_01.half_way, lambda s: int((s.snr > 1).sum()) - 1, "still the stronger"),
        (lesson_01.half_way, lambda s: s.num_timesteps // 3, "not the first"),
        (lesson_01.half_way, lambda s: s.snr <= 1, "should be one timestep"),
        (lesson_01.half_way, lambda s: 0.5, "not a whole number"),
        (lesson_01.shift_for_size, lambda s, k: s.snr / k**2, "between 0 and 1"),
        (lesson_01.shift_for_size, lambda s, k: s.snr * k**2 / (1 + s.snr * k**2), "less noisy"),
        (lesson_01.shift_for_size, lambda s, k: s.snr / (k + s.snr), "with k = 2"),
        (lesson_01.shift_for_size, lambda s, k: s.alphas_cumprod[0], "one alpha-bar for each"),
        (lesson_01.own_schedule, lambda T, last: cl.NoiseSchedule.cosine(T), "Yours ends with"),
        (lesson_01.own_schedule, lambda T, last: own_schedule(100, last), "Yours has 100 steps"),
        (lesson_01.own_schedule, lambda T, last: own_schedule(T, last, first=1.0), "nearly clean"),
        (lesson_01.own_schedule, lambda T, last: torch.ones(T), "not a Tensor"),
        (lesson_01.own_schedule, cliff, "one step of yours"),
    ],
)
def test_mistakes_are_named(check, answer, fragment):
    result = check(answer)
    assert result.status == "try again" and result.hint
    assert fragment.lower() in result.message.lower()
