"""Checks of lesson 10: frontiers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from course_lib.checks import exercise, expect, expect_close
from course_lib.checks.lesson_10_distillation import probe, teacher_step  # noqa: F401
from course_lib.checks.lesson_10_preference import (  # noqa: F401
    clipped_policy_loss,
    preference_loss,
)
from course_lib.device import make_generator


@exercise(
    hints=(
        "Divide the way from s = 1 to s = 0 into equal parts, and take each with the velocity at "
        "its beginning.",
        "The velocity is dx/ds, and s falls: each step subtracts model(x, s) / steps. The levels "
        "are 1, 1 - 1/steps, ..., 1/steps.",
        "for i in range(steps): s = torch.full((len(x),), 1 - i / steps); "
        "x = x - model(x, s) / steps.",
    ),
    success="Euler's method, from noise to data.",
    copies=True,
)
def flow_sampler(answer) -> None:
    """answer(model, eps, steps): the data that Euler's method makes of the noise eps."""
    eps = torch.randn(5, 2, generator=make_generator(0))
    seen = []

    def even(x, s):
        expect(
            isinstance(s, torch.Tensor) and s.shape == (5,),
            "the model wants one noise level for each row, a tensor of shape (5,)",
        )
        seen.append(float(s[0]))
        return torch.full_like(x, 2.0)

    given = answer(even, eps.clone(), 4)
    expect(len(seen) == 4, f"4 steps ask the model 4 times, yours asked {len(seen)} times")
    expect(seen == sorted(seen, reverse=True), "noise is s = 1 and data are s = 0: s should fall")
    expect(abs(seen[0] - 1) < 1e-4, f"the first question should be at s = 1, not {seen[0]:.3g}")
    levels = ", ".join(f"{level:.3g}" for level in seen)
    expect(
        max(abs(a - b) for a, b in zip(seen, (1, 0.75, 0.5, 0.25), strict=True)) < 1e-4,
        f"four equal steps begin at 1, 0.75, 0.5 and 0.25, yours at {levels}",
    )
    expect(
        not torch.allclose(torch.as_tensor(given), eps + 2, atol=1e-4),
        "the sign: the velocity points to the noise, and s falls",
    )
    expect_close(given, eps - 2, "with the velocity 2 everywhere, the result")
    # (1 - 1/n)^n is Euler's answer to dx/ds = x, and the sum of the levels that to dx/ds = s
    expect_close(answer(lambda x, s: x, eps.clone(), 3), eps * (2 / 3) ** 3, "for dx/ds = x")
    level = answer(lambda x, s: s[:, None].expand_as(x), eps.clone(), 5)
    expect_close(level, eps - 0.6, "for dx/ds = s")


@exercise(
    hints=(
        "Three things differ: the direction of the time, what the network returns, and the sign of "
        "the velocity.",
        "JiT's time is t = 1 - s. Its answer is x_0_hat, and x = (1 - s) x_0_hat + s eps_hat.",
        "x_0_hat = jit(x, 1 - s); eps_hat - x_0_hat = (x - x_0_hat) / s, with s[:, None] to "
        "broadcast.",
    ),
    success="The same velocity in the course's convention.",
    copies=True,
)
def velocity_from_jit(answer) -> None:
    """answer(jit, x, s): the velocity eps - x_0 by a network that returns x_0 in JiT's time."""
    mean, std = 0.5, 0.3  # of Gaussian data, for which everything is known
    x = torch.randn(6, 2, generator=make_generator(0))
    s = torch.tensor([0.1, 0.3, 0.5, 0.6, 0.8, 1.0])

    def jit(z, t):
        expect(
            isinstance(t, torch.Tensor) and t.shape == (6,),
            "the network wants one time for each row, a tensor of shape (6,)",
        )
        t = t[:, None]
        variance = t**2 * std**2 + (1 - t) ** 2
        return mean + t * std**2 / variance * (z - t * mean)

    given = answer(jit, x.clone(), s.clone())
    # The truth by regression of eps - x_0 on x, without any estimate of x_0
    level = s[:, None]
    variance = (1 - level) ** 2 * std**2 + level**2
    slope = (level - (1 - level) * std**2) / variance
    truth = slope * (x - (1 - level) * mean) - mean
    x_0 = jit(x, 1 - s)
    mistakes = {
        "the sign: the course's velocity is eps - x_0, JiT's x - e": -truth,
        "the time: JiT calls the data t = 1": (x - jit(x, s)) / level,
        "that is the clean estimate; the velocity is asked for": x_0,
        "that is the noise estimate; the velocity is asked for": x_0 + truth,
        "that is the noise level times the velocity": x - x_0,
    }
    for message, wrong in mistakes.items():
        same = torch.is_tensor(given) and given.shape == wrong.shape
        expect(not (same and torch.allclose(given.to(wrong), wrong, atol=1e-4)), message)
    expect_close(given, truth, "the velocity", tol=1e-4)


@exercise(
    hints=(
        "Cut height and width into (number of patches, side of a patch), then reorder the axes.",
        "reshape to (B, C, H/p, p, W/p, p). A token holds its pixels row by row, and each pixel "
        "its channels, so the order is (B, H/p, W/p, p, p, C).",
        "images.reshape(B, C, H // p, p, W // p, p).permute(0, 2, 4, 3, 5, 1)"
        ".reshape(B, -1, p * p * C)",
    ),
    success="An image is now a sentence of patches.",
    copies=True,
)
def patches(answer) -> None:
    """answer(images, p): (B, C, H, W) -> tokens (B, N, p * p * C), row by row, channels last."""
    images = torch.randn(2, 3, 8, 12, generator=make_generator(0))
    p = 4
    given = answer(images.clone(), p)
    # Another road: unfold lists channels first
    columns = F.unfold(images, p, stride=p)  # (B, C * p * p, N)
    truth = columns.reshape(2, 3, p * p, -1).permute(0, 3, 2, 1).reshape(2, 6, -1)
    if torch.is_tensor(given) and given.shape == truth.shape:
        values = given.sort(dim=-1).values
        columnwise = truth.reshape(2, 2, 3, -1).transpose(1, 2).reshape(2, 6, -1)
        turned = truth.reshape(2, 6, p, p, 3).transpose(2, 3).reshape(2, 6, -1)
        for message, wrong in {
            "channels come first in your tokens; each pixel should keep its channels together": (
                columns.transpose(1, 2)
            ),
            "your tokens run down the columns of patches; they should run along the rows": (
                columnwise
            ),
            "inside a token your pixels run down the columns; they should run along the rows": (
                turned
            ),
        }.items():
            expect(not torch.equal(given, wrong), message)
        expect(
            torch.equal(values, truth.sort(dim=-1).values),
            "a token does not hold the values of one square: reshape alone mixes rows and columns",
        )
    expect_close(given, truth, "the tensor of tokens")
    expect_close(answer(images[:, :1, :, :8].clone(), 2).shape, [2, 16, 4], "with p = 2 the shape")


@exercise(
    hints=(
        "Twelve semitones make an octave, and an octave doubles the frequency: a frequency f lies "
        "12 log2(f / 440) semitones above the A of 440 Hz.",
        "The A of 440 Hz has the MIDI number 69, and numbers of C are multiples of 12: the pitch "
        "class is round(69 + 12 log2(f / 440)) modulo 12.",
        "np.bincount(np.round(69 + 12 * np.log2(frequencies / 440)).astype(int) % 12, "
        "weights=power, minlength=12), divided by its sum.",
    ),
    success="Octaves fall together, and the twelve shares add up to 1.",
)
def chroma(answer) -> None:
    """answer(power, frequencies): share of the power in each pitch class, C first, (12,)."""
    names = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    given = _chroma(answer, [1.0], [440.0])
    at = int(given.argmax())
    expect(at == 9, f"440 Hz is an A, number 9, but your largest entry is {at}, {names[at]}")
    expect_close(given, torch.eye(12)[9], "for 440 Hz alone the chroma")
    given = _chroma(answer, [1.0, 1.0, 2.0], [220.0, 880.0, 261.63])
    expect(
        abs(float(given[9]) - 2) > 1e-6 and abs(float(given.sum()) - 4) > 1e-6,
        "divide by the whole power, so that the shares add up to 1",
    )
    expect(
        abs(float(given[9]) - 2 / 6) > 1e-3,  # 1 + 1 of 1 + 1 + 4
        "the power is a square already; do not square it again",
    )
    expect_close(
        given, 0.5 * (torch.eye(12)[9] + torch.eye(12)[0]), "two A and one C give a chroma"
    )
    # Another road than the logarithm: the scale built upward, semitone by semitone
    ratio, frequencies, truth = 2 ** (1 / 12), [], torch.zeros(12)
    power = (torch.rand(36, generator=make_generator(0)) + 0.1).tolist()
    frequency = 65.406  # the C two octaves below the middle one
    for k in range(36):
        detuned = frequency * ratio ** (0.4 if k % 2 else -0.4)  # rounds to the same note
        frequencies.append(detuned)
        truth[k % 12] += power[k] / sum(power)
        frequency *= ratio
    given = _chroma(answer, power, frequencies)
    expect_close(
        given, truth, "for three octaves, all notes 0.4 semitones off, the chroma", tol=1e-4
    )


def _chroma(answer, power: list[float], frequencies: list[float]) -> torch.Tensor:
    given = answer(np.array(power), np.array(frequencies))
    given = torch.from_numpy(given) if isinstance(given, np.ndarray) else given
    expect_close(given, torch.zeros(12), "the chroma", tol=1e9)  # a shape, no NaN
    return torch.as_tensor(given).double()
