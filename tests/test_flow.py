"""Flow matching against closed forms, SciPy-free oracles and diffusers' scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

import course_lib as cl
from course_lib import flow

MEAN, STD = 0.5, 0.3


def gaussian_flow(x, s):
    """E[eps - x_0 | x_s] for x_0 ~ N(0.5, 0.3^2): a straight line in x, by linear regression."""
    s = s.reshape(-1, *[1] * (x.ndim - 1))
    variance = (1 - s) ** 2 * STD**2 + s**2
    slope = (s - (1 - s) * STD**2) / variance
    return -MEAN + slope * (x - (1 - s) * MEAN)


def exact_end(eps):
    """Where the ODE leads: the clean value with the same rank."""
    return MEAN + STD * eps


def test_the_solvers_reach_the_exact_end_with_their_orders():
    eps = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    for method, order in (("euler", 1), ("heun", 2)):
        errors = []
        for steps in (40, 80, 160):
            path = flow.integrate(gaussian_flow, eps, steps, method)
            assert path.shape == (steps + 1, 9, 1) and torch.equal(path[0], eps)
            errors.append((path[-1] - exact_end(eps)).abs().max())
        ratios = torch.tensor(errors[:-1]) / torch.tensor(errors[1:])
        assert (ratios.log2() - order).abs().max() < 0.15, (method, errors)


def test_the_loss_is_lowest_for_the_mean_velocity():
    x_0 = MEAN + STD * torch.randn(40_000, 1, generator=cl.make_generator(0))

    def loss(shift, tilt):
        def model(x, s):
            return gaussian_flow(x, s) + shift + tilt * x

        return flow.flow_loss(model, x_0, generator=cl.make_generator(1)).item()

    best = loss(0, 0)
    # The extra error is E (shift + tilt x)^2 exactly, by Fact 1 of lesson 02, up to chance
    assert abs(loss(0.3, 0) - best - 0.09) < 0.02 and loss(0, 0.2) > best + 0.005
    assert loss(-0.3, 0) > best + 0.05 and loss(0, -0.2) > best + 0.005


def test_a_network_that_learns_pairs_follows_them():
    """With the noise given, the loss is 0 for the velocity of each pair."""
    eps = torch.randn(64, 2, generator=cl.make_generator(0))
    x_0 = 2 * eps + 1
    level = torch.rand(64, generator=cl.make_generator(1))

    def model(x, s):  # x = (1 - s)(2 eps + 1) + s eps = eps (2 - s) + 1 - s
        noise = (x - (1 - s[:, None])) / (2 - s[:, None])
        return noise - (2 * noise + 1)

    assert flow.flow_loss(model, x_0, s=level, eps=eps) < 1e-10
    assert flow.flow_loss(model, x_0, s=level, generator=cl.make_generator(2)) > 0.5
    path = flow.integrate(model, eps, 5)
    torch.testing.assert_close(path[-1], x_0)  # straight, so Euler is exact in any number of steps
    assert flow.straightness(path) < 1e-10


def test_straightness_of_a_path_that_can_be_computed_by_hand():
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])  # two legs of length 1
    # Velocities (2, 0) and (0, 2), mean (1, 1): each is off by sqrt(2), and |mean|^2 = 2
    torch.testing.assert_close(flow.straightness(corner[:, None]), torch.tensor(1.0))
    line = torch.linspace(0, 1, 5)[:, None, None] * torch.ones(1, 3, 2)
    assert flow.straightness(line) < 1e-12
    slow = line**2  # a straight road, but not at one speed
    assert flow.straightness(slow) > 0.1
    # The paths' own directions do not count, only their bends
    both = torch.cat([corner[:, None], torch.zeros(3, 1, 2)], dim=1)
    torch.testing.assert_close(flow.straightness(both), torch.tensor(1.0))


def test_the_schedule_is_the_line_rescaled():
    schedule = cl.NoiseSchedule.flow(1000)
    s = flow.noise_levels(schedule)
    torch.testing.assert_close(s, torch.arange(1, 1001, dtype=torch.float64) / 1001)
    x_0, eps = torch.randn(2, 4, 3, 8, 8, generator=cl.make_generator(0), dtype=torch.float64)
    t = torch.tensor([0, 100, 500, 999])
    bar_a = schedule.alphas_cumprod[t]
    total = cl.expand_to(bar_a.sqrt() + (1 - bar_a).sqrt(), x_0)
    line = flow.interpolate(x_0, eps, s[t])
    torch.testing.assert_close(cl.q_sample(x_0, t, schedule, eps) / total, line)
    theirs = FlowMatchEulerDiscreteScheduler()
    times = theirs.timesteps[-1 - t]
    levels = times.double() / 1000
    want = theirs.scale_noise(x_0, times, eps)
    torch.testing.assert_close(flow.interpolate(x_0, eps, levels), want, atol=1e-6, rtol=0)


def curved(x, s):
    """Some nonlinear field that depends on the noise level."""
    s = s.reshape(-1, 1, 1, 1)
    return torch.tanh(2 * x) * (1 - s) + x.flip(-1) * s - 0.3


@pytest.mark.parametrize("method", flow.SOLVERS)
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_the_solvers_are_those_of_diffusers(method, steps):
    kinds = {"euler": FlowMatchEulerDiscreteScheduler, "heun": FlowMatchHeunDiscreteScheduler}
    scheduler = kinds[method]()
    x = eps = torch.randn(2, 3, 8, 8, generator=cl.make_generator(0))
    levels = torch.linspace(1, 0, steps + 1)
    if method == "euler":
        scheduler.set_timesteps(sigmas=levels[:-1].tolist())
    else:  # takes no list of noise levels: its own are replaced, each inner one stands twice
        scheduler.set_timesteps(steps)
        inner = levels[1:-1].repeat_interleave(2)
        scheduler.sigmas = torch.cat([levels[:1], inner, torch.zeros(1)])
        scheduler.timesteps = 1000 * scheduler.sigmas[:-1]
    for t in scheduler.timesteps:
        x = scheduler.step(curved(x, (t / 1000).expand(2)), t, x).prev_sample
    got = flow.integrate(curved, eps, steps, method)
    if method == "heun":  # diffusers ends with an Euler step; so do the first steps - 1 of ours
        path = got[:-1]
        last = path[-1] - curved(path[-1], torch.full((2,), 1 / steps)) / steps
        torch.testing.assert_close(last, x, atol=1e-5, rtol=1e-5)
    else:
        torch.testing.assert_close(got[-1], x, atol=1e-5, rtol=1e-5)


def test_rectified_paths_are_straighter():
    """Two Gaussians side by side: after one rectification on exact pairs the mean field is nearer
    to straight lines, since the pairs do not cross."""
    eps = torch.randn(512, 1, generator=cl.make_generator(0), dtype=torch.float64)
    before = flow.straightness(flow.integrate(gaussian_flow, eps, 50))
    pairs = exact_end(eps)

    def rectified(x, s):  # the pairs are a line, so the velocity at (x, s) is known
        noise = (x - (1 - s[:, None]) * MEAN) / ((1 - s[:, None]) * STD + s[:, None])
        return noise - (MEAN + STD * noise)

    assert flow.flow_loss(rectified, pairs, eps=eps, generator=cl.make_generator(1)) < 1e-12
    path = flow.integrate(rectified, eps, 4)
    torch.testing.assert_close(path[-1], pairs)
    assert flow.straightness(path) < 1e-12 < 0.005 < before


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: flow.integrate(curved, torch.zeros(1, 3, 8, 8), 0), "steps must be a whole"),
        (lambda: flow.integrate(curved, torch.zeros(1, 3, 8, 8), 4, "eular"), "'euler'"),
        (lambda: flow.straightness(torch.zeros(2, 3, 4)), "2 steps or more"),
        (lambda: flow.interpolate(torch.zeros(2, 3), torch.zeros(3), torch.zeros(2)), "one shape"),
    ],
)
def test_bad_arguments_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
