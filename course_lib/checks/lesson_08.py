"""Checks of lesson 08: measuring portraits."""

from __future__ import annotations

import math

import torch

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator
from course_lib.tensors import as_float64


@exercise(
    hints=(
        "Whoever won more often gets a higher score, but it matters against whom. Begin with a "
        "strength of 1 for each set, and improve all strengths again and again.",
        "A set should win as often as its strength says: the sum over j of n_ij p_i / (p_i + p_j), "
        "where n_ij = wins[i, j] + wins[j, i]. Solve that for the p_i in front.",
        "p = wins.sum(1) / (n / (p[:, None] + p)).sum(1), some hundred times; then "
        "log(p) - log(p).mean().",
    ),
    success="Every set wins as often as your scores say: the maximum of the likelihood.",
    copies=True,
)
def preference_scores(answer) -> None:
    """answer(wins): Bradley-Terry scores of mean 0 from how often set i was preferred to set j."""
    two = torch.tensor([[0.0, 12.5], [5.5, 0.0]]).double()
    given = _scores(answer, two)
    odds = math.log(12.5 / 5.5)  # a closed form for two sets
    gap = float(given[0] - given[1])
    expect(gap > 0, "set 0 won 12.5 times and set 1 5.5 times, so set 0 needs the higher score")
    expect(
        abs(gap - odds / math.log(10)) > 1e-3 and abs(gap - odds * 400 / math.log(10)) > 1,
        "the scores should be natural logarithms, since p = 1 / (1 + exp(-(s_0 - s_1)))",
    )
    expect_close(gap, odds, "with 12.5 and 5.5 wins s_0 - s_1", tol=2e-3)
    wins = torch.tensor([[0, 3, 5, 1], [5, 0, 7, 0], [15, 2, 0, 4.5], [1, 0, 7.5, 0]]).double()
    given, games = _scores(answer, wins), wins + wins.T
    # Another road than the maximisation: at the maximum each set wins as often as is expected
    expected = (games * torch.sigmoid(given[:, None] - given)).sum(dim=1)
    for i in range(4):
        won, should = float(wins[i].sum()), float(expected[i])
        expect(
            abs(won - should) < 0.02,
            f"your scores say that set {i} wins {should:.2f} times of {games[i].sum():.0f}, but it "
            f"won {won:g} times",
        )


def _scores(answer, wins: torch.Tensor) -> torch.Tensor:
    """The answer for `wins`, (K,), which must have mean 0."""
    given = answer(wins)
    expect_close(given, torch.zeros(len(wins)), "the vector of scores", tol=1e6)  # a shape, no NaN
    given = as_float64(given)
    mean = float(given.mean())
    expect(
        abs(mean) < 1e-3,
        f"the scores have the mean {mean:.3g}; only differences matter, so subtract it to give 0",
    )
    return given


@exercise(
    hints=(
        "You need the gradient of each score with respect to its own image, and it must itself be "
        "differentiable: what does torch.autograd.grad keep with create_graph=True?",
        "Each score depends on its own image only, so the gradient of the *sum* of the scores "
        "holds those of all images. Then sum squares over the pixels, average over images, halve.",
        "x = images.detach().requires_grad_(); (g,) = torch.autograd.grad(discriminator(x).sum(), "
        "x, create_graph=True); return 0.5 * g.square().flatten(1).sum(1).mean()",
    ),
    success="The value agrees with finite differences of D, and so does its gradient for training.",
    copies=True,
)
def gradient_penalty(answer) -> None:
    """answer(discriminator, images): mean over images of half the squared gradient of the score."""
    images = torch.randn(3, 2, 4, 4, generator=make_generator(0)).double()
    weights = torch.randn(32, generator=make_generator(1)).double().requires_grad_()

    def linear(x):
        return x.flatten(1) @ weights

    squares = float(weights.detach().square().sum())
    given = answer(linear, images)
    for factor, advice in (
        (1.0, "halve the squared norm"),
        (1.0 / 32, "sum the squares over the pixels of an image instead of averaging them"),
        (0.5 / 32, "sum the squares over the pixels of an image instead of averaging them"),
        (1.5, "average over the images instead of adding them up"),
        (0.5 / 9, "take the gradient of the sum of the scores: that of their mean is B times less"),
        (0.5 / squares**0.5, "square the norm"),
    ):
        close = isinstance(given, torch.Tensor) and given.numel() == 1
        close = close and abs(given.item() / (factor * squares) - 1) < 1e-4
        expect(not close, f"for D(x) = w . x the penalty is |w|^2 / 2: {advice}")
    expect_close(given, 0.5 * squares, "the penalty of D(x) = w . x")

    def curved(x):
        return torch.tanh(0.2 * x.flatten(1) @ weights) + x.flatten(1).pow(3).mean(dim=1)

    expect_close(answer(curved, images), _penalty(curved, images), "the penalty of a curved D")
    penalty = answer(curved, images)
    expect(
        isinstance(penalty, torch.Tensor) and penalty.requires_grad,
        "the penalty has no gradient, so it cannot train D: the graph must be kept",
    )
    (slope,) = torch.autograd.grad(penalty, weights, allow_unused=True)
    expect(slope is not None, "the penalty does not depend on the weights of D")
    with torch.no_grad():  # finite differences in one random direction
        direction, step = torch.randn(32, generator=make_generator(2)).double(), 1e-4
        weights += step * direction
        above = _penalty(curved, images)
        weights -= 2 * step * direction
        below = _penalty(curved, images)
        weights += step * direction
    truth = (above - below) / (2 * step)
    expect_close((slope * direction).sum(), truth, "the penalty's own gradient", tol=1e-4)


@torch.no_grad()
def _penalty(discriminator, images: torch.Tensor) -> float:
    """Half the mean squared gradient by central differences, pixel by pixel."""
    step, total = 1e-5, 0.0
    for k in range(images[0].numel()):
        move = torch.zeros(images[0].numel()).double()
        move[k] = step
        move = move.view_as(images[0])
        slope = (discriminator(images + move) - discriminator(images - move)) / (2 * step)
        total += 0.5 * float(slope.square().mean())
    return total


@exercise(
    hints=(
        "First the best mean. How far above it may another mean lie before three seeds can tell?",
        "The standard error of a mean of n values is their standard deviation (with n - 1) over "
        "sqrt(n); that of a difference of two means is the root of the sum of their squares.",
        "keep the rows with mean - best_mean <= 2 * sqrt(se**2 + best_se**2), and return the name "
        "of the one with the smallest cost",
    ),
    success="The cheapest configuration that the experiment cannot tell from the best one.",
    copies=True,
)
def choose_configuration(answer) -> None:
    """answer(rows): rows of (name, cost, kids of several seeds) -> the name to choose."""
    clear = [("a", 1.0, [9.0, 9.1, 8.9]), ("b", 2.0, [5.0, 5.1, 4.9]), ("c", 3.0, [4.0, 4.1, 3.9])]
    noisy = [("a", 1.0, [6.0, 9.0, 3.0]), ("b", 2.0, [5.0, 5.2, 4.8]), ("c", 3.0, [4.0, 4.4, 3.6])]
    both = [("a", 1.0, [5.2, 5.4, 5.3]), ("b", 2.0, [4.0, 6.0, 2.0])]
    # They lie 0.15 apart; twice the standard error is 0.163 with n - 1, and 0.133 with n
    edge = [("a", 1.0, [4.15, 4.25, 4.05]), ("b", 2.0, [4.0, 4.1, 3.9])]
    many = [("a", 1.0, [4.2, 4.0, 4.4, 4.0, 4.4, 4.2]), ("b", 2.0, [4.0, 3.9, 4.1, 3.9, 4.1, 4.0])]
    for rows, truth, what in (
        (clear, "c", "differences far larger than the spread"),
        (noisy, "a", "the cheapest spreads so far that it may be as good as the best"),
        (noisy[::-1], "a", "the same rows in another order"),
        (both, "a", "the spread of the best counts, too"),
        (edge, "a", "means 0.15 apart; the spread of three values has n - 1 in it"),
        (many, "b", "six seeds, means 0.2 apart"),
    ):
        given = answer([(name, cost, list(kids)) for name, cost, kids in rows])
        expect(given == truth, f"{what}: the answer is {truth!r}, not {given!r}")


@exercise(
    hints=(
        "First the kernel between all rows: kernel(a, b) = (a @ b.T / F + 1) ** 3, where F is the "
        "number of columns. Which of its entries pair a picture with itself?",
        "Within a set, leave out the diagonal: n rows have n (n - 1) ordered pairs of different "
        "ones. Between the sets every pair counts.",
        "within = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)); return "
        "within(kernel(x, x)) + within(kernel(y, y)) - 2 * kernel(x, y).mean()",
    ),
    success="The unbiased estimate: 0 on average where nothing differs.",
    copies=True,
)
def kernel_distance(answer) -> None:
    """answer(x, y): KID of features (N, F) and (M, F)."""
    for sizes in ((7, 5), (4, 4)):
        noise = torch.randn(sum(sizes), 3, generator=make_generator(sum(sizes))).double()
        x, y = noise.split(sizes)
        y = y + 0.5
        given = answer(x, y)
        # Another road: the kernel is the product of all monomials up to the third degree
        px, py = (_monomials(s) for s in (x, y))
        own = [(p.sum(0).square().sum() - p.square().sum()) for p in (px, py)]
        pairs = [n * (n - 1) for n in sizes]
        within = own[0] / pairs[0] + own[1] / pairs[1]
        across = px.mean(0) @ py.mean(0)
        truth = within - 2 * across
        biased = px.mean(0).square().sum() + py.mean(0).square().sum() - 2 * across
        too_few = own[0] / sizes[0] ** 2 + own[1] / sizes[1] ** 2 - 2 * across
        mistakes = (
            (biased, "leave out the pairs of a picture with itself, the diagonal"),
            (too_few, "without the diagonal there are n (n - 1) pairs in a set, not n * n"),
            (within - across, "the term between the sets counts twice"),
            (within + 2 * across, "the term between the sets is subtracted"),
        )
        what = f"KID of {sizes[0]} and {sizes[1]} pictures"
        expect_close(given, truth, what, tol=1e9)  # one number, no NaN
        for value, advice in mistakes:
            expect(abs(float(given) - value) > 1e-5, advice)
        expect_close(given, truth, what)


def _monomials(x: torch.Tensor) -> torch.Tensor:
    """(N, F) -> (N, (F + 1)^3), so that products of rows are (a . b / F + 1)^3."""
    z = torch.cat([x / x.shape[1] ** 0.5, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    return torch.einsum("ni,nj,nk->nijk", z, z, z).flatten(1)


@exercise(
    hints=(
        "First the radius of each ball: the distance of a picture to its k-th nearest neighbour in "
        "its own set. torch.cdist gives all distances.",
        "A picture's nearest neighbour in its own set is itself, at distance 0; it does not count. "
        "Precision asks about generated pictures in real balls, recall about real pictures in "
        "generated balls.",
        "radius = torch.cdist(a, a).sort(dim=1).values[:, k]; "
        "(torch.cdist(a, b) <= radius[:, None]).any(dim=0).double().mean()",
    ),
    success="Plausible, and complete: two numbers that fail in different ways.",
    copies=True,
)
def precision_and_recall(answer) -> None:
    """answer(real, generated, k): the pair of precision and recall."""
    for seed, sizes, k in ((0, (14, 9), 2), (1, (8, 12), 1), (2, (10, 10), 3)):
        noise = torch.randn(sum(sizes), 2, generator=make_generator(seed)).double()
        real, generated = noise.split(sizes)
        generated = 0.6 * generated + 0.8
        given = answer(real, generated, k)
        expect(
            getattr(given, "shape", None) == (2,)
            or (isinstance(given, tuple | list) and len(given) == 2),
            f"the answer should be a pair (precision, recall), not {given!r}",
        )
        truth = _share_inside(real, generated, k), _share_inside(generated, real, k)
        pair = [float(as_float64(one).reshape(-1)[0]) for one in given]
        mistakes = (
            (truth[::-1], "precision comes first, then recall"),
            ((_share_reached(generated, real, k), _share_reached(real, generated, k)),
             "precision asks about generated points in *real* balls, recall the other way round"),
            ((_share_inside(real, generated, k - 1), _share_inside(generated, real, k - 1)),
             "no picture is its own neighbour, so skip the distance 0"),
            ((_share_inside(real, generated, k + 1), _share_inside(generated, real, k + 1)),
             "the radius reaches to the k-th neighbour, not one further"),
        )  # fmt: skip
        for values, advice in mistakes:
            same = max(abs(a - b) for a, b in zip(pair, values, strict=True)) < 1e-6
            expect(not same or values == truth, advice)
        for name, value, wanted in zip(("precision", "recall"), given, truth, strict=True):
            expect_close(value, wanted, f"{name} of {sizes[0]} real, {sizes[1]} generated, k = {k}")


def _radii(points: torch.Tensor, k: int) -> list[float]:
    """Distance of each point to its k-th nearest other one; 0 for k = 0."""
    rows = [sorted(float((a - b).norm()) for b in points) for a in points]
    return [row[k] for row in rows]


def _share_inside(centres: torch.Tensor, points: torch.Tensor, k: int) -> float:
    """The share of points that lie in a ball of the centres."""
    balls = list(zip(centres, _radii(centres, k), strict=True))
    return sum(any((c - p).norm() <= r for c, r in balls) for p in points) / len(points)


def _share_reached(centres: torch.Tensor, points: torch.Tensor, k: int) -> float:
    """The share of balls around the centres that hold a point."""
    balls = list(zip(centres, _radii(centres, k), strict=True))
    return sum(any((c - p).norm() <= r for p in points) for c, r in balls) / len(centres)
