"""Checks of lesson 09: responsible portraits."""

from __future__ import annotations

import math

import torch

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.tensors import as_float64


@exercise(
    hints=(
        "A pattern that was moved by (r, c) fits best at the offset (r, c). The direct way: for "
        "each offset multiply the picture with the rolled pattern and add up.",
        "All offsets at once are a circular cross-correlation, which the Fourier transform turns "
        "into a product.",
        "fft.ifft2(fft.fft2(picture) * fft.fft2(pattern).conj()).real",
    ),
    success="The largest value is where the pattern lies.",
    copies=True,
)
def correlation_map(answer) -> None:
    """answer(picture, pattern): their circular correlation at every offset, each (n, n)."""
    generator = make_generator(0)
    pattern, noise = torch.randn(2, 12, 12, generator=generator, dtype=torch.float64)
    picture = 0.5 * pattern.roll((2, 5), (0, 1)) + noise
    # Another road than the Fourier transform: every offset by itself
    truth = torch.stack([
        torch.stack([(picture * pattern.roll((r, c), (0, 1))).sum() for c in range(12)])
        for r in range(12)
    ])  # fmt: skip
    given = answer(picture, pattern)
    expect(
        not (isinstance(given, torch.Tensor) and given.is_complex()),
        "the map is complex; its imaginary part is rounding, so return the real part",
    )
    expect_close(given, torch.zeros(12, 12), "the map", tol=1e9)  # a shape, no NaN
    given = as_float64(given)
    for other, reason in (
        (truth.roll((-1, -1), (0, 1)).flip(0, 1),
         "the offset comes out negative: conjugate the transform of the pattern, not the other"),
        (truth / 144, "every value is 1/144 of what it should be: add up, do not average"),
        (truth * 144, "every value is 144 times what it should be; ifft2 divides already"),
        (truth.T, "rows and columns are exchanged"),
    ):  # fmt: skip
        expect((given - other).abs().max() > 1e-3, reason)
    convolved = torch.fft.ifft2(torch.fft.fft2(picture) * torch.fft.fft2(pattern)).real
    expect(
        (given - convolved).abs().max() > 1e-3,
        "this is the convolution, which mirrors the pattern: conjugate its transform",
    )
    expect_close(given, truth, "the map", tol=1e-4)


@exercise(
    hints=(
        "In a picture without the mark each of the scores is a draw from N(0, 1). When does the "
        "largest of them reach the threshold?",
        "All n stay below t with probability (1 - q)^n, where q is the probability that one draw "
        "exceeds t. Solve 1 - (1 - q)^n = level for q.",
        "q = -math.expm1(math.log1p(-level) / n); then statistics.NormalDist().inv_cdf(1 - q).",
    ),
    success="In a share `level` of unmarked pictures the largest score exceeds your threshold.",
)
def detection_threshold(answer) -> None:
    """answer(level, n): what the largest of n draws from N(0, 1) exceeds with that probability."""
    given = {}
    for level, n in ((0.5, 10), (0.05, 1), (0.05, 4096), (1e-6, 1), (1e-6, 4096)):
        one = answer(level, n)
        expect_close(one, 0.0, f"the threshold for level {level:g} and n = {n}", tol=1e9)
        given[level, n] = float(as_float64(one))
    expect(given[0.05, 4096] > given[0.05, 1] + 0.5, "more tries need a higher threshold")
    expect(given[1e-6, 1] > given[0.05, 1] + 0.5, "a smaller level needs a higher threshold")
    expect(
        abs(given[0.05, 1] - 1.95996) > 1e-3,
        "1.96 leaves 5 % on both sides together; only large scores are alarms",
    )
    for (level, n), threshold in given.items():
        single = 0.5 * math.erfc(threshold / math.sqrt(2))
        rate = -math.expm1(n * math.log1p(-single)) if single < 1 else 1.0
        expect(
            abs(rate / level - 1) < 0.01,
            f"for level {level:g} and n = {n} your threshold {threshold:.3f} gives false alarms in "
            f"a share {rate:.3g} of the pictures",
        )
