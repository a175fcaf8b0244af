"""The article's snippet runs, learns and is repeatable."""

from __future__ import annotations

import numpy as np
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


def test_labels_end_to_end(tmp_path):
    """Two classes of one colour each: trained, saved, loaded, and each generated when asked for."""
    torch.manual_seed(0)
    colours = torch.tensor([[0.8, -0.2, -0.7], [-0.6, 0.5, 0.3]])[:, :, None, None]
    labels = torch.arange(16) % 2
    images = colours[labels].expand(-1, -1, 8, 8)
    network = cl.SmallUNet(channels=(16, 32), num_classes=2)
    options = {"prediction": "x0", "labels": labels, "device": "cpu", "progress": False}
    options |= {"held_out": images, "held_out_labels": labels, "eval_every": 120}
    options |= {"lr": 5e-3, "warmup": 5, "batch_size": 16, "ema_decay": 0.9}
    *_, last = cl.train(network, images, cl.NoiseSchedule.cosine(20), steps=120, **options)
    assert last.held_out < 0.02  # the variance of the colours is 0.3
    path = last.ema.model.save(tmp_path / "model.safetensors")
    model = cl.DiffusionModel(20, network=cl.SmallUNet.load(path))
    assert model.prediction == "x0"
    loss = model.train_step(images, torch.Generator().manual_seed(1), labels=labels.tolist())
    assert loss.requires_grad and loss < 0.1  # a tenth of the labels is dropped
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for guidance in (1.0, np.float32(1.5)):
        painted = model.generate(noise, labels=[0, 1], guidance=guidance, method="ddim", steps=5)
        assert (painted - colours).abs().mean() < 0.15
    with pytest.raises(ValueError, match="labels go with num_classes"):
        model.generate(noise, steps=1)
    with pytest.raises(ValueError, match="16 whole numbers"):
        model.train_step(images, labels=[0, 1])


def test_a_loaded_network_cannot_be_taken_for_another_kind(tmp_path):
    network = cl.SmallUNet(channels=(16, 32))
    cl.DiffusionModel(network=network, prediction="v")
    loaded = cl.SmallUNet.load(network.save(tmp_path / "model.safetensors"))
    assert cl.DiffusionModel(network=loaded).prediction == "v"
    wrong = {
        "model": lambda: cl.DiffusionModel(network=loaded, prediction="eps"),
        "sampler": lambda: cl.sample(
            loaded, torch.zeros(1, 3, 8, 8), cl.NoiseSchedule.cosine(5), prediction="x0"
        ),
        "training": lambda: next(
            cl.train(loaded, torch.zeros(1, 3, 8, 8), cl.NoiseSchedule.cosine(5), prediction="x0")
        ),
    }
    for attempt in wrong.values():
        with pytest.raises(ValueError, match="trained to predict 'v', not"):
            attempt()


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
