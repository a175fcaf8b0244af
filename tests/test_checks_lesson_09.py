"""Lesson 09's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import math
import statistics

import numpy as np
import torch
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_09 as checks


def by_fourier(picture, pattern):
    return torch.fft.ifft2(torch.fft.fft2(picture) * torch.fft.fft2(pattern).conj()).real


def by_rolling(picture, pattern):
    rows = range(len(picture))
    return torch.stack([
        torch.stack([(picture.roll((-r, -c), (0, 1)) * pattern).sum() for c in rows]) for r in rows
    ])  # fmt: skip


def by_numpy(picture, pattern):
    spectrum = np.conj(np.fft.fft2(picture.numpy())) * np.fft.fft2(pattern.numpy())
    return np.conj(np.fft.ifft2(np.conj(spectrum))).real


def threshold(level, n):
    return statistics.NormalDist().inv_cdf(1 + math.expm1(math.log1p(-level) / n))


def threshold_by_bisection(level, n):
    low, high = -10.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        single = 0.5 * math.erfc(middle / math.sqrt(2))
        alarms = 1.0 if single >= 1 else -math.expm1(n * math.log1p(-single))
        low, high = (middle, high) if alarms > level else (low, middle)
    return high


def threshold_by_torch(level, n):
    single = -torch.expm1(torch.log1p(torch.tensor(-level).double()) / n)
    return -torch.special.ndtri(single)


RIGHT = {
    checks.correlation_map: [by_fourier, by_rolling, by_numpy],
    checks.detection_threshold: [threshold, threshold_by_bisection, threshold_by_torch],
}
WRONG = {
    checks.correlation_map: [
        (lambda x, w: by_fourier(w, x), "comes out negative"),
        (lambda x, w: torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.fft2(w)).real, "convolution"),
        (lambda x, w: by_fourier(x, w) / x.numel(), "do not average"),
        (lambda x, w: torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.fft2(w).conj()), "real part"),
        (lambda x, w: (x * w).sum(), "has shape"),
        (lambda x, w: by_fourier(x, w).T, "rows and columns"),
        (lambda x, w: by_fourier(x, w) / by_fourier(x, w).std(), "is off by"),
    ],
    checks.detection_threshold: [
        (lambda level, n: threshold(level, 1), "more tries"),
        (lambda level, n: threshold(level / 2, n), "on both sides"),
        (lambda level, n: threshold(min(level * n, 0.5), 1), "more tries"),
        (lambda level, n: -threshold(level, n), "more tries"),
        (lambda level, n: threshold(0.05, n), "smaller level"),
        (lambda level, n: statistics.NormalDist().inv_cdf(1 - level / n), "level 0.5 and n = 10"),
        (lambda level, n: math.inf, "infinity"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_answers_that_change_their_inputs_are_told():
    expect_spoilers_noticed(RIGHT)
