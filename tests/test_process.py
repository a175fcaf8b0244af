"""The forward process: closed form against simulation, and the algebra of the parameterisations."""

from __future__ import annotations

import pytest
import torch

import course_lib as cl

SHAPE = (4, 3, 5, 5)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    eps = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    return x_0, eps, torch.tensor([0, 3, 50, 99]), cl.NoiseSchedule.linear(100)


def test_closed_form_equals_stepwise_simulation():
    s = cl.NoiseSchedule.linear(100)
    generator = torch.Generator().manual_seed(0)
    n, x = 200_000, 0.7
    x_t = torch.full((n, 1), x, dtype=torch.float64)
    for t in range(40):
        x_t = cl.q_step(x_t, t, s, generator=generator)
    bar_a = s.alphas_cumprod[39].item()
    # Standard errors at n = 200,000: sigma / sqrt(n) and sigma / sqrt(2 n); four of each
    sigma = (1 - bar_a) ** 0.5
    assert x_t.mean().item() == pytest.approx(bar_a**0.5 * x, abs=4 * sigma / n**0.5)
    assert x_t.std().item() == pytest.approx(sigma, abs=4 * sigma / (2 * n) ** 0.5)


def test_t_zero_is_one_step_of_noise(batch):
    x_0, eps, _, s = batch
    torch.testing.assert_close(cl.q_sample(x_0, 0, s, eps), cl.q_step(x_0, 0, s, eps))
    assert not torch.equal(cl.q_sample(x_0, 0, s, eps), x_0)


def test_parameterisations_are_one_thing(batch):
    x_0, eps, t, s = batch
    x_t = cl.q_sample(x_0, t, s, noise=eps)
    v = cl.velocity(x_0, eps, t, s)
    for got, want in [
        (cl.predict_x0_from_eps(x_t, t, eps, s), x_0),
        (cl.predict_eps_from_x0(x_t, t, x_0, s), eps),
        (cl.predict_x0_from_v(x_t, t, v, s), x_0),
        (cl.predict_eps_from_v(x_t, t, v, s), eps),
        (cl.eps_from_score(cl.score_from_eps(eps, t, s), t, s), eps),
    ]:
        # Dividing by sigma_0 = 0.01 costs two of float64's sixteen digits
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


def test_score_is_the_gradient_of_the_log_density(batch):
    x_0, eps, t, s = batch
    x_t = cl.q_sample(x_0, t, s, noise=eps).requires_grad_()
    bar_a = s.alphas_cumprod[t][:, None, None, None]
    log_density = -((x_t - bar_a.sqrt() * x_0) ** 2 / (2 * (1 - bar_a))).sum()
    (gradient,) = torch.autograd.grad(log_density, x_t)
    torch.testing.assert_close(cl.score_from_eps(eps, t, s), gradient)


@pytest.mark.parametrize("t", [1, 10, 99])
def test_posterior_is_bayes_rule_on_a_grid(t):
    """q(x_prev | x_t, x_0) by multiplying densities and normalising sums, with no closed form."""
    s = cl.NoiseSchedule.linear(100, beta_end=0.1)
    x_0, x_t = 0.4, -0.3
    x = torch.linspace(-6, 6, 400_001, dtype=torch.float64)
    a_prev, alpha, beta = s.alphas_cumprod[t - 1], s.alphas[t], s.betas[t]
    log_prior = -((x - a_prev.sqrt() * x_0) ** 2) / (2 * (1 - a_prev))
    log_likelihood = -((x_t - alpha.sqrt() * x) ** 2) / (2 * beta)
    weight = torch.softmax(log_prior + log_likelihood, dim=0)
    mean = (weight * x).sum()
    variance = (weight * (x - mean) ** 2).sum()
    one = torch.ones(1, 1, dtype=torch.float64)
    got_mean, got_variance = cl.posterior_mean_variance(x_0 * one, x_t * one, t, s)
    # The grid step is 3e-5, at most a hundredth of a deviation: the sums are exact to 1e-8
    assert got_mean.item() == pytest.approx(mean.item(), abs=1e-8)
    assert got_variance.item() == pytest.approx(variance.item(), rel=1e-6)


def test_posterior_at_the_first_step_is_the_clean_image(batch):
    x_0, eps, _, s = batch
    mean, variance = cl.posterior_mean_variance(x_0, cl.q_sample(x_0, 0, s, eps), 0, s)
    torch.testing.assert_close(mean, x_0)
    assert variance.shape == (4, 1, 1, 1) and (variance == 0).all()


def test_a_seeded_generator_gives_the_same_noise_twice(batch):
    x_0, _, t, s = batch
    a, b = (cl.q_sample(x_0, t, s, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a, b)
    assert cl.q_sample(x_0.float(), t, s).dtype == torch.float32


X = torch.zeros(SHAPE)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((X, 100), r"t must lie in 0 \.\. 99"),
        ((X, -1), r"t must lie in 0 \.\. 99"),
        ((X, torch.tensor([1, 2])), r"a tensor of shape \(4,\)"),
        ((X, 0.5), "whole timesteps"),
        ((X.to(torch.uint8), 1), r"127\.5 - 1"),
    ],
)
def test_bad_input_says_what_to_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        cl.q_sample(*arguments, cl.NoiseSchedule.linear(100))


def test_noise_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"noise has shape \(1, 3, 5, 5\)"):
        cl.q_sample(X, 1, cl.NoiseSchedule.linear(100), noise=X[:1])
