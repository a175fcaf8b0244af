"""The linear probe: its closed form against a general solver, and what it can read."""

from __future__ import annotations

import pytest
import torch

from course_lib.device import make_generator
from course_lib.metrics import linear_probe


@pytest.mark.parametrize("count", [200, 6])  # more rows than columns, and fewer
def test_it_is_ridge_regression_on_one_hot_labels(count):
    columns = 6 if count == 200 else 40
    x = torch.randn(count, columns, generator=make_generator(0)).double() * 3 + 2
    labels = (x[:, 0] > 2).long() + (x[:, 1] > 2).long()
    labels[:3] = torch.arange(3)  # of each class one at least
    other = torch.randn(500, columns, generator=make_generator(1)).double() * 3 + 2
    found = linear_probe(x, labels, penalty=0.1)(other)
    # Another road: least squares with the penalty as further rows, the constant unpenalised
    scaled = (x - x.mean(0)) / x.std(0)
    rows = torch.cat([scaled, torch.ones(count, 1).double()], dim=1)
    extra = (0.1 * count) ** 0.5 * torch.eye(columns + 1).double()[:columns]
    target = torch.cat([torch.eye(3).double()[labels], torch.zeros(columns, 3).double()])
    slope = torch.linalg.lstsq(torch.cat([rows, extra]), target).solution
    inputs = torch.cat([(other - x.mean(0)) / x.std(0), torch.ones(500, 1).double()], dim=1)
    assert torch.equal(found, (inputs @ slope).argmax(dim=1))


def test_it_reads_what_is_there_and_guesses_what_is_not():
    x = torch.randn(2000, 5, generator=make_generator(0))
    there = (x[:, 2] > 0.5).long()
    absent = torch.randint(2, (2000,), generator=make_generator(1))
    half = slice(0, 1000), slice(1000, 2000)
    for labels, low, high in ((there, 0.9, 1.0), (absent, 0.4, 0.6)):
        right = linear_probe(x[half[0]], labels[half[0]])(x[half[1]]) == labels[half[1]]
        assert low <= right.float().mean() <= high


@pytest.mark.parametrize("shapes", [((5, 2), (4,)), ((5, 2, 1), (5,)), ((1, 2), (1,))])
def test_shapes_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match=r"features \(N, F\) and N labels"):
        linear_probe(torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.long))
