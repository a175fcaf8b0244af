"""The checks of lesson 01 accept what is right and say what is wrong with the rest."""

from __future__ import annotations

import math

import pytest
import torch

import course_lib as cl
from course_lib.checks import lesson_01


def closed_form(x_0, t, s, eps, *, signal_power=0.5, noise_power=0.5, alphas="alphas_cumprod"):
    bar = cl.expand_to(getattr(s, alphas)[t], x_0)
    return bar**signal_power * x_0 + (1 - bar) ** noise_power * eps


def by_loop(x_0, t, s, eps):
    bars = [s.alphas_cumprod[int(k)] for k in t]
    return torch.stack(
        [b**0.5 * x + (1 - b) ** 0.5 * e for b, x, e in zip(bars, x_0, eps, strict=True)]
    )


def by_einsum(x_0, t, s, eps):
    bar = s.alphas_cumprod[t]
    return torch.einsum("b,b...->b...", bar.sqrt(), x_0) + torch.einsum(
        "b,b...->b...", (1 - bar).sqrt(), eps
    )


def in_place(x_0, t, s, eps):
    bar = s.alphas_cumprod[t][:, None, None, None]
    return x_0.mul_(bar.sqrt()).add_(eps.mul_((1 - bar).sqrt()))


def first_by_loop(s):
    t = 0
    while s.alphas_cumprod[t] > 0.5:
        t += 1
    return torch.tensor([t])


def snr(s):
    return s.alphas_cumprod / (1 - s.alphas_cumprod)


def shift(s, k):
    return snr(s) / (k**2 + snr(s))


def from_snr(values):
    bar = values / (1 + values)
    return cl.NoiseSchedule(1 - bar / torch.cat([torch.ones(1).double(), bar[:-1]]))


def shift_by_logit(s, k):
    return torch.sigmoid(torch.logit(s.alphas_cumprod) - 2 * torch.tensor(float(k)).log()).float()


def shift_by_list(s, k):
    return [a / (a + k**2 * (1 - a)) for a in s.alphas_cumprod.tolist()]


def shift_in_float32(s, k):
    a = s.alphas_cumprod.float()
    snr = a / (1 - a) / k**2
    return snr / (1 + snr)


def shift_in_place(s, k):
    bar = s.alphas_cumprod
    return bar.div_(bar + k**2 * (1 - bar))


def own_schedule(T, last, *, first=4.0):
    end = float(torch.tensor(last).double().log10())
    return from_snr(torch.logspace(first, end, T, dtype=torch.float64))


def half_wave(T, last):
    """The log SNR as half a wave of the cosine, built up in Python's own numbers."""
    high, low = math.log(5000), math.log(last)
    drop = [(1 - math.cos(math.pi * t / (T - 1))) / 2 for t in range(T)]
    return from_snr(torch.tensor([math.exp(high + (low - high) * d) for d in drop]).double())


def by_power(T, last):
    """SNR as a power of the time that is left, as a list of betas."""
    left = torch.linspace(1, (last / 2000) ** 0.2, T, dtype=torch.float64)
    bar = (2000 * left**5) / (1 + 2000 * left**5)
    alphas = [bar[0].item()] + [(b / a).item() for a, b in zip(bar[:-1], bar[1:], strict=True)]
    return cl.NoiseSchedule([1 - a for a in alphas])


def cliff(T, last):
    values = torch.logspace(4, 2, T, dtype=torch.float64)
    values[-1] = last
    return from_snr(values)


RIGHT = {
    lesson_01.closed_form: [
        closed_form,
        lambda x_0, t, s, eps: cl.q_sample(x_0, t, s, noise=eps),
        lambda *given: closed_form(*given).float(),
        lambda *given: closed_form(*given).tolist(),
        by_loop,
        by_einsum,
        in_place,
    ],
    lesson_01.signal_to_noise: [
        snr,
        lambda s: s.snr.float(),
        lambda s: 1 / (1 / s.alphas_cumprod.float() - 1),
        lambda s: [a / (1 - a) for a in s.alphas_cumprod.tolist()],
        lambda s: s.alphas_cumprod.div_(1 - s.alphas_cumprod),
    ],
    lesson_01.half_way: [
        lambda s: int((s.snr > 1).sum()),
        lambda s: (s.snr <= 1).nonzero()[0, 0],
        lambda s: next(t for t, r in enumerate(s.snr.tolist()) if r <= 1),
        lambda s: (s.snr <= 1).int().argmax(),
        first_by_loop,
    ],
    lesson_01.shift_for_size: [
        shift,
        shift_by_logit,
        shift_by_list,
        shift_in_place,
        lambda s, k: shift(s, k).float(),
        lambda s, k: 1 - 1 / (1 + s.snr / k / k),
        shift_in_float32,
    ],
    lesson_01.own_schedule: [own_schedule, half_wave, by_power],
}
WRONG = {
    lesson_01.closed_form: [
        (lambda *given: closed_form(*given, noise_power=1), "(x_0 = 0), x_t is 0.01 times"),
        (lambda *given: closed_form(*given, signal_power=1), "without noise (eps = 0), x_t is"),
        (lambda *given: closed_form(*given, alphas="alphas"), "without"),
        (lambda x_0, t, s, eps: s.alphas_cumprod[t] * x_0, "RuntimeError"),
        (lambda x_0, t, s, eps: x_0[0], "shape"),
        (lambda x_0, t, s, eps: x_0.mul_(0.5), "changes x_0 in place"),
        (lambda x_0, t, s, eps: closed_form(x_0, t - 1, s, eps), "x_t is"),
        (lambda x_0, t, s, eps: closed_form(x_0, t, s, torch.randn_like(eps)), "x_t"),
        (lambda x_0, t, s, eps: closed_form(x_0, t[:1], s, eps), "x_t is"),
        (lambda x_0, t, s, eps: "noise", "a tensor or a list of numbers"),
    ],
    lesson_01.signal_to_noise: [
        (lambda s: snr(s).sqrt(), "their squares"),
        (lambda s: 1 / snr(s), "wrong way up"),
        (lambda s: s.alphas / s.betas, "single step"),
        (lambda s: s.alphas_cumprod, "squared factor on x_0 alone"),
        (lambda s: snr(s)[-1], "one number for each"),
        (lambda s: snr(s) * 1.01, "off by 0.01"),
        (lambda s: s.betas.div_(2) * 0 + snr(s), "changes tensors of the schedule s"),
        (lambda s: snr(s).log(), "positive"),
    ],
    lesson_01.half_way: [
        (lambda s: int((s.snr > 1).sum()) + 1, "one too late"),
        (lambda s: int((s.snr > 1).sum()) - 1, "the SNR is still above 1"),
        (lambda s: s.num_timesteps // 3, "not the first"),
        (lambda s: s.snr <= 1, "should be one timestep"),
        (lambda s: 0.5, "not a whole number"),
        (lambda s: float("nan"), "nan is not a whole number"),
        (lambda s: float("inf"), "inf is not a whole number"),
        (lambda s: s.snr[s.num_timesteps], "Your code raised IndexError"),
    ],
    lesson_01.shift_for_size: [
        (lambda s, k: s.snr / k**2, "between 0 and 1"),
        (lambda s, k: s.snr * k**2 / (1 + s.snr * k**2), "less noisy"),
        (lambda s, k: s.snr / (k + s.snr), "with k = 2"),
        (lambda s, k: s.alphas_cumprod[0], "one alpha-bar for each"),
        (lambda s, k: s.alphas_cumprod / k**2, "with k = 2"),
        (lambda s, k: shift(s, k) * 0.999, "times that of s"),
        (lambda s, k: s.betas.mul_(0.5) * 0 + shift(s, k), "changes tensors of the schedule s"),
    ],
    lesson_01.own_schedule: [
        (lambda T, last: cl.NoiseSchedule.cosine(T), "Yours ends with"),
        (lambda T, last: own_schedule(100, last), "Yours has 100 steps"),
        (lambda T, last: own_schedule(T, last, first=1.0), "nearly clean"),
        (lambda T, last: torch.ones(T), "not a Tensor"),
        (cliff, "one step of yours"),
        (lambda T, last: own_schedule(T, last * 1.02), "Yours ends with"),
    ],
}


@pytest.mark.parametrize(
    ("check", "answers"), RIGHT.items(), ids=[check.__name__ for check in RIGHT]
)
def test_right_answers_pass_however_they_are_written(check, answers):
    assert len(answers) >= 3
    for answer in answers:
        check(answer).require()


@pytest.mark.parametrize(
    ("check", "answer", "fragment"),
    [(check, *case) for check, cases in WRONG.items() for case in cases],
)
def test_mistakes_are_named(check, answer, fragment):
    result = check(answer)
    assert result.status == "try again" and result.hint
    assert fragment.lower() in result.message.lower()


@pytest.mark.parametrize("check", RIGHT)
def test_blanks_are_not_attempted(check):
    assert len(WRONG[check]) >= 5
    assert check(...).status == "not attempted"

    def stub(*given):
        return ...

    assert check(stub).status == "not attempted"


def test_no_answer_changes_its_inputs_unnoticed():
    """The right values, and each input in turn overwritten on the way out."""
    for check, (answer, *_) in RIGHT.items():
        for index in range(4):

            def spoil(*given, answer=answer, index=index):
                result = answer(*given)
                value = given[index] if index < len(given) else None
                if isinstance(value, torch.Tensor):
                    value.zero_()
                if isinstance(value, cl.NoiseSchedule):
                    value.betas.mul_(0.5)
                spoil.changed = isinstance(value, torch.Tensor | cl.NoiseSchedule)
                return result

            message = check(spoil).message
            assert ("your function changes" in message.lower()) == spoil.changed, message
