r"""Scores from comparisons of two pictures at a time: the Bradley-Terry model.

Every set of pictures i has a score :math:`s_i`, and a viewer prefers a picture of set i to one of
set j with the probability :math:`\sigma(s_i - s_j) = 1 / (1 + e^{-(s_i - s_j)})`. Bradley and
Terry, Biometrika 39(3/4), 1952; the model of chess ratings, too.

An answer is a mapping with the entries of `course_lib.widgets.PictureComparison`: ``a`` and ``b``
name the two pictures in the form ``"set/file"``, ``winner`` is ``"a"``, ``"b"`` or ``"same"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.errors import check_choice, check_number
from course_lib.metrics.intervals import Estimate, Z

_WINS = {"a": 1.0, "same": 0.5, "b": 0.0}  # what an answer gives to the set of picture a
_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class PreferenceScores:
    """What `bradley_terry` found.

    Attributes
    ----------
    names : tuple of str
        The sets of pictures, in alphabetical order.
    wins : Tensor, shape (K, K)
        How often a picture of set i was preferred to one of set j; "same" counts half for each.
    scores : Tensor, shape (K,)
        Natural logarithms of odds, with mean 0.
    covariance : Tensor, shape (K, K)
        Of the scores: the inverse of the observed information.
    """

    names: tuple[str, ...]
    wins: Tensor
    scores: Tensor
    covariance: Tensor

    def intervals(self) -> dict[str, Estimate]:
        """Each set's score with its 95 % interval; both are relative to the mean of the sets."""
        half = Z * self.covariance.diagonal().sqrt()
        rows = torch.stack([self.scores, self.scores - half, self.scores + half], dim=1)
        keys = ("value", "low", "high")
        return {
            name: dict(zip(keys, row, strict=True))
            for name, row in zip(self.names, rows.tolist(), strict=True)
        }

    def win_probabilities(self) -> Tensor:
        """How probably set i is preferred to set j, (K, K); 0.5 on the diagonal."""
        return torch.sigmoid(self.scores[:, None] - self.scores)

    def preference(self, a: str, b: str) -> Estimate:
        """How probably set a is preferred to set b, with its 95 % interval, within [0, 1]."""
        i, j = (self.names.index(check_choice("set", name, self.names)) for name in (a, b))
        c = self.covariance
        half = Z * (c[i, i] + c[j, j] - 2 * c[i, j]).clamp(min=0).sqrt()
        middle = self.scores[i] - self.scores[j]
        value, low, high = torch.stack([middle, middle - half, middle + half]).sigmoid().tolist()
        return {"value": value, "low": low, "high": high}

    def __str__(self) -> str:
        wide = max(len(name) for name in self.names)
        lines = []
        for name, row in sorted(self.intervals().items(), key=lambda item: -item[1]["value"]):
            score = f"{row['value']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
            lines.append(f"{name:{wide}s}  {score}")
        return "\n".join(lines)


def count_wins(answers: Iterable[Mapping]) -> tuple[tuple[str, ...], Tensor]:
    """The sets' names, in alphabetical order, and the `wins` of `PreferenceScores`.

    Raises
    ------
    ValueError
        If there are no answers, one lacks an entry or has an unknown winner, or its pictures
        belong to one set.
    """
    rows = [_row(number, answer) for number, answer in enumerate(answers, start=1)]
    if not rows:
        raise ValueError("There are no answers yet; compare some pictures first.")
    names = tuple(sorted({name for a, b, _ in rows for name in (a, b)}))
    wins = torch.zeros(len(names), len(names), dtype=torch.float64)
    for a, b, won in rows:
        i, j = names.index(a), names.index(b)
        wins[i, j] += won
        wins[j, i] += 1 - won
    return names, wins


def _row(number: int, answer: Mapping) -> tuple[str, str, float]:
    """The sets of an answer's pictures, and what it gives to the first."""
    try:
        a, b, winner = (str(answer[key]) for key in ("a", "b", "winner"))
    except (KeyError, TypeError):
        raise ValueError(
            f"Answer {number} must have the entries a, b and winner, but is {answer!r}."
        ) from None
    if winner not in _WINS:
        raise ValueError(
            f"The winner of answer {number} is {winner!r}; allowed are {', '.join(_WINS)}."
        )
    first, second = (name.split("/", 1)[0] for name in (a, b))
    if first == second:
        raise ValueError(
            f"Answer {number} compares {a!r} with {b!r}, both of the set {first!r}. Scores need "
            "pictures of two sets, named 'set/file'."
        )
    return first, second, _WINS[winner]


def bradley_terry(answers: Iterable[Mapping], *, prior: float = 1.0) -> PreferenceScores:
    """Scores of sets of pictures by maximum likelihood, from comparisons of two pictures.

    "Same" counts as half a win for each. Intervals come from the curvature of the log-likelihood
    at its maximum, so they take answers as independent: many answers to one pair of pictures, or
    of one viewer, tell less than the interval says. With many "same" they are too wide.

    Parameters
    ----------
    answers : iterable of mappings
        See the module's docstring.
    prior : float
        Imaginary "same" answers, so many for each pair of sets that was compared. They keep the
        score of an unbeaten set finite, and draw scores together a little. 0 gives the plain
        maximum of the likelihood.

    Raises
    ------
    ValueError
        As `count_wins`; if some sets were never compared with the others, not even by way of a
        third; or if `prior` is 0 and the likelihood has no maximum, since a set won or lost always.
    """
    prior = check_number("prior", prior, low=0, high=1000)
    names, wins = count_wins(answers)
    compared = wins + wins.T > 0
    _check_connected(names, compared)
    smoothed = wins + prior / 2 * compared
    if not (_reachable(smoothed > 0)).all():
        always = [n for n, w, lost in zip(names, wins.sum(1), wins.sum(0), strict=True) if not lost]
        raise ValueError(
            "With prior=0 the likelihood has no maximum, because some sets never lost to the rest"
            f"{': ' + ', '.join(always) if always else ''}. Take prior=1, or more answers."
        )
    scores, covariance = _maximum(smoothed)
    return PreferenceScores(names, wins, scores, covariance)


def _maximum(wins: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of mean 0 at the maximum of the log-likelihood, and their covariance."""
    count = len(wins)
    # The likelihood does not change if all scores grow alike; this fixes their mean at 0
    fix = torch.full((count, count), 1 / count, dtype=torch.float64)
    scores, games = torch.zeros(count, dtype=torch.float64), wins + wins.T
    for _ in range(_ITERATIONS):
        p = torch.sigmoid(scores[:, None] - scores)
        gradient = (wins - games * p).sum(dim=1)
        curvature = games * p * p.T
        information = curvature.sum(dim=1).diag() - curvature
        step = torch.linalg.solve(information + fix, gradient)
        # Newton's step overshoots where a set won nearly always
        scores = scores + step / step.abs().max().clamp(min=1)
        if step.abs().max() < 1e-10:
            break
    return scores, torch.linalg.inv(information + fix) - fix


def _reachable(edges: Tensor) -> Tensor:
    """Whether a path along the edges (K, K), bool, leads from set i to set j."""
    steps = (edges | torch.eye(len(edges), dtype=torch.bool)).double()
    for _ in range(len(edges)):
        steps = ((steps @ steps) > 0).double()
    return steps > 0


def _check_connected(names: Sequence[str], compared: Tensor) -> None:
    reached = _reachable(compared)[0]
    if not reached.all():
        groups = (
            ", ".join(n for n, inside in zip(names, reached.tolist(), strict=True) if inside is one)
            for one in (True, False)
        )
        raise ValueError(
            "No answer connects the sets {} with the sets {}, so their scores have no common "
            "scale. Compare a picture of each.".format(*groups)
        )
