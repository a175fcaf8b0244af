"""The checkers of lesson 02 accept the solutions and name the typical mistakes."""

from __future__ import annotations

import math

import pytest

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


SOLUTIONS = {
    "posterior_by_hand": posterior,
    "kl_of_gaussians": kl,
    "eps_weight": weight,
    "eps_from_v": eps_from_v,
    "optimal_denoiser": denoiser,
}
MISTAKES = [
    ("posterior_by_hand", posterior_std, "standard deviation"),
    ("posterior_by_hand", lambda x_0, x_t, a, b, p: posterior(x_0, x_t, a, b, p)[0], "two things"),
    # the bell over x_t instead of over x_{t-1}: the factor alpha forgotten
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
    ("eps_from_v", lambda x_t, v, bar: bar.sqrt() * x_t - (1 - bar).sqrt() * v, "that is x_0"),
    ("eps_from_v", lambda x_t, v, bar: (1 - bar).sqrt() * x_t - bar.sqrt() * v, "off by"),
    ("optimal_denoiser", lambda x_t, m, v, bar: x_t / bar.sqrt(), "noise is still in it"),
    ("optimal_denoiser", lambda x_t, m, v, bar: denoiser(x_t, 0 * m, v, bar), "off by"),
    ("optimal_denoiser", lambda x_t, m, v, bar: denoiser(x_t, m, v.sqrt(), bar), "off by"),
]


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_passes_and_a_blank_is_not_attempted(name):
    checker = getattr(lesson_02, name)
    assert checker(SOLUTIONS[name]).status == "passed"
    assert checker(lambda *arguments: ...).status == "not attempted"
    assert checker(...).status == "not attempted"


@pytest.mark.parametrize(("name", "answer", "fragment"), MISTAKES)
def test_a_typical_mistake_is_named(name, answer, fragment):
    result = getattr(lesson_02, name)(answer)
    assert result.status == "try again"
    assert fragment.lower() in result.message.lower()
    assert result.hint
