"""Checks of lesson 07: make it yours."""

from __future__ import annotations

import torch
from torch import nn

from course_lib.checks import exercise, expect
from course_lib.device import make_generator


@exercise(
    hints=(
        "A 1 x 1 convolution whose weight and bias are zero. Zero is where it starts, not what it "
        "stays: both must be able to learn.",
        "Make nn.Conv2d(channels, channels, 1), then set its weight and its bias to zero.",
        "conv = nn.Conv2d(channels, channels, 1), nn.init.zeros_(conv.weight), "
        "nn.init.zeros_(conv.bias), return conv.",
    ),
    success="Zero at first, and it learns from the first step: its gradient is not zero.",
)
def zero_convolution(answer) -> None:
    """answer(channels): a 1 x 1 convolution that gives zeros at first, and can be trained."""
    conv = answer(4)
    expect(isinstance(conv, nn.Module), f"return a module of torch.nn, not {type(conv).__name__}")
    x = torch.randn(3, 4, 6, 5, generator=make_generator(0))
    before = conv(x)
    expect(before.shape == x.shape, f"the output has shape {tuple(before.shape)}, the input "
           f"{tuple(x.shape)}; they should be equal")  # fmt: skip
    expect(not before.any(), "before training the output should be zero, whatever the input")
    learned = [p for p in conv.parameters() if p.requires_grad]
    expect(learned, "it has no parameter that can learn")
    target = torch.randn(x.shape, generator=make_generator(1))
    optimizer = torch.optim.SGD(learned, lr=0.3)
    for _ in range(2):
        optimizer.zero_grad()
        (conv(x) - target).square().mean().backward()
        moved = all(p.grad is not None and p.grad.any() for p in learned)
        expect(moved, "a parameter has the gradient 0, so it will never learn")
        optimizer.step()
    x.requires_grad_()
    conv(x)[0, 0, 2, 2].backward()  # which inputs does one output depend on?
    elsewhere = x.grad[0].clone()
    elsewhere[:, 2, 2] = 0
    expect(not elsewhere.any(), "a pixel's output depends on other pixels; a 1 x 1 convolution "
           "looks at one")  # fmt: skip
    expect(bool(x.grad[0, :, 2, 2].all()), "each output channel should see all input channels")
    with torch.no_grad():
        bias = conv(torch.zeros(1, 4, 2, 2))
    expect(bias.any(), "after training, the output of an input of zeros is still zero: add a bias")
