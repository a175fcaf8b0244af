"""Metrics of sets of features against torchmetrics, closed forms and known constructions."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from course_lib import metrics
from course_lib.metrics.kernel import _KernelDistance


def features(n: int, shift: float = 0.0, seed: int = 0, width: int = 12) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) + shift


class Identity(torch.nn.Module):
    """torchmetrics' encoder for what is encoded already; it neither scales nor casts."""

    num_features = 12

    def forward(self, x):
        return x


def torchmetrics_value(kind: type, x, y, **options) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the size of its buffers
        metric = kind(feature=Identity(), **options)
    metric.set_dtype(torch.float64)
    metric.update(x.double(), real=True)
    metric.update(y.double(), real=False)
    value = metric.compute()
    return (value[0] if isinstance(value, tuple) else value).item()


# --- intervals


def test_wilson_intervals_agree_with_published_values():
    for hits, total, interval in (
        (0, 10, (0, 0.2775)), (5, 10, (0.2366, 0.7634)), (98, 100, (0.9300, 0.9945)),
    ):  # fmt: skip
        found = metrics.proportion(torch.arange(total) < hits)
        assert (found["low"], found["high"]) == pytest.approx(interval, abs=1e-4)
    assert metrics.proportion(torch.tensor([], dtype=torch.bool))["high"] == 1


def test_bootstrap_intervals_hold_the_truth_about_as_often_as_they_say():
    # Ratio of the means of pairs, truth 1.5: 95 % intervals of 60 samples of 40 people
    held = 0
    for seed in range(60):
        x = torch.rand(40, generator=torch.Generator().manual_seed(seed)) + 0.5
        y = 1.5 * x + 0.3 * torch.randn(40, generator=torch.Generator().manual_seed(99 - seed))
        found = metrics.bootstrap(metrics.ratio(y, x), 40, seed=seed)
        assert found["value"] == pytest.approx((y.sum() / x.sum()).item())
        held += found["low"] <= 1.5 <= found["high"]
    assert 51 <= held <= 60  # 57 on average; fewer than 51 has a probability below 1 %


def test_a_bootstrap_of_two_samples_draws_them_independently():
    x, y = features(80)[:, 0].double(), features(50, seed=1)[:, 0].double()

    def difference(v, w):
        return v @ x / v.sum(1) - w @ y / w.sum(1)

    found = metrics.bootstrap(difference, 80, 50)
    half = 1.96 * math.sqrt(x.var() / 80 + y.var() / 50)  # the normal interval
    assert found["value"] == pytest.approx((x.mean() - y.mean()).item())
    assert found["high"] - found["value"] == pytest.approx(half, rel=0.15)
    assert found["value"] - found["low"] == pytest.approx(half, rel=0.15)


# --- FID


def test_fid_is_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    mix = features(12, seed=5)
    for shift in (0.0, 0.3, 2.0):
        x, y = features(60) @ mix, features(45, shift, seed=1)
        wanted = torchmetrics_value(FrechetInceptionDistance, x, y)
        assert metrics.fid(x, y) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_is_the_closed_form_where_covariances_commute():
    # Diagonal covariances: |difference of the means|^2 + |difference of the deviations|^2
    a, b = torch.tensor([1.0, 2, 3]).double(), torch.tensor([2.0, 2, 0]).double()
    turn = torch.linalg.qr(features(3, width=3).double())[0]
    means = torch.tensor([1.0, 0, 2]).double(), torch.tensor([0.0, 0, 0]).double()
    covariances = (turn @ torch.diag(s.square()) @ turn.T for s in (a, b))
    (cov_a, cov_b) = covariances
    found = metrics.frechet_distance(means[0], cov_a, means[1], cov_b)
    assert found == pytest.approx(5 + 1 + 9)
    # The second covariance is singular; so are those of fewer images than features
    few = features(6)
    assert metrics.fid(few, few) == pytest.approx(0, abs=1e-6)


def test_fid_falls_with_the_number_of_images_and_kid_does_not():
    def average(metric, n):
        return np.mean([metric(features(n, seed=s), features(n, seed=99 - s)) for s in range(20)])

    assert average(metrics.fid, 20) > 1.8 * average(metrics.fid, 40) > 5 * average(metrics.fid, 200)
    # The biased estimate, which keeps the pairs of a vector with itself, is above 0.5 for 20 images
    assert abs(average(metrics.kid, 20)) < 0.1 < metrics.kid_floor(features(500), size=20) / 5


# --- KID


def test_kid_is_torchmetrics_over_one_subset_of_everything():
    from torchmetrics.image.kid import KernelInceptionDistance

    for shift in (0.0, 0.3, 2.0):
        x, y = features(40), features(40, shift, seed=1)
        options = {"subsets": 1, "subset_size": 40}
        wanted = torchmetrics_value(KernelInceptionDistance, x, y, **options)
        assert metrics.kid(x, y) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="at least 2 images"):
        metrics.kid(x[:1], y[:1])


def test_kid_of_sets_of_different_sizes_is_its_definition():
    x, y = features(7).double(), features(5, 0.5, seed=1).double()

    def k(a, b):
        return ((a @ b) / 12 + 1) ** 3

    within = [
        np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
        for s in (x, y)
    ]
    across = np.mean([k(a, b) for a in x for b in y])
    assert metrics.kid(x, y) == pytest.approx(sum(within) - 2 * across)


def test_the_interval_of_kid_holds_the_truth_about_as_often_as_it_says():
    truth = metrics.kid(features(3000, seed=7), features(3000, 0.3, seed=8))
    held = 0
    for seed in range(40):
        x, y = features(60, seed=seed), features(50, 0.3, seed=100 + seed)
        found = metrics.kid_interval(x, y, resamples=200)
        assert found["value"] == pytest.approx(metrics.kid(x, y))
        held += found["low"] <= truth <= found["high"]
    assert 33 <= held <= 40  # 38 on average; fewer than 33 has a probability below 2 %


def test_weights_count_people():
    x, y = features(30), features(30, 0.3, seed=1)
    weights = torch.zeros(1, 30).double()
    weights[0, :20] = 1  # the same as only these twenty
    few = metrics.kid(x[:20], y[:20])
    assert metrics.kid_of_resamples(x, y, weights).item() == pytest.approx(few)
    other = torch.ones(1, 30).double()
    assert _KernelDistance(x, y)(weights, other).item() == pytest.approx(metrics.kid(x[:20], y))


def test_the_floor_is_what_two_samples_of_one_distribution_show():
    x, generator, draws = features(500), torch.Generator().manual_seed(0), []
    for _ in range(2000):  # two samples of ten, each vector paired with itself, too
        a, b = x[torch.randperm(500, generator=generator)[:20]].double().split(10)
        aa, bb, ab = (((p @ q.T) / 12 + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
        draws.append((aa.mean() + bb.mean() - 2 * ab.mean()).item())
    error = np.std(draws) / 2000**0.5
    floor = metrics.kid_floor(x, size=10)
    assert np.mean(draws) == pytest.approx(floor, abs=4 * error)
    assert error < 0.05 * floor


# --- precision, recall, density, coverage


def modes(counts: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Clusters far from each other, with so many points."""
    parts = [features(n, seed=10 * seed + i, width=2) for i, n in enumerate(counts)]
    return torch.cat([part + 1000 * i for i, part in enumerate(parts)])


def test_dropped_and_invented_modes():
    real, kept = modes((50, 50, 50, 50)), modes((200,), seed=1)
    precision, recall = metrics.precision_recall(real, kept)
    assert precision > 0.8 and recall == pytest.approx(0.25, abs=0.05)
    density, coverage = metrics.density_coverage(real, kept)
    assert coverage == pytest.approx(0.25, abs=0.03) and density > 0.5
    # The other way round, three of four pictures are of a kind that does not exist
    precision, recall = metrics.precision_recall(kept, real)
    assert recall > 0.8 and precision == pytest.approx(0.25, abs=0.05)
    assert metrics.density_coverage(kept, real).density == pytest.approx(0.25, abs=0.1)


def test_density_and_coverage_of_one_distribution_are_as_the_closed_form_says():
    n, k = 80, 5
    pairs = [
        metrics.density_coverage(features(n, seed=s), features(n, seed=500 + s), k=k)
        for s in range(60)
    ]
    density, coverage = np.mean(pairs, axis=0)
    wanted = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    errors = np.std(pairs, axis=0) / 60**0.5
    assert coverage == pytest.approx(wanted, abs=4 * errors[1]) and errors[1] < 0.005
    assert density == pytest.approx(1, abs=4 * errors[0]) and errors[0] < 0.04


def test_neighbours_against_loops():
    real, generated = features(20).double(), features(15, 0.4, seed=1).double()

    def radius(s, i, k):
        return sorted(float((s[i] - s[j]).norm()) for j in range(len(s)) if j != i)[k - 1]

    def hit(s, i, point, k):
        return float((s[i] - point).norm()) <= radius(s, i, k)

    k = 3
    precision = np.mean([any(hit(real, i, g, k) for i in range(20)) for g in generated])
    recall = np.mean([any(hit(generated, i, r, k) for i in range(15)) for r in real])
    assert metrics.precision_recall(real, generated, k=k) == pytest.approx((precision, recall))
    density = np.sum([hit(real, i, g, k) for i in range(20) for g in generated]) / (k * 15)
    coverage = np.mean([any(hit(real, i, g, k) for g in generated) for i in range(20)])
    assert metrics.density_coverage(real, generated, k=k) == pytest.approx((density, coverage))


def test_an_outlier_spoils_precision_and_hardly_density():
    real, far = features(100, width=2), torch.full((100, 2), 20.0) + features(100, seed=1, width=2)
    spoiled = torch.cat([real, torch.tensor([[60.0, 60.0]])])
    assert metrics.precision_recall(real, far).precision == 0
    assert metrics.precision_recall(spoiled, far).precision == 1
    assert metrics.density_coverage(spoiled, far, k=3).density < 0.4


# --- the two-sample test


def test_the_two_sample_classifier_never_sees_the_people_it_is_tested_on():
    # Random features that only say who it is: learning them by heart would help with leaked folds
    x = features(100, seed=3).repeat(1, 10)
    hits = torch.stack(metrics.two_sample_hits(x, x.flip(0))).double()
    assert 0.3 <= hits.mean() <= 0.7


def test_the_two_sample_test_finds_what_a_shift_allows():
    # Two normal distributions a shift of d apart: the best accuracy is Phi(d / 2)
    x, y = features(2000, width=3), features(2000, seed=1, width=3)
    y[:, 0] += 1.5
    found = metrics.two_sample_accuracy(x, y)
    assert found["value"] == pytest.approx(0.5 * math.erfc(-0.75 / 2**0.5), abs=0.02)
    assert found["n"] == 4000 and found["high"] - found["low"] < 0.03
    # Sets of different sizes: both weigh the same, so neither answer is right by default
    few, many = (h.double().mean() for h in metrics.two_sample_hits(x[:300], y))
    assert abs(few - many) < 0.08
    assert 0.42 < metrics.two_sample_accuracy(x, features(500, seed=2, width=3))["value"] < 0.58


# --- wrong use


def test_wrong_features_are_explained():
    x = features(10)
    for function in (metrics.fid, metrics.kid, metrics.precision_recall, metrics.two_sample_hits):
        for wrong, message in (
            (x[:, :5], "one encoder"), (x[None], "shape"), (x[:1], "at least"),
            (x * math.nan, "NaN"),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=message):
                function(x, wrong)
