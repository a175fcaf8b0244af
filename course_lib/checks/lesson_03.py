"""Checks for lesson 03, a small U-Net: the blocks, the loss, the average and the field of view.

Functions get copies of their inputs (``copies=True``), so an answer may work in place; the result
then says so.
"""

from __future__ import annotations

import math
from unittest import mock

import torch
from torch import Tensor, nn

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import as_float64
from course_lib.unet import ResidualBlock


class _AsGiven(list):
    """A list that is handed over uncopied, so that the check sees whether it was changed."""


@exercise(
    hints=(
        "Every timestep makes dim // 2 angles; the result holds their sines, then their cosines.",
        "Frequency number k is 10000 ** (-k / (dim // 2)), for k = 0 ... dim // 2 - 1.",
        "angle = t[:, None] * frequency; return torch.cat([angle.sin(), angle.cos()], dim=-1)",
    ),
    copies=True,
)
def time_embedding(answer):
    """Sines and cosines of t, one row for each image."""
    # More than one width and one batch, so that no size can be written into the answer
    for t, dim in ((torch.tensor([0, 1, 37, 999]), 8), (torch.tensor([5, 640]), 14)):
        given, half = answer(t, dim), dim // 2
        # Number by number with Python's own sine: another road than the tensors of the solution
        angles = [[float(n) * 10_000 ** (-k / half) for k in range(half)] for n in t]
        truth = [[f(a) for f in (math.sin, math.cos) for a in row] for row in angles]
        swapped = [row[half:] + row[:half] for row in truth]
        expect(not _near(given, swapped), "the sines come first, then the cosines")
        rows = torch.tensor(truth, dtype=torch.float64)
        interleaved = rows.reshape(len(t), 2, half).transpose(1, 2).reshape(len(t), dim)
        expect(not _near(given, interleaved), "join all sines, then all cosines, without mixing")
        # float32 sines of angles near 1000 are good to 1e-4
        expect_close(given, rows, f"the embedding of {len(t)} timesteps with dim={dim}", tol=2e-4)


@exercise(
    hints=(
        "The order is norm, SiLU, convolution; then norm, scale and shift, SiLU, convolution.",
        "block.modulation(embedding) has shape (B, 2 * channels): split it into scale and shift.",
        "h = F.silu(block.norm_2(h) * (1 + scale) + shift); "
        "return block.skip(x) + block.conv_2(block.dropout(h))",
    ),
    copies=True,
)
def residual_block(answer):
    """Recompute a residual block from its parts."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for width_in, width in ((6, 10), (8, 8)):
            block = ResidualBlock(width_in, width, embedding=12, dropout=0.0, norm="channel").eval()
            x, embedding = torch.randn(2, width_in, 8, 8), torch.randn(2, 12)
            fresh = _from_parts(answer, block, x, embedding)
            expect_close(fresh, block.skip(x), "a fresh block, which is only block.skip(x),")
            for p in block.parameters():  # weights as after training, so that every part matters
                nn.init.normal_(p, std=0.3)
            truth, given = block(x, embedding), _from_parts(answer, block, x, embedding)
            expect(not _near(given, truth - block.skip(x)), "the skip connection is missing")
            expect_close(given, truth, "the block's output", tol=1e-4)


def _from_parts(answer, block: ResidualBlock, x: Tensor, embedding: Tensor):
    """The answer, while the block itself cannot be called and its weights must stay."""

    def forbidden(*_, **__):
        raise AssertionError("compute it from the parts of the block, without calling the block")

    before = [p.clone() for p in block.parameters()]
    with mock.patch.object(ResidualBlock, "forward", forbidden):
        given = answer(block, x, embedding)
    same = all(map(torch.equal, before, block.parameters()))
    expect(same, "your function changes weights of the block")
    return given


@exercise(
    hints=(
        "Draw x_t with cl.q_sample(x_0, t, s, noise=eps) and ask the model: model(x_t, t).",
        "The target is the clean picture x_0, not the noise.",
        "return (model(x_t, t) - x_0).square().mean()",
    ),
    copies=True,
)
def training_loss(answer):
    """One line of training: noise, predict, compare with the clean picture."""
    for steps, times in ((100, [0, 20, 60, 99]), (40, [39, 3])):
        s, t = NoiseSchedule.cosine(steps), torch.tensor(times)
        x_0, eps = torch.randn(2, len(t), 3, 8, 8, generator=make_generator(steps)).clamp(-1, 1)
        seen: list[tuple[Tensor, Tensor]] = []
        gain = nn.Parameter(torch.tensor(0.5))

        def model(x_t: Tensor, t: Tensor, seen: list = seen, gain: Tensor = gain) -> Tensor:
            seen.append((x_t.detach().clone(), torch.as_tensor(t).clone()))
            return gain * x_t

        loss = answer(model, x_0, t, eps, s)
        expect(len(seen) == 1, f"ask the model once; it was asked {len(seen)} times")
        one = isinstance(loss, Tensor) and loss.ndim == 0
        expect(one, "return one number, a tensor of shape ()")
        signal = s.alphas_cumprod[t].sqrt()[:, None, None, None]
        sigma = (1 - s.alphas_cumprod[t]).sqrt()[:, None, None, None]
        x_t = signal * x_0 + sigma * eps
        expect_close(seen[0][0], x_t, "the model's input x_t")
        expect(torch.equal(seen[0][1], t), "the model needs the timesteps t as its second argument")
        expect(not _near(loss, (0.5 * x_t - eps).square().mean()), "compare with x_0, not with eps")
        expect(not _near(loss, (0.5 * x_t - x_0).square().sum()), "take the mean, not the sum")
        expect_close(loss, (0.5 * x_t - x_0).square().mean(), "the loss")
        expect(loss.requires_grad, "the loss has lost its gradient; do not detach it")


@exercise(
    hints=(
        "Keep `decay` of the old average and add `1 - decay` of the new weight.",
        "return [decay * a + (1 - decay) * w for a, w in zip(average, weights)]",
    ),
    copies=True,
)
def ema_update(answer):
    """A moving average of weights, against what n equal steps must give."""
    generator = make_generator(0)
    for decay, n, shapes in ((0.9, 20, [(3, 2), (4,)]), (0.6, 3, [(2,), (1, 5), (3,)])):
        average, weights = (
            [torch.randn(shape, generator=generator) for shape in shapes] for _ in range(2)
        )
        before, moved, count = [w.clone() for w in weights], average, len(shapes)
        for _ in range(n):
            moved = list(answer(moved, _AsGiven(weights), decay))
            many = f"return one tensor for each of the {count} weights, not {len(moved)}"
            expect(len(moved) == count, many)
            kept = all(map(torch.equal, weights, before))
            expect(kept, "leave the weights themselves as they are")
        left, wrong = decay**n, (1 - decay) ** n
        for given, a, w in zip(moved, average, weights, strict=True):
            expect(not _near(given, w + wrong * (a - w)), "decay belongs to the old average")
            # After n steps towards weights that stay put, decay**n of the start is left
            expect_close(given, w + left * (a - w), f"the average after {n} updates")


@exercise(
    hints=(
        "Start with a field of 1 pixel and a jump of 1: the distance between neighbours.",
        "A layer widens the field by (kernel - 1) * jump; afterwards jump is multiplied by stride.",
        "for kernel, stride in layers: field += (kernel - 1) * jump; jump *= stride",
    ),
    copies=True,
)
def receptive_field(answer):
    """How many pixels wide the view of one output is, against a measured gradient."""
    for layers in (
        [(3, 1)],
        [(3, 1), (3, 1)],
        [(3, 1), (2, 2), (3, 1)],
        [(2, 2), (3, 1), (3, 2)],
        [(4, 4), (3, 1), (2, 2), (3, 1)],  # two strides, whose jumps multiply
        [(3, 2), (3, 3), (5, 1)],
    ):
        expect_close(answer(layers), _measured_field(layers), f"the field of {layers}")


def _measured_field(layers: list[tuple[int, int]]) -> int:
    """Count the inputs on which one output of such convolutions depends."""
    x = torch.ones(1, 1, 256, requires_grad=True)
    h = x
    for kernel, stride in layers:
        h = nn.functional.conv1d(h, torch.ones(1, 1, kernel), stride=stride)
    h[0, 0, h.shape[-1] // 2].backward()
    return int((x.grad != 0).sum())


def _near(given, truth) -> bool:
    """Whether a typical mistake explains the answer; what is not a number does not."""
    try:
        given = as_float64(given)
    except (TypeError, ValueError, RuntimeError):
        return False
    truth = as_float64(truth)
    return given.shape == truth.shape and torch.allclose(given, truth, atol=1e-3)
