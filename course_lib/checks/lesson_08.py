"""Checks of lesson 08: measuring portraits."""

from __future__ import annotations

import math

import torch

from course_lib.checks import exercise, expect, expect_close
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
