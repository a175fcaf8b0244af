"""Checks of lesson 09, section 3: how far a share is amplified, and weights that balance data."""

from __future__ import annotations

import torch

from course_lib.checks import exercise, expect, expect_close
from course_lib.checks.watched import AnswerError
from course_lib.metrics.intervals import Z
from course_lib.tensors import as_float64


@exercise(
    hints=(
        "First the share of the generated portraits with its interval, then turn shares into odds. "
        "The training share is known, so only one number is uncertain.",
        "Odds grow with the share, so the ends of the interval of the share become the ends of the "
        "interval of the odds. cl.metrics.proportion gives Wilson's interval of a share.",
        "p = cl.metrics.proportion(torch.arange(total) < hits); then "
        "[p[k] / (1 - p[k]) * (1 - share) / share for k in ('value', 'low', 'high')]",
    ),
    success="The ratio of the odds, and the ends solve Wilson's equation.",
)
def amplification(answer) -> None:
    """answer(hits, total, share): odds of hits of total over those of share, and its interval."""
    for hits, total, share in ((60, 100, 0.5), (97, 100, 0.9), (3, 60, 0.2)):
        given = answer(hits, total, share)
        expect(
            isinstance(given, (tuple, list, torch.Tensor)) and len(given) == 3,
            "return three numbers: the ratio, and the low and the high end of its interval",
        )
        ratio, low, high = (float(as_float64(x)) for x in given)
        p, odds, what = hits / total, share / (1 - share), f"of {hits} in {total} against {share:g}"
        expect(abs(ratio - p / share) > 1e-3, "divide the odds p / (1 - p), not the shares")
        expect(
            abs(ratio - odds * (1 - p) / p) > 1e-3,
            "the odds of the generated portraits come on top, those of the data below",
        )
        expect(abs(ratio - p / (1 - p)) > 1e-3 or odds == 1, "divide by the odds of the data, too")
        expect_close(ratio, p / (1 - p) / odds, f"the ratio {what}", tol=1e-4)
        expect(low < ratio < high, f"the ratio {what} lies outside of its interval")
        for end in (low, high):
            # Another road than Wilson's formula: the end's share q is where p is just 1.96
            # standard deviations of q away
            q = end * odds / (1 + end * odds)
            away = abs(p - q) / (q * (1 - q) / total) ** 0.5 if 0 < q < 1 else 0.0
            expect(
                abs(away - Z) < 2e-2,
                f"the end {end:.3g} of the interval {what} stands for a share of {q:.3f}, from "
                f"which {p:.2f} is {away:.2f} standard deviations away instead of 1.96",
            )


@exercise(
    hints=(
        "All portraits of a class have the same weight. What must the weights of a class add up "
        "to?",
        "The wanted share of a class is spread over its portraits. And of which class can there be "
        "no portrait, whatever the weights?",
        "counts = torch.bincount(labels, minlength=len(wanted)); raise ValueError if "
        "((counts == 0) & (wanted > 0)).any(); return (wanted / counts)[labels]",
    ),
    success="Each class is drawn as often as wanted, and a class without portraits is an error.",
    copies=True,
)
def balancing_weights(answer) -> None:
    """answer(labels, wanted): chances of drawing each portrait so that classes come as wanted."""
    uneven = torch.tensor([0, 0, 1, 0, 2, 0, 0, 1, 0, 0])
    for labels, wanted in (
        (uneven, torch.tensor([0.5, 0.3, 0.2]).double()),
        (uneven, torch.tensor([1.0, 0.0, 0.0]).double()),
        (torch.tensor([1, 1, 1, 0]), torch.tensor([0.5, 0.5, 0.0]).double()),
    ):
        given = answer(labels, wanted)
        expect_close(given, torch.zeros(len(labels)), "the vector of weights", tol=1e6)
        given = as_float64(given)
        drawn = torch.stack([given[labels == i].sum() for i in range(3)])
        expect(bool((given >= 0).all()), "a weight is negative")
        expect(
            abs(float(given.sum()) - 1) < 1e-4,
            f"the weights add up to {float(given.sum()):.3g} instead of 1",
        )
        for i in range(3):
            expect(
                abs(float(drawn[i] - wanted[i])) < 1e-4,
                f"class {i} is drawn with {float(drawn[i]):.3f}; wanted is {float(wanted[i]):.3f}",
            )
            spread = given[labels == i]
            expect(
                spread.numel() == 0 or float(spread.max() - spread.min()) < 1e-6,
                f"portraits of class {i} have different weights",
            )
    try:
        answer(torch.tensor([0, 0, 2]), torch.tensor([0.4, 0.3, 0.3]).double())
    except AnswerError as error:
        expect(
            isinstance(error.__cause__, ValueError),
            f"class 1 has no portrait but is wanted: raise a ValueError, not {error.__cause__!r}",
        )
    else:
        expect(False, "class 1 has no portrait but is wanted, so raise a ValueError")
