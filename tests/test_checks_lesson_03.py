"""Each checker of lesson 03 accepts right answers in any form and names typical mistakes."""

from __future__ import annotations

import copy
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import course_lib as cl
from course_lib.checks import lesson_03
from course_lib.training import denoising_loss
from course_lib.unet import ResidualBlock, timestep_embedding


def embedding(t, dim):
    frequency = 10_000.0 ** (-torch.arange(dim // 2) / (dim // 2))
    angle = t[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def embedding_by_numpy(t, dim):
    k = np.arange(dim // 2)
    angle = np.outer(t.numpy(), np.exp(-np.log(10_000) * k / (dim // 2)))
    return np.hstack([np.sin(angle), np.cos(angle)])


def embedding_as_list(t, dim):
    half = dim // 2
    angles = [[n / 10_000 ** (k / half) for k in range(half)] for n in t.tolist()]
    return [[*map(math.sin, row), *map(math.cos, row)] for row in angles]


def embedding_in_place(t, dim):
    t = t.double()
    result = torch.empty(len(t), dim, dtype=torch.float64)
    for k in range(dim // 2):
        result[:, k] = t.mul(10_000 ** (-2 * k / dim)).sin_()
        result[:, k + dim // 2] = t.mul(10_000 ** (-2 * k / dim)).cos_()
    return result


def interleaved(t, dim):
    sines, cosines = embedding(t, dim).chunk(2, dim=-1)
    return torch.stack([sines, cosines], dim=-1).flatten(1)


def wrong_frequencies(t, dim):
    angle = t[:, None] * torch.exp(-math.log(10_000) * torch.arange(dim // 2) / dim)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def branch(block, x, embedding):
    h = block.conv_1(F.silu(block.norm_1(x)))
    scale, shift = block.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
    return block.conv_2(F.silu(block.norm_2(h) * (1 + scale) + shift))


def residual(block, x, embedding):
    return block.skip(x) + branch(block, x, embedding)


def residual_in_place(block, x, embedding):
    h = block.conv_1(F.silu(block.norm_1(x)))
    both = block.modulation(embedding)
    channels = both.shape[1] // 2
    h = block.norm_2(h).mul_(1 + both[:, :channels].reshape(len(x), channels, 1, 1))
    h.add_(both[:, channels:].reshape(len(x), channels, 1, 1))
    return block.conv_2(block.dropout(F.silu(h, inplace=True))).add_(block.skip(x))


def residual_by_matrices(block, x, embedding):
    """Sigmoids by hand, the convolution as a functional call, axes named one by one."""
    h = block.norm_1(x)
    h = F.conv2d(h * torch.sigmoid(h), block.conv_1.weight, block.conv_1.bias, padding=1)
    scale, shift = torch.split(block.modulation(embedding), h.shape[1], dim=1)
    h = torch.einsum("bchw,bc->bchw", block.norm_2(h), 1 + scale) + shift.unsqueeze(2).unsqueeze(3)
    return block.conv_2(h / (1 + torch.exp(-h))) + block.skip(x)


def skip_not_convolved(block, x, embedding):
    h = branch(block, x, embedding)
    return h + F.pad(x, (0, 0, 0, 0, 0, h.shape[1] - x.shape[1]))


def scale_without_one(block, x, embedding):
    h = block.conv_1(F.silu(block.norm_1(x)))
    scale, shift = block.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv_2(F.silu(block.norm_2(h) * scale + shift))


def scale_and_shift_swapped(block, x, embedding):
    h = block.conv_1(F.silu(block.norm_1(x)))
    shift, scale = block.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
    return block.skip(x) + block.conv_2(F.silu(block.norm_2(h) * (1 + scale) + shift))


def block_weights_changed(block, x, embedding):
    result = residual(block, x, embedding)
    block.conv_1.weight.data.mul_(0.5)
    return result


def loss(model, x_0, t, eps, s):
    return (model(cl.q_sample(x_0, t, s, noise=eps), t) - x_0).square().mean()


def loss_by_hand(model, x_0, t, eps, s):
    bar = s.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    error = model(bar.sqrt() * x_0 + (1 - bar).sqrt() * eps, t) - x_0
    return error.pow(2).flatten(1).mean(dim=1).mean()


def loss_in_place(model, x_0, t, eps, s):
    bar = s.alphas_cumprod[t].float()[:, None, None, None]
    target = x_0.clone()
    x_0.mul_(bar.sqrt()).add_((1 - bar).sqrt() * eps)
    return F.mse_loss(model(x_0, t), target)


def loss_on_eps(model, x_0, t, eps, s):
    return (model(cl.q_sample(x_0, t, s, noise=eps), t) - eps).square().mean()


def clean_input(model, x_0, t, eps, s):
    return (model(x_0, t) - x_0).square().mean()


def loss_as_sum(model, x_0, t, eps, s):
    return (model(cl.q_sample(x_0, t, s, noise=eps), t) - x_0).square().sum()


def loss_at_zero(model, x_0, t, eps, s):
    return (model(cl.q_sample(x_0, t, s, noise=eps), 0 * t) - x_0).square().mean()


def ema(average, weights, decay):
    return [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]


def ema_in_place(average, weights, decay):
    for a, w in zip(average, weights, strict=True):
        a.lerp_(w, 1 - decay)
    return average


def weights_changed(average, weights, decay):
    return [w.mul_(1 - decay).add_(a, alpha=decay) for a, w in zip(average, weights, strict=True)]


def field(layers):
    width, jump = 1, 1
    for kernel, stride in layers:
        width, jump = width + (kernel - 1) * jump, jump * stride
    return width


def field_from_the_top(layers):
    """Backwards: which inputs of each layer do `width` of its outputs need?"""
    width = 1
    for kernel, stride in reversed(layers):
        width = (width - 1) * stride + kernel
    return width


def field_in_place(layers):
    width = 1
    while layers:
        kernel, stride = layers.pop()
        width = (width - 1) * stride + kernel
    return float(width)


def field_by_numpy(layers):
    kernels, strides = np.array(layers).T
    jumps = np.concatenate([[1], strides.cumprod()[:-1]])
    return 1 + ((kernels - 1) * jumps).sum()


def stride_too_early(layers):
    width, jump = 1, 1
    for kernel, stride in layers:
        jump *= stride
        width += (kernel - 1) * jump
    return width


def jumps(combine):
    """A field whose jump grows in another way than by multiplication."""

    def wrong(layers):
        width, jump = 1, 1
        for kernel, stride in layers:
            width, jump = width + (kernel - 1) * jump, combine(jump, stride)
        return width

    return wrong


RIGHT = {
    "time_embedding": [
        embedding,
        embedding_by_numpy,
        embedding_as_list,
        embedding_in_place,
        timestep_embedding,
        lambda t, dim: embedding(t.double(), dim),
    ],
    "residual_block": [
        residual,
        residual_in_place,
        residual_by_matrices,
        lambda *given: residual(*given).double(),
        lambda *given: residual(*given).tolist(),
    ],
    "training_loss": [
        loss,
        loss_by_hand,
        loss_in_place,
        lambda *given: loss(*given).double(),
        lambda model, x_0, t, eps, s: denoising_loss(
            model, x_0, s, t=t, noise=eps, prediction="x0"
        ),
    ],
    "ema_update": [
        ema,
        ema_in_place,
        lambda old, new, decay: tuple(map(lambda a, w: w + decay * (a - w), old, new)),
        lambda old, new, decay: (a.lerp(w, 1 - decay) for a, w in zip(old, new, strict=True)),
        lambda average, weights, decay: ema([a.double() for a in average], weights, decay),
    ],
    "receptive_field": [field, field_from_the_top, field_in_place, field_by_numpy],
}
MISTAKES = [
    (
        "time_embedding",
        lambda t, dim: embedding(t, dim).roll(dim // 2, dims=-1),
        "sines come first",
    ),
    ("time_embedding", interleaved, "without mixing"),
    ("time_embedding", wrong_frequencies, "off by"),
    ("time_embedding", lambda t, dim: t[:, None].sin(), "shape (4, 1), expected (4, 8)"),
    ("time_embedding", lambda t, dim: embedding(t, 8), "shape (2, 8), expected (2, 14)"),
    ("time_embedding", lambda t, dim: embedding(t / 1000, dim), "off by"),
    ("time_embedding", lambda t, dim: "sines", "should be a number or a tensor"),
    ("residual_block", branch, "only block.skip(x), is off"),
    ("residual_block", lambda block, x, e: block.skip(x), "output is off by"),
    ("residual_block", skip_not_convolved, "only block.skip(x), is off"),
    ("residual_block", scale_without_one, "output is off by"),
    ("residual_block", scale_and_shift_swapped, "output is off by"),
    ("residual_block", lambda block, x, e: block(x, e), "without calling the block"),
    ("residual_block", lambda *given: ResidualBlock.forward(*given), "without calling the block"),
    ("residual_block", lambda b, x, e: copy.deepcopy(b).forward(x, e), "without calling the block"),
    ("residual_block", block_weights_changed, "changes weights of the block"),
    ("training_loss", loss_on_eps, "Compare with x_0"),
    ("training_loss", clean_input, "the model's input x_t is off"),
    ("training_loss", loss_as_sum, "the mean, not the sum"),
    ("training_loss", loss_at_zero, "needs the timesteps t"),
    ("training_loss", lambda *a: loss(*a).sqrt(), "the loss is off"),
    ("training_loss", lambda *a: loss(*a).detach(), "lost its gradient"),
    ("training_loss", lambda *a: loss(*a) + loss(*a), "asked 2 times"),
    ("training_loss", lambda *a: loss(*a).item(), "tensor of shape ()"),
    ("ema_update", lambda average, weights, decay: ema(average, weights, 1 - decay), "old average"),
    ("ema_update", weights_changed, "leave the weights themselves"),
    ("ema_update", lambda average, weights, decay: average, "off by"),
    ("ema_update", lambda average, weights, decay: ema(average, weights, 0.9), "after 3 updates"),
    ("ema_update", lambda *given: ema(*given)[:1], "one tensor for each of the 2 weights"),
    ("ema_update", lambda *given: [a / 2 for a in ema(*given)], "off by"),
    ("receptive_field", lambda layers: 1 + sum(k - 1 for k, _ in layers), "off by as much as 2"),
    ("receptive_field", stride_too_early, "off by"),
    ("receptive_field", jumps(max), "(4, 4), (3, 1), (2, 2)"),
    ("receptive_field", jumps(lambda jump, stride: jump + stride - 1), "(4, 4), (3, 1), (2, 2)"),
    ("receptive_field", lambda layers: math.prod(k for k, _ in layers), "off by"),
    ("receptive_field", lambda layers: [field(layers)], "shape"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass_however_they_are_written_and_blanks_are_not_attempted(name):
    checker = getattr(lesson_03, name)
    assert len(RIGHT[name]) >= 3 and sum(mistake[0] == name for mistake in MISTAKES) >= 5
    for answer in RIGHT[name]:
        checker(answer).require()
    assert checker(...).status == "not attempted"
    assert checker(lambda *arguments: ...).status == "not attempted"


@pytest.mark.parametrize(("name", "mistake", "message"), MISTAKES)
def test_a_typical_mistake_is_named(name, mistake, message):
    result = getattr(lesson_03, name)(mistake)
    assert result.status == "try again"
    assert message.lower() in result.message.lower()
    assert result.hint


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("index", range(5))
def test_no_answer_changes_its_inputs_unnoticed(name, index):
    """The right values, and each input in turn changed on the way out."""
    changed = []

    def spoil(*given):
        result = RIGHT[name][0](*given)
        value = given[index] if index < len(given) else None
        value = (
            value[0] if isinstance(value, list) and isinstance(value[0], torch.Tensor) else value
        )
        if isinstance(value, torch.Tensor):
            value.add_(1)
        elif isinstance(value, cl.NoiseSchedule):
            value.betas.mul_(0.5)
        elif isinstance(value, ResidualBlock):
            value.conv_1.weight.data.mul_(0.5)
        elif isinstance(value, list):
            value.append((1, 1))
        else:
            return result
        changed.append(value)
        return result

    message = getattr(lesson_03, name)(spoil).message.lower()
    noticed = "your function changes" in message or "leave the weights" in message
    assert noticed == bool(changed), message


def test_the_embedding_keeps_neighbours_alike_and_far_timesteps_apart():
    """The claim of section 2.1: alike near t, but not falling at every single step."""
    likeness = embedding(torch.arange(1000), 64) @ embedding(torch.tensor([500]), 64)[0] / 32
    assert likeness.argmax() == 500 and likeness[501] > 0.95 and likeness[520:].max() < 0.75
    assert any(later > earlier for earlier, later in pairwise(likeness[500:].tolist()))


@pytest.mark.parametrize("right", [True, False])
def test_the_lesson_trains_with_the_learners_loss_and_average_if_they_pass(right, capsys):
    path = Path(__file__).resolve().parents[1] / "notebooks" / "03_a_small_unet.ipynb"
    cells = {
        cell["id"]: "".join(cell["source"])
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    }
    calls = []

    def my_training_loss(model, x_0, t, eps, s):
        calls.append("loss")
        answer = model(cl.q_sample(x_0, t, s, noise=eps), t)
        return (answer - (x_0 if right else eps)).square().mean()

    def my_ema_update(average, weights, decay):
        calls.append("average")
        decay = decay if right else 0.9
        return [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]

    lesson = {}
    for name in ("lesson03-002", "lesson03-034", "lesson03-055"):  # set-up, solutions 3.1 and 3.2
        exec(cells[name], lesson)
    lesson |= {"my_training_loss": my_training_loss, "my_ema_update": my_ema_update}
    for name in ("5c85a3c4", "9b29baf9"):  # the choice, and the loop
        exec(cells[name], lesson)
    calls.clear()
    faces = torch.randn(4, 3, 32, 32, generator=cl.make_generator(0))
    net = cl.SmallUNet(channels=(8, 8), patch=4)
    for _ in lesson["train_by_hand"](net, faces, steps=3, batch_size=2):
        pass
    assert calls == 3 * ["loss", "average"] * right
