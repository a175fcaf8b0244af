"""Detectors: hit rate against false-alarm rate at each threshold, and the area under the curve."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.metrics.intervals import Estimate, bootstrap
from course_lib.tensors import as_float64


def roc_curve(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """False-alarm rate and hit rate of "score >= threshold", for every threshold that matters.

    Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27(8), 2006.

    Parameters
    ----------
    scores : Tensor
        (N,), higher where the detector is surer. Equal scores share one threshold.
    labels : Tensor
        (N,) bool, true for what should be detected. Both kinds must occur.

    Returns
    -------
    false_alarm_rate, hit_rate, thresholds : Tensor
        (K + 1,) float64 each for K different scores. They begin at (0, 0) with threshold infinity
        and end at (1, 1).

    Raises
    ------
    ValueError
        If the shapes differ, a score is NaN, or one of the two kinds is missing.
    """
    scores, labels = _checked(scores, labels)
    order = scores.argsort(descending=True)
    scores, labels = scores[order], labels[order]
    last = torch.cat([scores.diff() != 0, torch.tensor([True])])  # of each run of equal scores
    hits, alarms = labels.cumsum(0)[last].double(), (~labels).cumsum(0)[last].double()
    zero, infinity = torch.zeros(1, dtype=torch.float64), torch.full((1,), torch.inf).double()
    return (
        torch.cat([zero, alarms / alarms[-1]]),
        torch.cat([zero, hits / hits[-1]]),
        torch.cat([infinity, scores[last]]),
    )


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    Parameters and errors as for `roc_curve`.
    """
    false_alarm_rate, hit_rate, _ = roc_curve(scores, labels)
    return torch.trapezoid(hit_rate, false_alarm_rate).item()


def auc_interval(positives: Tensor, negatives: Tensor) -> Estimate:
    """`auc` from the scores of either kind, (N,) and (M,), with a 95 % interval.

    The interval is a bootstrap over both kinds. Where all positives score above all negatives it
    has no width, however few they are.

    Raises
    ------
    ValueError
        As for `roc_curve`.
    """
    positives, negatives = as_float64(positives), as_float64(negatives)
    _checked(
        torch.cat([positives, negatives]),
        torch.arange(len(positives) + len(negatives)) < len(positives),
    )
    gap = positives[:, None] - negatives
    wins = (gap > 0).double() + (gap == 0).double() / 2  # (N, M)

    def area(positive: Tensor, negative: Tensor) -> Tensor:
        """Weights (R, N) and (R, M) -> (R,)."""
        total = ((positive @ wins) * negative).sum(dim=1)
        return total / (positive.sum(dim=1) * negative.sum(dim=1))

    return bootstrap(area, len(positives), len(negatives))


def _checked(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    scores, labels = as_float64(scores), torch.as_tensor(labels).cpu().bool()
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"scores and labels must both have shape (N,), not {tuple(scores.shape)} and "
            f"{tuple(labels.shape)}."
        )
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().sum())} of the scores are NaN; leave them out.")
    if labels.all() or not labels.any():
        raise ValueError(
            "a ROC curve needs positives and negatives; here all "
            f"{labels.numel()} labels are {bool(labels.any())}."
        )
    return scores, labels
