"""Copies among samples, and members told by their loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss
from torchmetrics.functional.classification import binary_auroc

from course_lib.device import make_generator
from course_lib.losses import denoising_loss
from course_lib.metrics import (
    membership_auc,
    membership_scores,
    memorized,
    memorized_share,
    nearest_two,
)
from course_lib.process import q_sample
from course_lib.schedules import NoiseSchedule


def test_nearest_two_are_those_of_a_plain_search():
    samples = torch.randn(70, 3, 4, 4, generator=make_generator(0))
    training = torch.randn(9, 3, 4, 4, generator=make_generator(1))
    training[3] = samples[5] + 1e-6  # too near for a distance by matrix products
    found = nearest_two(samples, training)
    gaps = samples.double()[:, None] - training.double()
    distances = gaps.square().sum(dim=(2, 3, 4)).sqrt().sort(dim=1)
    torch.testing.assert_close(torch.stack(found[:2], dim=1), distances.values[:, :2])
    assert found.index.tolist() == distances.indices[:, 0].tolist() and found.index[5] == 3


def test_copies_count_and_unseen_images_do_not():
    training = torch.rand(20, 3, 8, 8, generator=make_generator(0))
    copies = training[:12] + 0.02 * torch.randn(12, 3, 8, 8, generator=make_generator(1))
    unseen = torch.rand(12, 3, 8, 8, generator=make_generator(2))
    assert memorized(torch.cat([copies, unseen]), training).tolist() == [True] * 12 + [False] * 12
    share = memorized_share(torch.cat([copies, unseen]), training)
    assert share["n"] == 24 and share["value"] == 0.5 and 0.3 < share["low"] < share["high"] < 0.7
    # On a line: d1 = 1, d2 = 3 is the border itself, and does not count
    points, samples = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [0.99], [-2.0]])
    assert memorized(samples, points).tolist() == [False, True, False]
    assert memorized(samples, points, threshold=0.4).tolist() == [True] * 3
    # A training set with a copy in it hides what was copied: both distances are alike
    assert not memorized(training[:1] + 0.01, torch.cat([training, training[:1]])).any()


def test_scores_are_minus_the_training_loss_of_one_image():
    schedule, t = NoiseSchedule.cosine(100), 40
    images = torch.rand(5, 3, 8, 8, generator=make_generator(0)) * 2 - 1
    network = torch.nn.Conv2d(3, 3, 3, padding=1)

    def model(x_t, t):
        return network(x_t)

    noises = torch.randn(3, 3, 8, 8, generator=make_generator(7))
    found = membership_scores(
        model, images, schedule, t, draws=3, prediction="x0", seed=7, batch_size=2
    )
    for k in range(5):
        losses = [
            denoising_loss(
                model, images[k : k + 1], schedule, t=torch.tensor([t]), noise=noise[None],
                prediction="x0",
            ).item()
            for noise in noises
        ]  # fmt: skip
        assert found[k].item() == pytest.approx(-sum(losses) / 3, rel=1e-5)
    # Another prediction is converted to x_0 first
    eps = membership_scores(lambda x, t: 0 * x, images, schedule, t, draws=1, prediction="eps")
    noise = torch.randn(1, 3, 8, 8, generator=make_generator(0))
    x_t = q_sample(images, torch.full((5,), t), schedule, noise.expand_as(images))
    x_0_hat = x_t / schedule.alphas_cumprod[t].sqrt().float()
    assert eps[0].item() == pytest.approx(-mse_loss(x_0_hat[0], images[0]).item(), rel=1e-5)


def test_auc_is_that_of_torchmetrics_with_an_interval_that_covers():
    members = torch.randn(60, generator=make_generator(0)) + 0.5
    others = torch.randn(80, generator=make_generator(1))
    others[:5] = members[:5]  # ties
    found = membership_auc(members, others)
    labels = torch.cat([torch.ones(60), torch.zeros(80)]).long()
    oracle = binary_auroc(torch.cat([members, others]).sigmoid(), labels)  # it wants shares
    assert found["value"] == pytest.approx(oracle.item(), abs=1e-6)
    truth = torch.distributions.Normal(0, 1).cdf(torch.tensor(0.5 / 2**0.5)).item()
    assert found["low"] < truth < found["high"] and 0.1 < found["high"] - found["low"] < 0.3
    assert membership_auc(torch.ones(3), torch.zeros(4))["value"] == 1


def test_bad_input_is_one_sentence():
    images = torch.zeros(3, 3, 4, 4)
    with pytest.raises(ValueError, match="at least two training images"):
        nearest_two(images, images[:1])
    with pytest.raises(ValueError, match="NaN"):
        nearest_two(images * torch.nan, images)
    with pytest.raises(ValueError, match="threshold must be a number from 0 to 1"):
        memorized(images, images, threshold=3)
    with pytest.raises(ValueError, match="t must lie in 0"):
        membership_scores(lambda x, t: x, images, NoiseSchedule.cosine(10), 10)
    with pytest.raises(ValueError, match="members must be scores"):
        membership_auc(torch.zeros(0), torch.zeros(2))
