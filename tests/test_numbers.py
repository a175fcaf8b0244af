"""Numbers of numpy are accepted wherever Python's are, through the whole public API."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import course_lib as cl
from course_lib.errors import check_number, check_whole
from course_lib.weights import load_tensors

Int, Float = np.int64, np.float32
X = torch.zeros(2, 3, 8, 8)
SCHEDULE = cl.NoiseSchedule.cosine(20)


def test_whole_numbers_are_recognised():
    for good in (3, Int(3), np.uint8(3), torch.tensor(3)):
        number = check_whole("n", good)
        assert number == 3 and type(number) is int
    for bad in (True, 2.0, Float(2), "3", None, 0, [3], np.array([1, 2]), torch.tensor(2.0)):
        with pytest.raises(ValueError, match="n must be a whole number from 1 to 5, not"):
            check_whole("n", bad, high=5)


def test_numbers_are_recognised():
    for good in (2, 2.0, Float(2), Int(2), np.array(2.0), torch.tensor(2.0)):
        number = check_number("x", good, low=0, high=5)
        assert number == 2 and type(number) is float
    for bad in (True, "2", None, float("nan"), -1, 6, [2.0, 3.0], torch.zeros(2), object()):
        with pytest.raises(ValueError, match="x must be a number from 0 to 5, not"):
            check_number("x", bad, low=0, high=5)


def a_network(**options):
    return cl.SmallUNet(channels=(Int(16), Int(32)), dropout=Float(0.1), patch=Int(2), **options)


def a_training(tmp_path):
    """Two steps and a checkpoint, whose JSON must take the numbers."""
    options = {
        "steps": Int(2),
        "batch_size": Int(2),
        "lr": Float(1e-3),
        "warmup": Int(1),
        "seed": Int(3),
    }
    options |= {"ema_decay": Float(0.9), "eval_every": Int(1), "checkpoint_every": np.int32(1)}
    options |= {
        "weight_decay": Float(0.1),
        "clip_norm": Float(1),
        "patience": Int(5),
        "held_out": X,
    }
    path = tmp_path / "c.safetensors"
    for _ in range(2):  # the second time it is read again
        *_, step = cl.train(
            a_network(), X, SCHEDULE, checkpoint=path, progress=False, device="cpu", **options
        )
    json.dumps(load_tensors(path)[1])
    return step.step == 2


def a_saved_network(tmp_path):
    network = a_network(num_classes=Int(2), skip_timestep=Float(3))
    return cl.SmallUNet.load(network.save(tmp_path / "m.safetensors")).num_classes == 2


def a_sample():
    options = {"steps": Int(4), "eta": Float(0.5), "clip": Float(1)}
    return len(list(cl.sample(lambda x, t: x, X, SCHEDULE, "ddim", **options))) == 4


def a_stepper():
    stepper = cl.widgets.TimestepStepper(X, value=Int(1), fps=Float(4), frame_size=Int(64))
    stepper.value = Int(0)
    return stepper.value == 0 and stepper.fps == 4


def a_folder(tmp_path):
    cl.to_pil(X[0]).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="caption"):
        folder = cl.PortraitFolder(tmp_path, size=Int(8))
    return folder[Int(0)][0].shape == (3, 8, 8)


USES = {
    "generator": lambda tmp_path: cl.make_generator(np.uint8(7)).initial_seed() == 7,
    "schedule": lambda tmp_path: cl.NoiseSchedule.named("cosine", Int(7)).num_timesteps == 7,
    "betas": lambda tmp_path: cl.NoiseSchedule(np.full(3, 0.1, Float)).num_timesteps == 3,
    "t": lambda tmp_path: cl.q_sample(X, Int(3), SCHEDULE).shape == X.shape,
    "image": lambda tmp_path: cl.from_pil(cl.to_pil(X[0]), size=Int(4)).shape == (3, 4, 4),
    "sample": lambda tmp_path: a_sample(),
    "grid": lambda tmp_path: len(cl.time_grid(SCHEDULE, method="heun", steps=Int(5))) == 5,
    "network": a_saved_network,
    "model": lambda tmp_path: cl.DiffusionModel(Int(9), network=a_network()).num_timesteps == 9,
    "training": a_training,
    "portraits": lambda tmp_path: len(cl.PortraitDataset(Int(3), size=Int(32), seed=Int(1))) == 3,
    "portrait": lambda tmp_path: cl.PortraitDataset(3, size=32)[Int(2)][0].shape == (3, 32, 32),
    "painter": lambda tmp_path: cl.paint_portrait(cl.Attributes(), seed=Int(3), size=Int(64)).size,
    "folder": a_folder,
    "designer": lambda tmp_path: (
        cl.widgets.ScheduleDesigner(num_timesteps=Int(50), t=Int(5)).t == 5
    ),
    "stepper": lambda tmp_path: a_stepper(),
    "grid of images": lambda tmp_path: cl.plotting.image_grid(X, columns=Int(2), scale=Float(1)),
}


@pytest.mark.parametrize("use", USES)
def test_numpy_numbers_are_taken(tmp_path, use):
    assert USES[use](tmp_path)
