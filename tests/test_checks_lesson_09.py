"""Lesson 09's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import math
import statistics

import numpy as np
import torch
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_09 as checks
from course_lib.metrics import roc_curve


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


def copied_share(samples, training, threshold=1 / 3, power=1.0, rank=2, unique=True):
    rows = training.flatten(1).unique(dim=0) if unique else training.flatten(1)
    d = torch.cdist(samples.flatten(1), rows).sort(dim=1).values ** power
    return (d[:, 0] / d[:, rank - 1] < threshold).double().mean()


def copied_share_by_loops(samples, training):
    rows, hits = [], 0
    for image in training:
        if not any(torch.equal(image, other) for other in rows):
            rows.append(image)
    for sample in samples:
        d1, d2 = sorted(float((sample - image).norm()) for image in rows)[:2]
        hits += 3 * d1 < d2
    return hits / len(samples)


def copied_share_by_numpy(samples, training):
    rows = np.unique(training.flatten(1).numpy(), axis=0)
    squares = ((samples.flatten(1).numpy()[:, None] - rows) ** 2).sum(axis=2)
    squares.sort(axis=1)
    return np.mean(9 * squares[:, 0] < squares[:, 1])


def hit_rate(members, others, rate):
    both = torch.cat([members, others])
    allowed = [t for t in both if (others <= t).double().mean() <= rate]
    return max([0.0] + [(members <= t).double().mean().item() for t in allowed])


def hit_rate_by_order(members, others, rate):
    first_forbidden = others.sort().values[int(rate * len(others) + 1e-9)]
    return (members < first_forbidden).double().mean()


def hit_rate_by_curve(members, others, rate):
    labels = torch.cat([torch.ones(len(members)), torch.zeros(len(others))]).bool()
    alarms, hits, _ = roc_curve(-torch.cat([members, others]), labels)
    return hits[alarms <= rate + 1e-6].max()


def conformal(scores, rate, shift=0, clamp=False):
    n = len(scores)
    k = n + 1 - math.floor(rate * (n + 1) + 1e-9) + shift
    return scores.sort().values[min(k, n) - 1] if k <= n or clamp else math.inf


def conformal_by_counting(scores, rate):
    for candidate in sorted(scores.tolist()):
        above = sum(score > candidate for score in scores.tolist())
        if (above + 1) / (len(scores) + 1) <= rate + 1e-12:
            return candidate
    return float("inf")


def conformal_by_numpy(scores, rate):
    padded = np.sort(np.append(scores.numpy(), np.inf))  # the new score's gap
    return padded[math.ceil((1 - rate) * len(padded) - 1e-9) - 1]


RIGHT = {
    checks.false_alarm_threshold: [conformal, conformal_by_counting, conformal_by_numpy],
    checks.energy: [
        lambda s, w, t, n: s * w / 3600 + t / n,
        lambda s, w, t, n: torch.tensor((s * w + 3600 * t / n) / 3600, dtype=torch.float64),
        lambda seconds, watts, wh, count: seconds / 60 / 60 * watts + wh * (1 / count),
    ],
    checks.correlation_map: [by_fourier, by_rolling, by_numpy],
    checks.detection_threshold: [threshold, threshold_by_bisection, threshold_by_torch],
    checks.memorised_share: [copied_share, copied_share_by_loops, copied_share_by_numpy],
    checks.hit_rate_at: [hit_rate, hit_rate_by_order, hit_rate_by_curve],
}
WRONG = {
    checks.false_alarm_threshold: [
        (lambda s, r: s.quantile(1 - r), "equally likely gaps"),
        (lambda s, r: s.quantile(r), "equally likely gaps"),
        (lambda s, r: conformal(s, r, shift=-1), "equally likely gaps"),
        (lambda s, r: s.max(), "higher than necessary"),
        (lambda s, r: conformal(s, r, clamp=True), "Return infinity"),
        (lambda s, r: s.mean() + 3 * s.std(), "higher than necessary"),
        (lambda s, r: math.nan, "one number"),
        (lambda s, r: s > s.quantile(1 - r), "one number"),
    ],
    checks.energy: [
        (lambda s, w, t, n: s * w + t / n, "these are joules"),
        (lambda s, w, t, n: s * w / 3.6e6 + t / n, "these are kilowatt hours"),
        (lambda s, w, t, n: s * w / 3600 + t, "each has a thousandth"),
        (lambda s, w, t, n: s * w / 3600, "still has its share"),
        (lambda s, w, t, n: s * w / 60 + t / n, "an hour at 30 W"),
        (lambda s, w, t, n: math.nan, "NaN"),
    ],
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
    checks.memorised_share: [
        (lambda s, t: copied_share(s, t) * len(s), "not their number"),
        (lambda s, t: 1 - copied_share(s, t), "count the new images"),
        (lambda s, t: copied_share(s, t, power=2), "not of squared"),
        (lambda s, t: copied_share(s, t, rank=3), "not the farthest"),
        (lambda s, t: copied_share(s, t, unique=False), "occur more than once"),
        (lambda s, t: copied_share(s, t, threshold=0.2), "on a line"),
        (lambda s, t: torch.cdist(s.flatten(1), t.flatten(1)), "has shape"),
    ],
    checks.hit_rate_at: [
        (lambda m, o, r: 1.0, "lower losses than the last member"),
        (lambda m, o, r: 0.0, "two members are still found"),
        (lambda m, o, r: hit_rate(m, o, 0.0), "allows one false alarm"),
        (lambda m, o, r: hit_rate(-m, -o, r), "two members are still found"),
        (lambda m, o, r: hit_rate(o, m, r), "two members are still found"),
        (lambda m, o, r: (m < o.quantile(r)).double().mean(), "hit rate"),
        (lambda m, o, r: m <= o.min(), "has shape"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_answers_that_change_their_inputs_are_told():
    expect_spoilers_noticed(RIGHT)
