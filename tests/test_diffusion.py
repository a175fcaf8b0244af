"""The article's snippet runs, learns and is repeatable."""

from __future__ import annotations

import pytest
import torch

import course_lib as cl


def tiny(**options) -> cl.DiffusionModel:
    torch.manual_seed(0)
    return cl.DiffusionModel(network=cl.SmallUNet(channels=(16, 32)), **options)


def test_the_snippet():
    model = cl.DiffusionModel(num_timesteps=100)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    loss = model.train_step(images)
    assert loss.shape == () and loss.requires_grad
    loss.backward()
    painted = model.generate(torch.randn(4, 3, 32, 32), steps=2)
    assert painted.shape == (4, 3, 32, 32) and painted.abs().max() <= 1


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_it_learns_one_colour_and_paints_it(prediction):
    model = tiny(num_timesteps=20, prediction=prediction)
    colour = torch.tensor([0.8, -0.2, -0.7])[:, None, None].expand(8, 3, 8, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        model.train_step(colour, generator).backward()
        optimizer.step()
    noise = torch.randn(4, 3, 8, 8, generator=generator)
    painted = model.generate(noise, generator=generator)
    # A tenth of the range of a pixel: 150 steps of a tiny model, against 0.9 for other colours
    assert (painted - colour[:4]).abs().mean() < 0.2


def test_generate_is_repeatable_and_keeps_the_mode():
    model, noise = tiny(num_timesteps=10), torch.randn(2, 3, 8, 8)
    model.train()
    first, second = (
        model.generate(noise, generator=torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first, second) and model.training


def test_a_schedule_sets_the_length():
    assert tiny(schedule=cl.NoiseSchedule.linear(7)).num_timesteps == 7


@pytest.mark.parametrize("images", [torch.zeros(3, 8, 8), torch.full((1, 3, 8, 8), 255.0)])
def test_bad_images_are_refused(images):
    with pytest.raises(ValueError, match="images must be"):
        tiny().train_step(images)
