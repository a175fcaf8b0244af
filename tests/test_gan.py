"""The GAN: losses against closed forms, penalties against autograd, and a training that learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib import gan
from course_lib.device import make_generator
from course_lib.training_run import TrainingDiverged


def networks(seed: int = 0):
    torch.manual_seed(seed)
    return gan.Generator(4, (8, 8)), gan.Discriminator((8,), patch=4)


def toy(count: int = 64) -> torch.Tensor:
    """Images (N, 3, 16, 16): the left half bright, the right half dark, each by another amount."""
    images = torch.full((count, 3, 16, 16), -0.5)
    images[..., :8] = 0.5
    return images + 0.1 * torch.randn(count, 1, 1, 1, generator=make_generator(0))


def train(steps: int = 3, seed: int = 0, **options) -> tuple[list[gan.GANStep], nn.Module]:
    generator, discriminator = networks()
    options = {"batch_size": 8, "mirror": False, "device": "cpu", "seed": seed} | options
    return list(gan.train_gan(generator, discriminator, toy(), steps=steps, **options)), generator


def test_the_losses_are_those_of_the_paper():
    real, fake = torch.randn(2, 7, generator=make_generator(1)).double()
    # f(t) = -log(1 + exp(-t)) of D(G(z)) - D(x), arXiv:2501.05441, equation 2
    by_pair = [math.log(1 + math.exp(b - a)) for a, b in zip(real, fake, strict=True)]
    assert gan.discriminator_loss(real, fake).item() == pytest.approx(sum(by_pair) / 7)
    by_pair = [math.log(1 + math.exp(a - b)) for a, b in zip(real, fake, strict=True)]
    assert gan.generator_loss(real, fake).item() == pytest.approx(sum(by_pair) / 7)
    assert gan.discriminator_loss(real, real).item() == pytest.approx(math.log(2))
    # Only differences count: a constant added to every score changes nothing
    shifted = gan.discriminator_loss(real + 100, fake + 100)
    torch.testing.assert_close(shifted, gan.discriminator_loss(real, fake))


def test_the_penalty_is_half_the_mean_squared_gradient_and_trains():
    x = torch.randn(5, 3, 4, 4, generator=make_generator(0)).double().requires_grad_()
    a = torch.randn(48, 48, generator=make_generator(1)).double().requires_grad_()
    flat = x.flatten(1)
    scores = 0.5 * (flat @ a * flat).sum(dim=1)  # gradient: the symmetric part of a, times x
    penalty = gan.zero_centered_gradient_penalty(scores, x)
    gradient = flat @ ((a + a.T) / 2)
    closed = 0.5 * gradient.square().sum(dim=1).mean()
    torch.testing.assert_close(penalty, closed)
    ours, theirs = torch.autograd.grad(penalty, a)[0], torch.autograd.grad(closed, a)[0]
    torch.testing.assert_close(ours, theirs)


def test_a_score_depends_on_its_own_image_only():
    _, discriminator = networks()
    images = toy(4)
    torch.testing.assert_close(discriminator(images)[2:], discriminator(images[2:]))


def test_one_step_is_adam_on_the_two_losses():
    """The first step by hand, in another order of the same operations."""
    (step,), generator = train(steps=1, warmup=0, lr=1e-3, gamma=0.7, ema_decay=0.0)
    g, d = networks()
    rng = torch.Generator().manual_seed(gan.seed_of(0, 0))
    torch.rand(8, 1, 1, 1, generator=rng)
    z = torch.randn(2, 8, 4, generator=rng)
    x = toy()[gan.batch_indices(0, 64, 8, 0)].requires_grad_()
    y = g(z[0]).detach().requires_grad_()
    loss = torch.log1p(torch.exp(d(y) - d(x))).mean()
    (r1,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    (r2,) = torch.autograd.grad(d(y).sum(), y, create_graph=True)
    (loss + 0.7 * (r1.square().sum() + r2.square().sum()) / 16).backward()
    assert step.discriminator_loss == pytest.approx(loss.item(), rel=1e-4)
    assert step.r1 == pytest.approx(r1.square().sum().item() / 16, rel=1e-4)
    torch.optim.AdamW(d.parameters(), 1e-3, (0.0, 0.99)).step()
    loss = torch.log1p(torch.exp(d(x.detach()) - d(g(z[1])))).mean()
    loss.backward()
    torch.optim.AdamW(g.parameters(), 1e-3, (0.0, 0.99)).step()
    assert step.generator_loss == pytest.approx(loss.item(), rel=1e-4)
    for ours, theirs in zip(generator.parameters(), g.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)  # a fifth of one step of Adam


def test_the_discriminator_learns_and_then_the_generator():
    steps, generator = train(steps=150, lr=3e-3, gamma=0.1, warmup=5)
    losses = [step.discriminator_loss for step in steps]
    # Before its first step D cannot tell, log 2; it learns at once, until G follows
    assert abs(losses[0] - math.log(2)) < 0.1 and min(losses[:50]) < 0.3
    assert steps[-1].generator_loss < max(step.generator_loss for step in steps) / 2
    with torch.no_grad():
        images = steps[-1].ema.model(torch.randn(32, 4, generator=make_generator(1)))
    left, right = images[..., :8].mean().item(), images[..., 8:].mean().item()
    assert left > 0.2 and right < -0.2  # at the start both are 0


def test_equal_seeds_give_equal_runs_whatever_the_global_generator_says():
    (first, a), (second, b), (other, _) = train(), train(), train(seed=1)
    assert [s.generator_loss for s in first] == [s.generator_loss for s in second]
    assert [s.generator_loss for s in first] != [s.generator_loss for s in other]
    assert all(map(torch.equal, a.parameters(), b.parameters()))
    assert first[-1].ema.updates == 3 and not any(
        p.requires_grad for p in first[0].ema.model.parameters()
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gan.Generator(4)(torch.zeros(2, 3)), r"\(B, 4\), got \(2, 3\)"),
        (lambda: gan.Discriminator()(torch.zeros(2, 3, 16, 16)), r"\(B, 3, 32, 32\)"),
        (lambda: gan.discriminator_loss(torch.zeros(3), torch.zeros(2)), "one shape"),
        (lambda: gan.discriminator_loss(torch.zeros(3, 1), torch.zeros(3, 1)), "one shape"),
        (lambda: gan.zero_centered_gradient_penalty(torch.zeros(1), toy(1)), "requires_grad_"),
        (lambda: train(gamma=-1), "gamma must be a number from 0"),
        (lambda: train(steps=0), "steps must be a whole number"),
        (lambda: next(gan.train_gan(*networks(), toy() * 255)), "uint8, or floats"),
    ],
)
def test_bad_input_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_run_that_diverges_stops_and_says_what_to_do():
    generator, discriminator = networks()
    with torch.no_grad():
        generator.out.bias.fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match=r"Step 1: .*nan.*raise gamma"):
        next(gan.train_gan(generator, discriminator, toy(), device="cpu"))
