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


def kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def kid(x, y):
    def within(k):
        return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))

    return within(kernel(x, x)) + within(kernel(y, y)) - 2 * kernel(x, y).mean()


def kid_by_loops(x, y):
    def mean(pairs):
        values = [(float(a @ b) / len(a) + 1) ** 3 for a, b in pairs]
        return sum(values) / len(values)

    own = (mean([(a, b) for i, a in enumerate(s) for b in s[:i]]) for s in (x, y))
    return sum(own) - 2 * mean([(a, b) for a in x for b in y])


def kid_of_torchmetrics(x, y):
    k = [kernel(a, b).mul_(1) for a, b in ((x, x), (y, y), (x, y))]
    for own in k[:2]:
        own.fill_diagonal_(0)
    n, m = len(x), len(y)
    return k[0].sum() / n / (n - 1) + k[1].sum() / m / (m - 1) - 2 * k[2].sum() / n / m


def kid_biased(x, y):
    return kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()


def kid_over_all_places(x, y):
    own = [kernel(s, s).fill_diagonal_(0).mean() for s in (x, y)]
    return sum(own) - 2 * kernel(x, y).mean()


def kid_without_two(x, y):
    return kid(x, y) + kernel(x, y).mean()


def kid_added(x, y):
    return kid(x, y) + 4 * kernel(x, y).mean()


def kid_of_other_kernel(x, y, power=2, width=None):
    z = torch.cat([x, y])
    scaled = (z @ z.T / (width or z.shape[1]) + 1) ** power
    n, m = len(x), len(y)
    a, b = scaled[:n, :n].fill_diagonal_(0), scaled[n:, n:].fill_diagonal_(0)
    return a.sum() / n / (n - 1) + b.sum() / m / (m - 1) - 2 * scaled[:n, n:].mean()


def share(centres, points, k):
    radius = torch.cdist(centres, centres).sort(dim=1).values[:, k]
    return (torch.cdist(centres, points) <= radius[:, None]).any(dim=0).double().mean()


def both(real, generated, k):
    return share(real, generated, k), share(generated, real, k)


def both_by_topk(real, generated, k):
    def inside(centres, points):
        own = torch.cdist(centres, centres).fill_diagonal_(torch.inf)
        radius = own.topk(k, largest=False).values[:, -1]
        return float((torch.cdist(points, centres) < radius).any(dim=1).float().mean())

    return [inside(real, generated), inside(generated, real)]


def both_by_loops(real, generated, k):
    def inside(centres, points):
        hits = 0
        for p in points:
            for i, c in enumerate(centres):
                others = [float((c - o).norm()) for j, o in enumerate(centres) if j != i]
                if (c - p).norm() <= sorted(others)[k - 1]:
                    hits += 1
                    break
        return hits / len(points)

    return torch.tensor([inside(real, generated), inside(generated, real)])


def reached(centres, points, k):
    radius = torch.cdist(centres, centres).sort(dim=1).values[:, k]
    return (torch.cdist(centres, points) <= radius[:, None]).any(dim=1).double().mean()


RIGHT = {
    checks.kernel_distance: (kid, kid_by_loops, kid_of_torchmetrics),
    checks.precision_and_recall: (both, both_by_topk, both_by_loops),
    checks.preference_scores: (scores, scores_by_gradient, scores_as_list, scores_of_the_library),
    checks.gradient_penalty: (penalty, penalty_image_by_image, penalty_with_ones),
    checks.choose_configuration: (choose, choose_with_tensors, choose_by_sorting),
}
WRONG = {
    checks.kernel_distance: [
        (kid_biased, "the diagonal"),
        (kid_over_all_places, "n (n - 1) pairs"),
        (kid_without_two, "counts twice"),
        (kid_added, "subtracted"),
        (kid_of_other_kernel, "KID of 7 and 5 pictures is off"),
        (lambda x, y: kid_of_other_kernel(x, y, 3, 1), "KID of 7 and 5 pictures is off"),
        (lambda x, y: kid(x, y).sqrt(), "KID of 7 and 5 pictures is off"),
        (lambda x, y: kernel(x, y), "has shape"),
    ],
    checks.precision_and_recall: [
        (lambda r, g, k: both(r, g, k)[::-1], "precision comes first"),
        (lambda r, g, k: (reached(g, r, k), reached(r, g, k)), "in *real* balls"),
        (lambda r, g, k: both(r, g, k - 1), "no picture is its own neighbour"),
        (lambda r, g, k: both(r, g, k + 1), "not one further"),
        (lambda r, g, k: share(r, g, k), "a pair"),
        (lambda r, g, k: (share(r, g, k) * len(g), share(g, r, k) * len(r)), "precision of 14"),
        (lambda r, g, k: (share(r, g, k), share(r, g, k)), "recall of 14"),
    ],
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
