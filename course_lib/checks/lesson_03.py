"""Checks for lesson 03, a small U-Net: the blocks, the loss, the average and the field of view."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.schedules import NoiseSchedule
from course_lib.unet import ResidualBlock


@exercise(
    hints=(
        "Every timestep makes dim // 2 angles; the result holds their sines, then their cosines.",
        "Frequency number k is 10000 ** (-k / (dim // 2)), for k = 0 ... dim // 2 - 1.",
        "angle = t[:, None] * frequency; return torch.cat([angle.sin(), angle.cos()], dim=-1)",
    )
)
def time_embedding(answer):
    """Sines and cosines of t, one row for each image."""
    t, dim = torch.tensor([0, 1, 37, 999]), 8
    given = answer(t, dim)
    expect(isinstance(given, Tensor), "return a tensor of shape (B, dim)")
    # Number by number with Python's own sine: another road than the tensors of the solution
    half = dim // 2
    angles = [[float(n) * 10_000 ** (-k / half) for k in range(half)] for n in t]
    truth = [[f(a) for f in (math.sin, math.cos) for a in row] for row in angles]
    shape = tuple(given.shape)
    expect(shape == (4, 8), f"for 4 timesteps and dim=8 the shape is (4, 8), but it is {shape}")
    swapped = [row[half:] + row[:half] for row in truth]
    expect(not _near(given, swapped), "the sines come first, then the cosines")
    rows = torch.tensor(truth, dtype=torch.float64)
    interleaved = rows.reshape(4, 2, half).transpose(1, 2).reshape(4, dim)
    expect(not _near(given, interleaved), "join all sines, then all cosines, without mixing them")
    # float32 sines of angles near 1000 are good to 1e-4
    expect_close(given, rows, "the embedding", tol=2e-4)


@exercise(
    hints=(
        "The order is norm, SiLU, convolution; then norm, scale and shift, SiLU, convolution.",
        "block.modulation(embedding) has shape (B, 2 * channels): split it into scale and shift.",
        "h = F.silu(block.norm_2(h) * (1 + scale) + shift); "
        "return block.skip(x) + block.conv_2(block.dropout(h))",
    )
)
def residual_block(answer):
    """Recompute a residual block from its parts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = ResidualBlock(6, 10, embedding=12, dropout=0.0, norm="channel").eval()
        x, embedding = torch.randn(2, 6, 8, 8), torch.randn(2, 12)
        fresh = answer(block, x, embedding)
        expect(isinstance(fresh, Tensor), "return a tensor")
        expect_close(fresh, block.skip(x), "a fresh block, which is only block.skip(x),")
        for p in block.parameters():  # weights as after training, so that every part matters
            nn.init.normal_(p, std=0.3)
        given, truth = answer(block, x, embedding), block(x, embedding)
    expect(not _near(given, truth - block.skip(x)), "the skip connection is missing")
    expect_close(given, truth, "the block's output", tol=1e-4)


@exercise(
    hints=(
        "Draw x_t with cl.q_sample(x_0, t, s, noise=eps) and ask the model: model(x_t, t).",
        "The target is the noise eps, not the clean picture.",
        "return (model(x_t, t) - eps).square().mean()",
    )
)
def training_loss(answer):
    """One line of training: noise, predict, compare."""
    s = NoiseSchedule.cosine(100)
    x_0, eps = torch.randn(2, 4, 3, 8, 8, generator=make_generator(0)).clamp(-1, 1)
    t = torch.tensor([0, 20, 60, 99])
    seen: list[tuple[Tensor, Tensor]] = []
    gain = nn.Parameter(torch.tensor(0.5))

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append((x_t, t))
        return gain * x_t

    loss = answer(model, x_0, t, eps, s)
    expect(len(seen) == 1, f"ask the model once; it was asked {len(seen)} times")
    expect(isinstance(loss, Tensor) and loss.ndim == 0, "return one number, a tensor of shape ()")
    signal = s.alphas_cumprod[t].sqrt()[:, None, None, None]
    sigma = (1 - s.alphas_cumprod[t]).sqrt()[:, None, None, None]
    expect_close(seen[0][0], signal * x_0 + sigma * eps, "the model's input x_t")
    expect(torch.equal(seen[0][1], t), "the model needs the timesteps t as its second argument")
    x_t = seen[0][0].double()
    expect(not _near(loss, (0.5 * x_t - x_0).square().mean()), "compare with eps, not with x_0")
    expect(not _near(loss, (0.5 * x_t - eps).square().sum()), "take the mean, not the sum")
    expect_close(loss, (0.5 * x_t - eps).square().mean(), "the loss")
    expect(loss.requires_grad, "the loss has lost its gradient; do not detach it")


@exercise(
    hints=(
        "Keep `decay` of the old average and add `1 - decay` of the new weight.",
        "return [decay * a + (1 - decay) * w for a, w in zip(average, weights)]",
    )
)
def ema_update(answer):
    """A moving average of weights, against what n equal steps must give."""
    generator = make_generator(0)
    average = [torch.randn(3, 2, generator=generator), torch.randn(4, generator=generator)]
    weights = [torch.randn(3, 2, generator=generator), torch.randn(4, generator=generator)]
    before = [w.clone() for w in weights]
    moved, decay, n = [a.clone() for a in average], 0.9, 20
    for _ in range(n):
        moved = list(answer(moved, weights, decay))
        expect(len(moved) == 2, f"return one tensor for each of the 2 weights, not {len(moved)}")
    expect(all(map(torch.equal, weights, before)), "leave the weights themselves as they are")
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
    )
)
def receptive_field(answer):
    """How many pixels wide the view of one output is, against a measured gradient."""
    for layers in ([(3, 1)], [(3, 1), (3, 1)], [(3, 1), (2, 2), (3, 1)], [(2, 2), (3, 1), (3, 2)]):
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
    """Whether a typical mistake explains the answer."""
    given, truth = torch.as_tensor(given).double(), torch.as_tensor(truth).double()
    return given.shape == truth.shape and torch.allclose(given, truth, atol=1e-3)
