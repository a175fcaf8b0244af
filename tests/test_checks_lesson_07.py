"""Lesson 07's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import torch
from answer_cases import expect_blanks, expect_verdicts
from torch import nn

from course_lib.checks import lesson_07 as checks


def zero_conv(channels):
    conv = nn.Conv2d(channels, channels, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class ZeroProduct(nn.Module):
    """The same written as a product of matrices."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x):
        return torch.einsum("oi,bihw->bohw", self.weight, x) + self.bias


def zero_linear(channels):
    linear = nn.Linear(channels, channels)
    with torch.no_grad():
        for p in linear.parameters():
            p.zero_()
    return nn.Sequential(Moved(-1), linear, Moved(1))


class Moved(nn.Module):
    def __init__(self, to):
        super().__init__()
        self.to_axis = to

    def forward(self, x):
        return x.movedim(1, -1) if self.to_axis == -1 else x.movedim(-1, 1)


def with_zeros(conv, *names):
    for name in names:
        nn.init.zeros_(getattr(conv, name))
    return conv


RIGHT = {checks.zero_convolution: [zero_conv, ZeroProduct, zero_linear]}
WRONG = {
    checks.zero_convolution: [
        (lambda c: torch.zeros(c, c, 1, 1), "return a module"),
        (lambda c: nn.Conv2d(c, c, 1), "should be zero"),
        (lambda c: with_zeros(nn.Conv2d(c, c, 1), "weight"), "should be zero"),
        (lambda c: zero_conv(c).requires_grad_(False), "no parameter that can learn"),
        (lambda c: nn.Sequential(zero_conv(c), zero_conv(c)), "never learn"),
        (lambda c: with_zeros(nn.Conv2d(c, c, 3, padding=1), "weight", "bias"), "other pixels"),
        (lambda c: with_zeros(nn.Conv2d(c, c, 3), "weight", "bias"), "shape"),
        (
            lambda c: with_zeros(nn.Conv2d(c, c, 1, groups=c), "weight", "bias"),
            "all input channels",
        ),
        (lambda c: with_zeros(nn.Conv2d(c, c, 1, bias=False), "weight"), "add a bias"),
    ]
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_blanks_are_not_attempted():
    expect_blanks(list(RIGHT))
