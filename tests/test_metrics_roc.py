"""ROC curves and their area against torchmetrics and against the definition by pairs."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, binary_roc

from course_lib.device import make_generator
from course_lib.metrics import auc, auc_interval, roc_curve


@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_and_its_area_are_those_of_torchmetrics(ties):
    generator = make_generator(0)
    labels = torch.rand(80, generator=generator) < 0.3
    scores = torch.randn(80, generator=generator) + labels
    if ties:
        scores = scores.round()
    probabilities = scores.sigmoid()  # torchmetrics takes what is outside [0, 1] for logits
    false_alarm_rate, hit_rate, thresholds = roc_curve(scores, labels)
    theirs = binary_roc(probabilities, labels.long())
    torch.testing.assert_close(false_alarm_rate.float(), theirs[0])
    torch.testing.assert_close(hit_rate.float(), theirs[1])
    torch.testing.assert_close(thresholds[1:].float().sigmoid(), theirs[2][1:])
    assert auc(scores, labels) == pytest.approx(binary_auroc(probabilities, labels.long()).item())
    pairs = scores[labels][:, None] - scores[~labels]
    assert auc(scores, labels) == pytest.approx(
        ((pairs > 0).double() + (pairs == 0) / 2).mean().item()
    )


def test_a_perfect_a_reversed_and_a_blind_detector():
    labels = torch.tensor([True, True, False, False])
    assert auc(torch.tensor([4.0, 3, 2, 1]), labels) == 1
    assert auc(torch.tensor([1.0, 2, 3, 4]), labels) == 0
    assert auc(torch.zeros(4), labels) == 0.5


def test_the_interval_has_the_width_that_theory_gives_it():
    generator = make_generator(0)
    positives = torch.randn(150, generator=generator) + 1
    negatives = torch.randn(100, generator=generator)
    labels = torch.arange(250) < 150
    found = auc_interval(positives, negatives)
    area = found["value"]
    assert area == pytest.approx(auc(torch.cat([positives, negatives]), labels))
    # Hanley and McNeil, Radiology 143(1), 1982
    both, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 149 * (both - area**2) + 99 * (other - area**2)) / (150 * 100)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * variance**0.5, rel=0.15)
    with pytest.raises(ValueError, match="positives and negatives"):
        auc_interval(positives, torch.empty(0))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2], [True], "must both have shape"),
        ([[1.0, 2]], [[True, False]], "must both have shape"),
        ([1.0, torch.nan], [True, False], "1 of the scores are NaN"),
        ([1.0, 2], [True, True], "all 2 labels are True"),
        ([], [], "needs positives and negatives"),
    ],
)
def test_what_has_no_curve_is_named(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        roc_curve(torch.tensor(scores), torch.tensor(labels))
