"""Lesson 10's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib import dit, flow
from course_lib.checks import lesson_10 as checks


def euler(model, eps, steps, first=0, sign=-1, scale=1.0):
    x = eps
    for i in range(steps):
        x = x + sign * model(x, torch.full((len(x),), 1 - (i + first) / steps)) / steps * scale
    return x


def euler_by_levels(model, eps, steps):
    levels = torch.linspace(1, 0, steps + 1)
    for s, s_prev in zip(levels, levels[1:], strict=False):
        eps = eps + (s_prev - s) * model(eps, s.repeat(len(eps)))
    return eps


def euler_upwards(model, eps, steps):
    x = eps
    for i in range(steps):
        x = x - model(x, torch.full((len(x),), (i + 1) / steps)) / steps
    return x


def velocity(jit, x, s):
    return (x - jit(x, 1 - s)) / s[:, None]


def velocity_by_noise(jit, x, s):
    level = s.unsqueeze(-1)
    x_0 = jit(x, 1 - s)
    return (x - (1 - level) * x_0) / level - x_0


def velocity_of_jit_turned(jit, x, s):
    t = 1 - s
    return -(jit(x, t) - x) / (1 - t)[:, None]


def cut(images, p):
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // p, p, W // p, p)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, p * p * C)


def cut_by_loops(images, p):
    rows, columns = range(0, images.shape[2], p), range(0, images.shape[3], p)
    tokens = [images[:, :, i : i + p, j : j + p] for i in rows for j in columns]
    return torch.stack([token.permute(0, 2, 3, 1).flatten(1) for token in tokens], dim=1)


def reordered(order):
    def answer(images, p):
        B, C, H, W = images.shape
        x = images.reshape(B, C, H // p, p, W // p, p)
        return x.permute(order).reshape(B, -1, p * p * C)

    return answer


def pitch_shares(power, frequencies, shift=69, round_to=np.round, power_of=1):
    classes = round_to(shift + 12 * np.log2(frequencies / 440)).astype(int) % 12
    return np.bincount(classes, weights=power**power_of, minlength=12) / (power**power_of).sum()


def pitch_shares_by_loop(power, frequencies):
    shares = [0.0] * 12
    for p, f in zip(power.tolist(), frequencies.tolist(), strict=True):
        shares[round(math.log2(f / 261.6256) * 12) % 12] += p / power.sum()
    return shares


def pitch_shares_by_torch(power, frequencies):
    f = torch.from_numpy(frequencies)
    classes = (57 + 12 * (f / 220).log2()).round().long().remainder(12)
    return torch.zeros(12).double().index_add_(0, classes, torch.from_numpy(power / power.sum()))


RIGHT = {
    checks.flow_sampler: (
        euler, euler_by_levels, lambda model, eps, steps: flow.integrate(model, eps, steps)[-1],
    ),
    checks.velocity_from_jit: (velocity, velocity_by_noise, velocity_of_jit_turned),
    checks.patches: (cut, cut_by_loops, dit.patchify),
    checks.chroma: [pitch_shares, pitch_shares_by_loop, pitch_shares_by_torch],
}  # fmt: skip
WRONG = {
    checks.flow_sampler: [
        (lambda m, e, n: euler(m, e, n, sign=1), "the sign"),
        (lambda m, e, n: euler(m, e, n, first=1), "the first question should be at s = 1"),
        (euler_upwards, "s should fall"),
        (lambda m, e, n: euler(m, e, n - 1), "asked 3 times"),
        (lambda m, e, n: flow.integrate(m, e, n, "heun")[-1], "asked 8 times"),
        (lambda m, e, n: flow.integrate(m, e, n), "has shape"),
        (lambda m, e, n: e - m(e, torch.ones(len(e))), "asked 1 times"),
        (lambda m, e, n: euler(m, e, n, scale=2.0), "with the velocity 2 everywhere"),
        (lambda m, e, n: e - sum(m(e, torch.tensor(1.0)) for _ in range(n)) / n, "for each row"),
    ],
    checks.velocity_from_jit: [
        (lambda jit, x, s: -velocity(jit, x, s), "the sign"),
        (lambda jit, x, s: (x - jit(x, s)) / s[:, None], "the time"),
        (lambda jit, x, s: jit(x, 1 - s), "clean estimate"),
        (lambda jit, x, s: jit(x, 1 - s) + velocity(jit, x, s), "noise estimate"),
        (lambda jit, x, s: x - jit(x, 1 - s), "times the velocity"),
        (lambda jit, x, s: (x - jit(x, 1 - s)) / (1.1 - s[:, None]), "is off by"),
        (lambda jit, x, s: (x - jit(x, 1 - s[:, None])) / s[:, None], "one time for each row"),
    ],
    checks.patches: [
        (lambda images, p: F.unfold(images, p, stride=p).transpose(1, 2), "channels come first"),
        (lambda images, p: F.unfold(images, p, stride=p), "has shape"),
        (reordered((0, 4, 2, 3, 5, 1)), "down the columns of patches"),
        (reordered((0, 2, 4, 5, 3, 1)), "inside a token"),
        (lambda x, p: x.reshape(len(x), -1, p * p * x.shape[1]), "reshape alone"),
        (lambda x, p: cut(x, p)[:, :, : p * p], "has shape"),
    ],
    checks.chroma: [
        (lambda p, f: pitch_shares(p, f, shift=0), "440 Hz is an A"),
        (lambda p, f: pitch_shares(p, f) * p.sum(), "add up to 1"),
        (lambda p, f: pitch_shares(p, f, power_of=2), "do not square"),
        (lambda p, f: pitch_shares(p, f, round_to=np.floor), "semitones off"),
        (lambda p, f: np.roll(pitch_shares(p, f), -9), "440 Hz is an A"),
        (lambda p, f: pitch_shares(p, f)[:7], "has shape"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_answers_that_change_their_inputs_are_told():
    expect_spoilers_noticed(RIGHT)
