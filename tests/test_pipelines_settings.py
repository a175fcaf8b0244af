"""What is asked of a pipeline is checked before it paints: steps, guidance, size, scheduler."""

from __future__ import annotations

import re
import types

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from course_lib.pipelines.registry import REGISTRY, SCHEDULERS, SHIPPED
from course_lib.pipelines.sampling import seeds_of, settings_for

MINI = DDIMScheduler.from_pretrained(SHIPPED / "mini", subfolder="scheduler")
COSINE = DDIMScheduler(beta_schedule="squaredcos_cap_v2")
STABLE = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)


def pipeline(scheduler=MINI):
    """As much of a pipeline as the settings are read from."""
    report = types.SimpleNamespace(settings=REGISTRY["mini"])
    return types.SimpleNamespace(course_report=report, scheduler=scheduler, vae_scale_factor=8)


@pytest.mark.parametrize(
    "scheduler,name,steps",
    [
        (MINI, "dpmpp_2m", 61),  # trailing: 62 timesteps, the last of them -1
        (MINI, "dpmpp_2m_karras", 940),  # the first timestep stands twice
        (MINI, "lcm", 51),
        (COSINE, "dpmpp_2m_karras", 7),
        (STABLE, "dpmpp_2m", 1000),  # two equal noise levels
    ],
)
def test_a_number_of_steps_that_a_scheduler_cannot_take(scheduler, name, steps):
    pipe, before = pipeline(scheduler), torch.get_rng_state()
    with pytest.raises(ValueError, match=f"'{name}' cannot take {steps} steps") as caught:
        settings_for(pipe, steps=steps, scheduler=name)
    assert torch.equal(torch.get_rng_state(), before)
    advised = re.search(r"Take (\d+) steps", str(caught.value))
    assert settings_for(pipe, steps=int(advised[1]), scheduler=name).steps == int(advised[1])


@pytest.mark.parametrize("name", [*SCHEDULERS, "own"])
def test_usual_numbers_of_steps_are_taken(name):
    for steps in (1, 5, 25):
        assert settings_for(pipeline(STABLE), steps=steps, scheduler=name).steps == steps


@pytest.mark.parametrize(
    "size",
    [
        "128", 128.0, 0, -128, 100, (128,), (128, 128, 128), (128, 64.5), (128, "64"), (128, None),
        True, float("nan"), (), {}, b"ab", (128, 128_000), torch.zeros(2), object,
    ],
    ids=repr,
)  # fmt: skip
def test_a_size_of_a_wrong_form_is_refused(size):
    with pytest.raises(ValueError, match="size must be a multiple of 8 up to 4096 pixels") as error:
        settings_for(pipeline(), size=size)
    assert repr(size) in str(error.value)


def test_numbers_of_numpy_become_pythons():
    given = {"steps": np.int64(7), "guidance": np.float32(2.5), "size": np.array([128, 64])}
    used = settings_for(pipeline(), **given)
    assert [used.steps, used.guidance, used.height, used.width] == [7, 2.5, 128, 64]
    assert settings_for(pipeline(), size=np.int32(64)).width == 64
    seeds = seeds_of(np.uint8(255), np.int16(2))  # which would wrap around as a numpy number
    for value in (used.steps, used.guidance, used.height, used.width, *seeds):
        assert type(value) in (int, float)
    assert seeds == [255, 256]


def test_seeds_stay_in_range():
    with pytest.raises(ValueError, match="seed must be"):
        seeds_of(2**63 - 1, 2)
