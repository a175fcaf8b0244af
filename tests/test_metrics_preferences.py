"""Bradley-Terry scores: closed forms, a direct maximum of the likelihood, coverage, bad input."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.device import make_generator
from course_lib.metrics import bradley_terry, count_wins


def answers_from(counts):
    """{("x", "y"): (wins of x, same, wins of y)} -> answers."""
    return [
        {"a": f"{x}/{k}.png", "b": f"{y}/{k}.png", "winner": winner}
        for (x, y), numbers in counts.items()
        for winner, number in zip(("a", "same", "b"), numbers, strict=True)
        for k in range(number)
    ]


def simulated(strengths, count, seed):
    """Answers of a viewer who follows the model exactly, about random pairs."""
    g, names = make_generator(seed), list(strengths)
    rows = []
    for u in torch.rand(count, generator=g).tolist():
        i, j = torch.randperm(len(names), generator=g)[:2].tolist()
        p = 1 / (1 + math.exp(strengths[names[j]] - strengths[names[i]]))
        rows.append(
            {"a": f"{names[i]}/1", "b": f"{names[j]}/1", "winner": "a" if u < p else "b"}
        )  # fmt: skip
    return rows


def test_two_sets_have_a_closed_form():
    found = bradley_terry(answers_from({("x", "y"): (12, 2, 6)}), prior=0)
    # "Same" is half a win each: 13 against 7
    torch.testing.assert_close(float(found.scores[0] - found.scores[1]), math.log(13 / 7))
    torch.testing.assert_close(
        found.win_probabilities(), torch.tensor([[10, 13], [7, 10.0]]).double() / 20
    )
    # The variance of log odds from 13 and 7 is 1 / 13 + 1 / 7
    half = 1.959964 * math.sqrt(1 / 13 + 1 / 7)
    low, high = (1 / (1 + math.exp(-math.log(13 / 7) - sign * half)) for sign in (-1, 1))
    expected = {"value": 13 / 20, "low": low, "high": high}
    assert found.preference("x", "y") == pytest.approx(expected)
    assert found.preference("y", "x")["low"] == pytest.approx(1 - high)
    # With a prior of 2, one win more for each
    prior = bradley_terry(answers_from({("x", "y"): (12, 2, 6)}), prior=2)
    torch.testing.assert_close(float(prior.scores[0] - prior.scores[1]), math.log(14 / 8))


def test_the_maximum_is_that_of_the_likelihood():
    counts = {
        ("x", "y"): (7, 3, 2),
        ("y", "z"): (1, 0, 9),
        ("x", "z"): (4, 1, 5),
        ("w", "z"): (1, 2, 1),
    }
    found = bradley_terry(answers_from(counts), prior=0.5)
    names, wins = count_wins(answers_from(counts))
    prior = 0.25 * (wins + wins.T > 0)
    assert found.names == names == ("w", "x", "y", "z")

    def loss(scores):
        gap = scores[:, None] - scores
        return -((wins + prior) * torch.nn.functional.logsigmoid(gap)).sum()

    # The likelihood is concave, so its maximum is where the gradient vanishes
    gradient = torch.autograd.functional.jacobian(loss, found.scores)
    assert gradient.abs().max() < 1e-9 and found.scores.mean().abs() < 1e-12
    hessian = torch.autograd.functional.hessian(loss, found.scores)
    torch.testing.assert_close(found.covariance, torch.linalg.pinv(hessian), atol=1e-8, rtol=0)


def test_known_strengths_are_recovered_and_intervals_cover_them():
    strengths = {"a": 1.0, "b": 0.2, "c": -0.1, "d": -1.1}  # mean 0
    many = bradley_terry(simulated(strengths, 4000, 0)).intervals()
    for name, truth in strengths.items():
        assert many[name]["value"] == pytest.approx(truth, abs=0.15)
    covered, widths = [], []
    for seed in range(150):
        for name, row in bradley_terry(simulated(strengths, 80, seed)).intervals().items():
            covered.append(row["low"] <= strengths[name] <= row["high"])
            widths.append(row["high"] - row["low"])
    # 95 % of 600 intervals, of which the four of one run depend on each other
    assert 0.92 <= sum(covered) / len(covered) <= 0.985
    assert 0.8 < sum(widths) / len(widths) < 1.6


def test_order_and_left_or_right_do_not_matter():
    answers = simulated({"a": 0.5, "b": 0.0, "c": -0.5}, 60, 3)
    turned = [
        {"a": one["b"], "b": one["a"], "winner": {"a": "b", "b": "a"}[one["winner"]], "left": "b"}
        for one in reversed(answers)
    ]
    torch.testing.assert_close(bradley_terry(turned).scores, bradley_terry(answers).scores)


def test_only_same_gives_equal_scores():
    found = bradley_terry(answers_from({("x", "y"): (0, 9, 0), ("y", "z"): (0, 3, 0)}))
    assert found.scores.abs().max() < 1e-9
    assert "x" in str(found) and "+0.00" in str(found)


def test_an_unbeaten_set_has_a_finite_score_thanks_to_the_prior():
    answers = answers_from(
        {("best", "x"): (500, 0, 0), ("x", "y"): (5, 0, 5), ("best", "y"): (3, 0, 0)}
    )
    found = bradley_terry(answers)
    assert torch.isfinite(found.scores).all() and found.scores.argmax() == 0
    assert found.preference("best", "x")["high"] < 1
    with pytest.raises(ValueError, match=r"never lost to the rest: best\. Take prior=1"):
        bradley_terry(answers, prior=0)
    # Two pairs that win and lose among themselves, but one pair always beats the other
    split = {("a", "b"): (2, 0, 2), ("c", "d"): (2, 0, 2), ("a", "c"): (4, 0, 0)}
    with pytest.raises(ValueError, match="no maximum"):
        bradley_terry(answers_from(split), prior=0)
    assert torch.isfinite(bradley_terry(answers_from(split)).scores).all()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "no answers yet"),
        ([{"a": "x/1", "b": "x/2", "winner": "a"}], "both of the set 'x'"),
        ([{"a": "x/1", "winner": "a"}], "Answer 1 must have the entries a, b and winner"),
        ([{"a": "x/1", "b": "y/1", "winner": "x"}], "'x'; allowed are a, same, b"),
        (
            answers_from({("a", "b"): (3, 0, 1), ("c", "d"): (1, 1, 1)}),
            "connects the sets a, b with the sets c, d",
        ),
    ],
)
def test_bad_answers_are_named(answers, message):
    with pytest.raises(ValueError, match=message):
        bradley_terry(answers)


def test_a_wrong_prior_or_set_is_named():
    answers = answers_from({("x", "y"): (3, 0, 1)})
    with pytest.raises(ValueError, match="prior"):
        bradley_terry(answers, prior=-1)
    with pytest.raises(ValueError, match="set"):
        bradley_terry(answers).preference("x", "z")
