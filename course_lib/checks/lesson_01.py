"""Checks of lesson 01: the noising process and its schedules.

The truths come from walking through the steps one by one, or from a closed form where the lesson
uses a search, so that a check never repeats the formula that it checks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.checks import attempted, exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import as_float64


def _walk(s: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """Factor on the picture and variance of the noise after each step, found step by step."""
    factor, variance, factors, variances = 1.0, 0.0, [], []
    for beta in s.betas.tolist():
        factor *= math.sqrt(1 - beta)
        variance = (1 - beta) * variance + beta
        factors.append(factor)
        variances.append(variance)
    return torch.tensor(factors).double(), torch.tensor(variances).double()


def _float64(given: object) -> Tensor:
    """An answer as a float64 tensor; the numbers of a list keep all their digits."""
    try:
        return as_float64(given)
    except (TypeError, ValueError, RuntimeError):
        raise AssertionError(f"return a tensor or a list of numbers, not {given!r}") from None


@exercise(
    hints=(
        "Two weights, one for x_0 and one for eps. Their squares add up to 1.",
        "alpha_bar = s.alphas_cumprod[t] has shape (B,). cl.expand_to(alpha_bar, x_0) gives it the "
        "axes that let it multiply images.",
        "alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps",
    ),
    success="One jump does the work of many steps.",
    copies=True,
)
def closed_form(answer):
    x_0, eps = torch.randn(2, 4, 3, 8, 8, generator=make_generator(0)).double()
    t = torch.tensor([0, 10, 500, 999])
    blank = torch.zeros_like(x_0)
    for s in (NoiseSchedule.linear(1000), NoiseSchedule.cosine(1000)):
        factors, variances = _walk(s)
        signal, sigma = factors[t][:, None, None, None], variances[t].sqrt()[:, None, None, None]
        x_t = _float64(answer(x_0, t, s, eps))
        expect(x_t.shape == x_0.shape, f"x_t has shape {tuple(x_t.shape)}, x_0 has another")
        _expect_weight(answer(x_0, t, s, blank), signal * x_0, "without noise (eps = 0), x_t")
        _expect_weight(answer(blank, t, s, eps), sigma * eps, "for a gray picture (x_0 = 0), x_t")
        expect_close(x_t, signal * x_0 + sigma * eps, "x_t")


def _expect_weight(given: Tensor, truth: Tensor, what: str) -> None:
    """Compare one term of the sum, and say by which factor it is off."""
    given = _float64(given)
    expect_close(given.isfinite().double(), torch.ones_like(truth), f"{what} (finite or not)")
    if not torch.allclose(given, truth, atol=1e-5):
        ratio = (given * truth).sum((1, 2, 3)) / (truth * truth).sum((1, 2, 3))
        worst = int((ratio - 1).abs().argmax())
        expect(
            False,
            f"{what} is {float(ratio[worst]):.3g} times what it should be at t = "
            f"{(0, 10, 500, 999)[worst]}",
        )


@exercise(
    hints=(
        "Compare powers (variances), not the weights in front of x_0 and eps.",
        "The variance of the noise at t is 1 - alpha_bar; the squared factor on x_0 is alpha_bar.",
        "s.alphas_cumprod / (1 - s.alphas_cumprod)",
    ),
    success="This one number tells how noisy a picture is, whatever the schedule.",
    copies=True,
)
def signal_to_noise(answer):
    for s in (NoiseSchedule.scaled_linear(1000), NoiseSchedule.cosine(20)):
        factors, variances = _walk(s)
        truth = factors**2 / variances
        given = _float64(answer(s))
        expect(
            given.shape == truth.shape,
            f"one number for each of the {len(truth)} timesteps is wanted, not shape "
            f"{tuple(given.shape)}",
        )
        for wrong, what in (
            (truth.sqrt(), "the ratio of the weights; the SNR compares their squares"),
            (1 / truth, "noise over signal, the wrong way up"),
            (s.alphas / s.betas, "the SNR of each single step; use the product of all steps"),
            (factors**2, "the squared factor on x_0 alone; divide it by the noise's variance"),
        ):
            expect(not torch.allclose(given, wrong, rtol=1e-3), f"this is {what}")
        # 1 - alpha_bar in float32 has an absolute error of 6e-8, which matters where it is small
        off = (given / truth - 1).abs()
        expect(given.isfinite().all() and (given > 0).all(), "every SNR must be a positive number")
        worst = int((off / (1e-4 + 1e-6 / variances)).argmax())
        expect(
            off[worst] <= 1e-4 + 1e-6 / variances[worst],
            f"the SNR at t = {worst} is off by {off[worst]:.3g} of its value",
        )


def _cosine_half_way(num_timesteps: int, offset: float = 0.008) -> int:
    """First t with alpha-bar <= 1/2, by solving the cosine for its angle."""
    start = math.cos(offset / (1 + offset) * math.pi / 2)
    angle = math.acos(start / math.sqrt(2))
    moment = angle / (math.pi / 2) * (1 + offset) - offset  # (t + 1) / T
    return math.ceil(moment * num_timesteps) - 1


@exercise(
    hints=(
        "s.snr <= 1 is a row of False and then True. Where is the first True?",
        "(s.snr <= 1).nonzero() lists the places of all True entries, in order; or count how "
        "many timesteps have more signal than noise.",
        "int((s.snr > 1).sum())",
    ),
    success="From there on the factor on the noise is the larger one.",
    copies=True,
)
def half_way(answer):
    cases = [(NoiseSchedule.cosine(T), _cosine_half_way(T)) for T in (1000, 100, 37)]
    # With equal betas alpha-bar is (1 - beta)**(t + 1), so a logarithm finds the place.
    equal = math.ceil(math.log(0.5) / math.log(1 - 0.03)) - 1
    cases.append((NoiseSchedule(torch.full((200,), 0.03)), equal))
    for s, truth in cases:
        given = attempted(answer(s))
        where = f"for {s.name} with {s.num_timesteps} steps"
        try:
            given = float(given)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            expect(
                False, f"{where} the answer should be one timestep, not a {type(given).__name__}"
            )
        expect(given.is_integer(), f"{where} {given:g} is not a whole number")
        expect(
            given != truth + 1,
            f"{where} t = {given:g} is one too late; remember that t starts at 0",
        )
        expect(given != truth - 1, f"{where} at t = {given:g} the SNR is still above 1")
        expect(given == truth, f"{where} t = {given:g} is not the first with SNR <= 1")


@exercise(
    hints=(
        "Averaging k x k pixels multiplies the SNR by k**2. So before averaging it must be ...",
        "Divide s.snr by k**2. Then go back from SNR to alpha-bar: solve snr = a / (1 - a) for a.",
        "snr = s.snr / k**2, and then return snr / (1 + snr)",
    ),
    success="At every t, the small version of the picture is exactly as noisy as before.",
    copies=True,
)
def shift_for_size(answer):
    for s in (NoiseSchedule.cosine(1000), NoiseSchedule.linear(50)):
        for k in (1, 2, 8):
            given = _float64(answer(s, k))
            expect(
                given.shape == (s.num_timesteps,),
                f"one alpha-bar for each of the {s.num_timesteps} timesteps is wanted, not shape "
                f"{tuple(given.shape)}",
            )
            expect(
                bool(((given > 0) & (given < 1)).all()),
                "alpha-bar must stay between 0 and 1; an SNR need not, so turn it into alpha-bar",
            )
            averaged = given / ((1 - given) / k**2)  # signal unchanged, noise variance / k**2
            off = (averaged / s.snr).log()
            expect(
                not (k > 1 and torch.allclose(off, torch.full_like(off, 4 * math.log(k)))),
                "you made the picture less noisy; a larger picture needs more noise",
            )
            # An alpha-bar in float32, ours or the answer's, is good to 6e-8, which the log SNR
            # multiplies by this
            bar = s.alphas_cumprod
            room = 1e-4 + 3e-7 / (given * (1 - given)) + 3e-7 / (bar * (1 - bar))
            worst = int((off.abs() / room).argmax())
            expect(
                off[worst].abs() <= room[worst],
                f"with k = {k}, the SNR after averaging is {float(off[worst].exp()):.3g} times "
                f"that of s at t = {worst}",
            )


@exercise(
    hints=(
        "Decide on the SNR first: torch.logspace(a, b, T) falls from 10**a to 10**b in T steps.",
        "alpha_bar = snr / (1 + snr). Each alpha is alpha_bar[t] / alpha_bar[t - 1]; for t = 0 "
        "divide by 1, the clean picture. Then betas = 1 - alphas.",
        "before = torch.cat([torch.ones(1), alpha_bar[:-1]]), all in float64; return "
        "cl.NoiseSchedule(1 - alpha_bar / before, name='mine')",
    ),
    success="A schedule of your own, clean at the start and as noisy at the end as ordered.",
    copies=True,
)
def own_schedule(answer):
    for T, last in ((50, 1e-4), (1000, 0.01)):
        s = attempted(answer(T, last))
        order = f"ordered: {T} steps and a last SNR of {last:g}"
        expect(
            isinstance(s, NoiseSchedule),
            f"return a cl.NoiseSchedule(betas), not a {type(s).__name__}",
        )
        expect(s.num_timesteps == T, f"{order}. Yours has {s.num_timesteps} steps")
        given = float(s.snr[-1])
        expect(abs(given / last - 1) < 0.01, f"{order}. Yours ends with {given:.3g}")
        first = float(s.snr[0])
        expect(first >= 1000, f"t = 0 should be nearly clean, SNR >= 1000; yours is {first:.3g}")
        worst = float((s.snr[1:] / s.snr[:-1]).min())
        expect(
            worst >= 0.1,
            f"one step of yours leaves only {worst:.1%} of the SNR; fall more evenly, so that no "
            "step loses more than 90%",
        )
