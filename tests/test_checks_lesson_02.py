"""The checkers of lesson 02 accept the solutions and name the typical mistakes."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.checks import lesson_02


def posterior(x_0, x_t, alpha, beta, bar_prev):
    variance = 1 / (1 / (1 - bar_prev) + alpha / beta)
    mean = variance * (bar_prev.sqrt() * x_0 / (1 - bar_prev) + alpha.sqrt() * x_t / beta)
    return mean, variance


def posterior_std(*arguments):
    mean, variance = posterior(*arguments)
    return mean, variance.sqrt()


def kl(mean_1, var_1, mean_2, var_2):
    return 0.5 * (var_1 / var_2 - 1 + (var_2 / var_1).log() + (mean_1 - mean_2) ** 2 / var_2)


def weight(t, s, variance):
    return s.betas[t] ** 2 / (2 * variance * s.alphas[t] * (1 - s.alphas_cumprod[t]))


def eps_from_v(x_t, v, bar):
    return (1 - bar).sqrt() * x_t + bar.sqrt() * v


def denoiser(x_t, mean, variance, bar):
    gain = bar.sqrt() * variance / (bar * variance + 1 - bar)
    return mean + gain * (x_t - bar.sqrt() * mean)


def posterior_by_formula(x_0, x_t, alpha, beta, bar_prev):
    """Equation (3), in Python's own numbers, as a list."""
    x_0, x_t, alpha, beta, bar_prev = (float(x) for x in (x_0, x_t, alpha, beta, bar_prev))
    rest = 1 - alpha * bar_prev
    mean = bar_prev**0.5 * beta / rest * x_0 + alpha**0.5 * (1 - bar_prev) / rest * x_t
    return [mean, (1 - bar_prev) / rest * beta]


def posterior_in_place(x_0, x_t, alpha, beta, bar_prev):
    variance = 1 / (1 / (1 - bar_prev) + alpha / beta)
    x_0.mul_(bar_prev.sqrt() / (1 - bar_prev)).add_(x_t * alpha.sqrt() / beta).mul_(variance)
    return x_0, variance


def weight_from_snr(t, s, variance):
    """w_t**2 / (2 variance) on x_0, in units of the noise."""
    w = s.alphas_cumprod[t - 1].sqrt() * s.betas[t] / (1 - s.alphas_cumprod[t])
    return w**2 / (2 * variance) / s.snr[t]


def denoiser_by_score(x_t, mean, variance, bar):
    """Tweedie's formula with the score of a Gaussian."""
    score = -(x_t - bar.sqrt() * mean) / (bar * variance + 1 - bar)
    return (x_t + (1 - bar) * score) / bar.sqrt()


def denoiser_in_place(x_t, mean, variance, bar):
    gain = bar.sqrt() * variance / (bar * variance + 1 - bar)
    return x_t.sub_(bar.sqrt() * mean).mul_(gain).add_(mean)


def shape_1(function):
    """The same answer, with one axis more than needed."""

    def wider(*given):
        result = function(*given)
        both = isinstance(result, tuple)
        return tuple(one.reshape(1) for one in result) if both else result.reshape(1)

    return wider


RIGHT = {
    "posterior_by_hand": [
        posterior,
        posterior_by_formula,
        posterior_in_place,
        lambda *given: list(posterior(*given)),
        lambda *given: torch.stack(posterior(*given)),
        lambda *given: [[float(x)] for x in posterior(*given)],
        shape_1(posterior),
    ],
    "kl_of_gaussians": [
        kl,
        shape_1(kl),
        lambda *given: [float(kl(*given))],
        lambda *given: float(kl(*given)),
        lambda m_1, v_1, m_2, v_2: torch.distributions.kl_divergence(
            torch.distributions.Normal(m_1, v_1.sqrt()), torch.distributions.Normal(m_2, v_2.sqrt())
        ),
        lambda m_1, v_1, m_2, v_2: kl(m_1.sub_(m_2), v_1, 0 * m_2, v_2),
    ],
    "eps_weight": [
        weight,
        weight_from_snr,
        shape_1(weight),
        lambda t, s, variance: weight(torch.tensor([t]), s, variance),
        lambda t, s, variance: [float(weight(t, s, variance))],
    ],
    "eps_from_v": [
        eps_from_v,
        lambda x_t, v, bar: (
            (x_t - bar.sqrt() * (bar.sqrt() * x_t - (1 - bar).sqrt() * v)) / (1 - bar).sqrt()
        ),
        lambda x_t, v, bar: x_t.mul_((1 - bar).sqrt()).add_(bar.sqrt() * v),
        lambda *given: eps_from_v(*given).tolist(),
        lambda x_t, v, bar: eps_from_v(x_t.float(), v.float(), bar.float()),
    ],
    "optimal_denoiser": [
        denoiser,
        denoiser_by_score,
        denoiser_in_place,
        lambda *given: denoiser(*given).tolist(),
        lambda x_t, m, v, bar: (m / v + bar.sqrt() * x_t / (1 - bar)) / (1 / v + bar / (1 - bar)),
    ],
}
MISTAKES = [
    ("posterior_by_hand", posterior_std, "standard deviation"),
    ("posterior_by_hand", lambda x_0, x_t, a, b, p: posterior(x_0, x_t, a, b, p)[0], "two things"),
    # the Gaussian over x_t instead of over x_{t-1}: the factor alpha forgotten
    ("posterior_by_hand", lambda x_0, x_t, a, b, p: posterior(x_0, x_t, a / a, b, p), "variance"),
    ("posterior_by_hand", lambda x_0, x_t, a, b, p: posterior(x_0, -x_t, a, b, p), "mean at t = 1"),
    ("kl_of_gaussians", lambda m_1, v_1, m_2, v_2: kl(m_2, v_2, m_1, v_1), "KL(second || first)"),
    ("kl_of_gaussians", lambda m_1, v_1, m_2, v_2: (m_1 - m_2) ** 2 / (2 * v_2), "off by"),
    # standard deviations taken for variances
    ("kl_of_gaussians", lambda m_1, v_1, m_2, v_2: kl(m_1, v_1**2, m_2, v_2**2), "off by"),
    ("kl_of_gaussians", lambda *arguments: math.nan, "NaN"),
    ("kl_of_gaussians", lambda *arguments: "a lot", "should be a number"),
    ("eps_weight", lambda t, s, variance: 2 * weight(t, s, variance), "twice the weight"),
    ("eps_weight", lambda t, s, variance: weight(t, s, s.betas[t]), "off by"),
    ("eps_weight", lambda t, s, variance: weight(t - 1, s, variance), "off by"),
    ("eps_weight", lambda t, s, variance: weight(t, s, variance).sqrt(), "off by"),
    ("eps_weight", lambda t, s, variance: weight(t, s, variance) * s.alphas[t], "off by"),
    ("eps_from_v", lambda x_t, v, bar: bar.sqrt() * x_t - (1 - bar).sqrt() * v, "that is x_0"),
    ("eps_from_v", lambda x_t, v, bar: (1 - bar).sqrt() * x_t - bar.sqrt() * v, "off by"),
    ("eps_from_v", lambda x_t, v, bar: (1 - bar) * x_t + bar * v, "off by"),
    ("eps_from_v", lambda x_t, v, bar: v, "off by"),
    ("eps_from_v", lambda x_t, v, bar: eps_from_v(x_t, v, bar)[0], "shape"),
    ("optimal_denoiser", lambda x_t, m, v, bar: x_t / bar.sqrt(), "noise is still in it"),
    ("optimal_denoiser", lambda x_t, m, v, bar: denoiser(x_t, 0 * m, v, bar), "off by"),
    ("optimal_denoiser", lambda x_t, m, v, bar: denoiser(x_t, m, v.sqrt(), bar), "off by"),
    ("optimal_denoiser", lambda x_t, m, v, bar: m.expand_as(x_t), "off by"),
    ("optimal_denoiser", lambda x_t, m, v, bar: denoiser(x_t, m, v, bar).mean(), "shape"),
    ("posterior_by_hand", lambda *given: posterior(*given)[::-1], "variance at t = 1"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass_however_they_are_written_and_blanks_are_not_attempted(name):
    checker = getattr(lesson_02, name)
    assert len(RIGHT[name]) >= 3 and sum(mistake[0] == name for mistake in MISTAKES) >= 5
    for answer in RIGHT[name]:
        checker(answer).require()
    assert checker(lambda *arguments: ...).status == "not attempted"
    assert checker(...).status == "not attempted"


def test_half_a_posterior_is_not_attempted():
    assert lesson_02.posterior_by_hand(lambda *given: (..., ...)).status == "not attempted"


@pytest.mark.parametrize(("name", "answer", "fragment"), MISTAKES)
def test_a_typical_mistake_is_named(name, answer, fragment):
    result = getattr(lesson_02, name)(answer)
    assert result.status == "try again"
    assert fragment.lower() in result.message.lower()
    assert result.hint


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("index", range(5))
def test_no_answer_changes_its_inputs_unnoticed(name, index):
    """The right values, and each input in turn overwritten on the way out."""
    changed = []

    def spoil(*given):
        result = RIGHT[name][0](*given)
        value = given[index] if index < len(given) else None
        if isinstance(value, torch.Tensor):
            value.add_(1)
            changed.append(value)
        if hasattr(value, "betas"):
            value.betas.mul_(0.5)
            changed.append(value)
        return result

    message = getattr(lesson_02, name)(spoil).message
    assert ("your function changes" in message.lower()) == bool(changed), message
