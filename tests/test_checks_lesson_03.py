"""Each checker of lesson 03 accepts the solution, waits for a blank and names typical mistakes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import course_lib as cl
from course_lib.checks import lesson_03


def time_embedding(t, dim):
    frequency = 10_000.0 ** (-torch.arange(dim // 2) / (dim // 2))
    angle = t[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def cosines_first(t, dim):
    return time_embedding(t, dim).roll(dim // 2, dims=-1)


def interleaved(t, dim):
    sines, cosines = time_embedding(t, dim).chunk(2, dim=-1)
    return torch.stack([sines, cosines], dim=-1).flatten(1)


def wrong_frequencies(t, dim):
    angle = t[:, None] * torch.exp(-math.log(10_000) * torch.arange(dim // 2) / dim)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def branch(block, x, embedding):
    h = block.conv_1(F.silu(block.norm_1(x)))
    scale, shift = block.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
    return block.conv_2(F.silu(block.norm_2(h) * (1 + scale) + shift))


def residual_block(block, x, embedding):
    return block.skip(x) + branch(block, x, embedding)


def skip_not_convolved(block, x, embedding):
    h = branch(block, x, embedding)
    return h + F.pad(x, (0, 0, 0, 0, 0, h.shape[1] - x.shape[1]))


def scale_without_one(block, x, embedding):
    h = block.conv_1(F.silu(block.norm_1(x)))
    scale, shift = block.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv_2(F.silu(block.norm_2(h) * scale + shift))


def training_loss(model, x_0, t, eps, s):
    return (model(cl.q_sample(x_0, t, s, noise=eps), t) - eps).square().mean()


def loss_on_x_0(model, x_0, t, eps, s):
    return (model(cl.q_sample(x_0, t, s, noise=eps), t) - x_0).square().mean()


def clean_input(model, x_0, t, eps, s):
    return (model(x_0, t) - eps).square().mean()


def loss_as_sum(model, x_0, t, eps, s):
    return (model(cl.q_sample(x_0, t, s, noise=eps), t) - eps).square().sum()


def ema_update(average, weights, decay):
    return [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]


def decay_swapped(average, weights, decay):
    return ema_update(average, weights, 1 - decay)


def weights_changed(average, weights, decay):
    return [w.mul_(1 - decay).add_(a, alpha=decay) for a, w in zip(average, weights, strict=True)]


def receptive_field(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        field, jump = field + (kernel - 1) * jump, jump * stride
    return field


def stride_forgotten(layers):
    return 1 + sum(kernel - 1 for kernel, _ in layers)


def stride_too_early(layers):
    field, jump = 1, 1
    for kernel, stride in layers:
        jump *= stride
        field += (kernel - 1) * jump
    return field


SOLUTIONS = [time_embedding, residual_block, training_loss, ema_update, receptive_field]


@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda f: f.__name__)
def test_the_solution_passes_and_a_blank_waits(solution):
    checker = getattr(lesson_03, solution.__name__)
    assert checker(solution).status == "passed", str(checker(solution))
    assert checker(...).status == "not attempted"
    assert checker(lambda *arguments: ...).status == "not attempted"


MISTAKES = [
    ("time_embedding", cosines_first, "The sines come first"),
    ("time_embedding", interleaved, "without mixing"),
    ("time_embedding", wrong_frequencies, "off by"),
    ("time_embedding", lambda t, dim: t[:, None].sin(), "shape is (4, 8), but it is (4, 1)"),
    ("residual_block", branch, "only block.skip(x), is off"),
    ("residual_block", lambda block, x, e: block.skip(x), "output is off by"),
    ("residual_block", skip_not_convolved, "only block.skip(x), is off"),
    ("residual_block", scale_without_one, "output is off by"),
    ("training_loss", loss_on_x_0, "Compare with eps"),
    ("training_loss", clean_input, "the model's input x_t is off"),
    ("training_loss", loss_as_sum, "the mean, not the sum"),
    ("training_loss", lambda *a: training_loss(*a).detach(), "lost its gradient"),
    ("training_loss", lambda *a: training_loss(*a) + training_loss(*a), "asked 2 times"),
    ("training_loss", lambda *a: training_loss(*a).item(), "tensor of shape ()"),
    ("ema_update", decay_swapped, "belongs to the old average"),
    ("ema_update", weights_changed, "leave the weights themselves"),
    ("ema_update", lambda average, weights, decay: average, "off by"),
    ("receptive_field", stride_forgotten, "off by as much as 2"),
    ("receptive_field", stride_too_early, "off by"),
]


@pytest.mark.parametrize(("name", "mistake", "message"), MISTAKES)
def test_a_typical_mistake_is_named(name, mistake, message):
    result = getattr(lesson_03, name)(mistake)
    assert result.status == "try again"
    assert message.lower() in result.message.lower()
    assert result.hint
