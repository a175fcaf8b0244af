"""Section 3 of lesson 09: its checkers accept right answers and name the mistakes of wrong ones."""

from __future__ import annotations

import torch
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_09 as checks
from course_lib.metrics import proportion
from course_lib.mini.evaluation.bias import amplification, sampling_weights

Z = 1.959964


def ratio(hits, total, share):
    found = proportion(torch.arange(total) < hits)
    odds = share / (1 - share)
    return [found[k] / (1 - found[k]) / odds for k in ("value", "low", "high")]


def ratio_of_the_library(hits, total, share):
    found = amplification(proportion(torch.arange(total) < hits), share)
    return torch.tensor([found["value"], found["low"], found["high"]])


def ratio_by_bisection(hits, total, share):
    p, odds = hits / total, share / (1 - share)

    def end(inside, outside):
        for _ in range(80):
            q = (inside + outside) / 2
            near = (p - q) ** 2 < Z**2 * q * (1 - q) / total
            inside, outside = (q, outside) if near else (inside, q)
        return inside / (1 - inside) / odds

    return p / (1 - p) / odds, end(p, 0.0), end(p, 1.0)


def with_normal_interval(hits, total, share):
    p, odds = hits / total, share / (1 - share)
    half = Z * (p * (1 - p) / total) ** 0.5
    return [q / (1 - q) / odds for q in (p, max(p - half, 1e-3), min(p + half, 0.999))]


def of_shares(hits, total, share):
    found = proportion(torch.arange(total) < hits)
    return [found[k] / share for k in ("value", "low", "high")]


def weights(labels, wanted):
    counts = torch.bincount(labels, minlength=len(wanted))
    if ((counts == 0) & (wanted > 0)).any():
        raise ValueError("nobody there")
    return wanted[labels] / counts[labels]


def weights_by_loops(labels, wanted):
    names = labels.tolist()
    for i, share in enumerate(wanted.tolist()):
        if share > 0 and i not in names:
            raise ValueError(i)
    return [float(wanted[i]) / names.count(i) for i in names]


def weights_of_the_library(labels, wanted):
    return sampling_weights(labels, wanted.tolist())


def silent_weights(labels, wanted):
    return wanted[labels] / torch.bincount(labels, minlength=len(wanted))[labels]


def normalised(labels, wanted):
    given = silent_weights(labels, wanted)
    return given / given.sum()


RIGHT = {
    checks.amplification: (ratio, ratio_of_the_library, ratio_by_bisection),
    checks.balancing_weights: (weights, weights_by_loops, weights_of_the_library),
}
WRONG = {
    checks.amplification: [
        (of_shares, "not the shares"),
        (lambda k, n, p: [1 / x for x in ratio(k, n, p)], "come on top"),
        (lambda k, n, p: ratio(k, n, 0.5), "divide by the odds of the data"),
        (lambda k, n, p: ratio(k, n, p)[0], "three numbers"),
        (with_normal_interval, "standard deviations"),
        (lambda k, n, p: [ratio(k, n, p)[i] for i in (0, 2, 1)], "outside"),
        (lambda k, n, p: ratio(10 * k, 10 * n, p), "standard deviations"),
    ],
    checks.balancing_weights: [
        (silent_weights, "raise a ValueError"),
        (normalised, "raise a ValueError"),
        (lambda labels, wanted: wanted[labels], "instead of 1"),
        (lambda labels, wanted: torch.full((len(labels),), 1 / len(labels)), "class 0 is drawn"),
        (lambda labels, wanted: 1 / torch.bincount(labels)[labels], "instead of 1"),
        (lambda labels, wanted: wanted, "has shape"),
        (lambda labels, wanted: -weights(labels, wanted), "negative"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_answers_that_change_their_inputs_are_told():
    expect_spoilers_noticed(RIGHT)
