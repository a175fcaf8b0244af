"""Lesson 08's checkers accept right answers however they are written, and name the mistakes."""

from __future__ import annotations

import math
import statistics

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


def penalty(discriminator, images):
    x = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


def penalty_image_by_image(discriminator, images):
    total = 0.0
    for image in images:
        x = image[None].clone().requires_grad_()
        score = discriminator(x)[0]
        gradient = torch.autograd.grad(score, x, create_graph=True)[0]
        total = total + gradient.pow(2).sum() / (2 * len(images))
    return total


def penalty_with_ones(discriminator, images):
    images.requires_grad_()
    scores = discriminator(images)
    ones = torch.ones_like(scores)
    gradient = torch.autograd.grad(scores, images, ones, create_graph=True, retain_graph=True)[0]
    return gradient.flatten(1).norm(dim=1).square().mean() / 2


def penalty_without_graph(discriminator, images):
    x = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


def penalty_of_the_mean(discriminator, images):
    return penalty(lambda x: discriminator(x) / len(x), images)


def choose(rows, factor=2.0, spread=statistics.stdev, root=True):
    def mean_and_error(kids):
        return statistics.mean(kids), spread(kids) / (len(kids) ** 0.5 if root else 1)

    best, error = min(mean_and_error(kids) for _, _, kids in rows)
    good = []
    for name, cost, kids in rows:
        mean, own = mean_and_error(kids)
        if mean - best <= factor * (own**2 + error**2) ** 0.5:
            good.append((cost, name))
    return min(good)[1]


def choose_with_tensors(rows):
    kids = torch.tensor([row[2] for row in rows]).double()
    error, mean = kids.std(dim=1) / kids.shape[1] ** 0.5, kids.mean(dim=1)
    best = mean.argmin()
    good = (mean - mean[best]) <= 2 * (error.square() + error[best].square()).sqrt()
    cost = torch.tensor([row[1] for row in rows]).where(good, torch.inf)
    return rows[int(cost.argmin())][0]


def choose_by_sorting(rows):
    rows.sort(key=lambda row: row[1])
    variance = {name: statistics.variance(kids) / len(kids) for name, _, kids in rows}
    best = min(rows, key=lambda row: statistics.fmean(row[2]))
    for name, _, kids in rows:
        gap = statistics.fmean(kids) - statistics.fmean(best[2])
        if gap**2 <= 4 * (variance[name] + variance[best[0]]):
            return name
    return best[0]


def choose_without_the_spread_of_the_best(rows):
    best = min(statistics.mean(kids) for _, _, kids in rows)
    good = [
        (cost, name)
        for name, cost, kids in rows
        if statistics.mean(kids) - best <= 2 * statistics.stdev(kids) / len(kids) ** 0.5
    ]
    return min(good, default=(0, "nothing"))[1]


RIGHT = {
    checks.preference_scores: (scores, scores_by_gradient, scores_as_list, scores_of_the_library),
    checks.gradient_penalty: (penalty, penalty_image_by_image, penalty_with_ones),
    checks.choose_configuration: (choose, choose_with_tensors, choose_by_sorting),
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
    checks.gradient_penalty: [
        (lambda d, x: 2 * penalty(d, x), "halve"),
        (lambda d, x: penalty(d, x) / 16, "instead of averaging"),
        (lambda d, x: 3 * penalty(d, x), "instead of adding"),
        (penalty_of_the_mean, "the sum of the scores"),
        (lambda d, x: (penalty(d, x) / 2).sqrt(), "square the norm"),
        (penalty_without_graph, "the graph must be kept"),
        (lambda d, x: penalty(d, x) + 1, "the penalty of D(x) = w . x"),
        (lambda d, x: penalty(d, torch.zeros_like(x)), "of a curved D"),
        (lambda d, x: d(x).mean(), "the penalty of"),
    ],
    checks.choose_configuration: [
        (lambda rows: min(rows, key=lambda row: row[1])[0], "differences far larger"),
        (lambda rows: min(rows, key=lambda row: statistics.mean(row[2]))[0], "the cheapest"),
        (lambda rows: min(rows, key=lambda row: min(row[2]))[0], "the best counts"),
        (lambda rows: choose(rows, spread=statistics.pstdev), "n - 1"),
        (lambda rows: choose(rows, root=False), "six seeds"),
        (lambda rows: choose(rows, factor=1.0), "may be as good"),
        (choose_without_the_spread_of_the_best, "'a', not"),
        (lambda rows: rows[0][0], "differences far larger"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_answers_that_change_their_inputs_are_told():
    expect_spoilers_noticed(RIGHT)
