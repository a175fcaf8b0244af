"""Lesson 08's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import math

import torch
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_08 as checks
from course_lib.metrics import bradley_terry


def scores(wins):
    games, p = wins + wins.T, torch.ones(len(wins)).double()
    for _ in range(500):
        p = wins.sum(1) / (games / (p[:, None] + p)).sum(1)
    return p.log() - p.log().mean()


def scores_by_gradient(wins):
    s = torch.zeros(len(wins), dtype=torch.float64)
    for _ in range(3000):
        expected = (wins + wins.T) * torch.sigmoid(s[:, None] - s)
        s += 0.05 * (wins - expected).sum(1)
    return s - s.mean()


def scores_as_list(wins):
    rows, count = wins.tolist(), len(wins)
    p = [1.0] * count
    for _ in range(500):
        for i in range(count):
            others = [j for j in range(count) if j != i]
            games = sum((rows[i][j] + rows[j][i]) / (p[i] + p[j]) for j in others)
            p[i] = sum(rows[i]) / games
    logs = [math.log(x) for x in p]
    return [x - sum(logs) / count for x in logs]


def scores_of_the_library(wins):
    answers = [  # halves of wins, so that "same" is a whole number of answers
        {"a": f"{i}/1", "b": f"{j}/1", "winner": "a"}
        for i in range(len(wins))
        for j in range(len(wins))
        for _ in range(round(2 * float(wins[i, j])))
    ]
    return bradley_terry(answers, prior=0).scores


def half_log_odds(wins):
    s = 0.5 * (wins.sum(1) / wins.sum(0)).log()
    return s - s.mean()


def one_iteration(wins):
    p = wins.sum(1) / ((wins + wins.T) / 2).sum(1)
    return p.log() - p.log().mean()


RIGHT = {
    checks.preference_scores: (scores, scores_by_gradient, scores_as_list, scores_of_the_library),
}
WRONG = {
    checks.preference_scores: [
        (lambda wins: -scores(wins), "needs the higher score"),
        (lambda wins: scores(wins) + 1, "subtract it"),
        (lambda wins: scores(wins).exp(), "subtract it"),
        (lambda wins: scores(wins) / math.log(10), "natural logarithms"),
        (lambda wins: scores(wins) * 400 / math.log(10), "natural logarithms"),
        (half_log_odds, "your scores say that set"),
        (one_iteration, "but it won 9 times"),
        (lambda wins: scores(wins)[0], "has shape"),
        (lambda wins: wins.sum(1) / wins.sum() - 1 / len(wins), "is off by"),
        (lambda wins: scores(wins) * math.nan, "NaN"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_answers_that_change_their_inputs_are_told():
    expect_spoilers_noticed(RIGHT)
