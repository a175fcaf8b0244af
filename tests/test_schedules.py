"""Schedules against diffusers' tables and against what their names promise."""

from __future__ import annotations

import diffusers
import pytest
import torch

import course_lib as cl

BETAS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}


@pytest.mark.parametrize("num_timesteps", [10, 100, 1000])
@pytest.mark.parametrize("name", list(BETAS))
def test_tables_equal_diffusers_to_float32_rounding(name, num_timesteps):
    ours = cl.NoiseSchedule.named(name, num_timesteps)
    theirs = diffusers.DDPMScheduler(num_train_timesteps=num_timesteps, **BETAS[name])
    # One float32 rounding, plus that of linspace and the square
    torch.testing.assert_close(ours.betas.float(), theirs.betas, rtol=1e-6, atol=0)
    # A product of T factors, each rounded once (6e-8 relative)
    rtol = num_timesteps * 6e-8
    # 1 - beta loses digits where beta is near 1, as at the end of the cosine schedule
    keeps_digits = ours.betas < 0.9
    torch.testing.assert_close(
        ours.alphas_cumprod[keeps_digits].float(), theirs.alphas_cumprod[keeps_digits],
        rtol=rtol, atol=1e-9,
    )  # fmt: skip
    torch.testing.assert_close(
        ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=0, atol=1e-6
    )


def test_everything_is_float64_and_consistent():
    s = cl.NoiseSchedule.scaled_linear(1000)
    for table in (s.betas, s.alphas, s.alphas_cumprod, s.snr):
        assert table.dtype == torch.float64 and table.shape == (1000,)
    # Multiplying the odds out by hand, in Python's own floats
    product = 1.0
    for t, beta in enumerate(s.betas.tolist()):
        product *= 1 - beta
        assert s.alphas_cumprod[t].item() == pytest.approx(product, rel=1e-12)
    torch.testing.assert_close(s.snr / (1 + s.snr), s.alphas_cumprod)
    assert (s.alphas_cumprod.diff() < 0).all()


def test_only_the_cosine_schedule_ends_in_noise_at_any_length():
    assert cl.NoiseSchedule.cosine(100).alphas_cumprod[-1] < 1e-4
    # The documented trap: a short linear schedule never gets there
    assert cl.NoiseSchedule.linear(100).alphas_cumprod[-1] == pytest.approx(0.36, abs=0.01)


def test_a_schedule_is_frozen():
    s = cl.NoiseSchedule.linear(10)
    with pytest.raises(AttributeError):
        s.betas = torch.zeros(10)
    before = s.alphas_cumprod
    for table in (s.alphas, s.alphas_cumprod, s.snr):
        table.zero_()  # these are copies
    assert torch.equal(s.alphas_cumprod, before) and before.min() > 0


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: cl.NoiseSchedule.linear(0), "num_timesteps must be a whole number"),
        (lambda: cl.NoiseSchedule.linear(10.5), "num_timesteps must be a whole number"),
        (lambda: cl.NoiseSchedule.linear(10, beta_end=1.5), "beta_start and beta_end"),
        (lambda: cl.NoiseSchedule.named("cosin"), "Did you mean 'cosine'"),
        (lambda: cl.NoiseSchedule(torch.tensor([0.1, float("nan")])), r"must lie in \(0, 1\)"),
        (lambda: cl.NoiseSchedule(torch.tensor([])), "one row of T >= 1"),
        (lambda: cl.NoiseSchedule(torch.full((2, 2), 0.1)), r"got shape \(2, 2\)"),
        (lambda: cl.NoiseSchedule(torch.tensor([0.1, 1.0])), r"must lie in \(0, 1\)"),
    ],
)
def test_bad_schedules_say_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()
