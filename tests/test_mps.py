"""float64 never reaches an MPS device, which has none (see `fake_mps`)."""

from __future__ import annotations

import pytest
import torch
from fake_mps import fake_mps

import course_lib as cl
from course_lib import metrics
from course_lib.checks import expect_close, lesson_01, lesson_02, lesson_03
from course_lib.plotting.spectra import radial_power
from course_lib.widgets.moments import describe_moments
from course_lib.widgets.streaming import _alpha_at

SCHEDULE = cl.NoiseSchedule.cosine(20)


def test_the_stand_in_behaves_as_the_device():
    with fake_mps() as mps:
        x = torch.ones(2, 3).to(mps)
        assert x.device == mps and (x + 1).device == mps and (x + 1).cpu().device.type == "cpu"
        assert torch.zeros(2, device="mps").device == mps
        for wrong in (x.double, lambda: torch.ones(1, dtype=torch.float64).to(mps)):
            with pytest.raises(TypeError, match="MPS framework doesn't support float64"):
                wrong()
        assert x.cpu().double().dtype == torch.float64


USES = {
    "expect_close": lambda x: expect_close(x, x),
    "lesson 01": lambda x: lesson_01._float64(x),
    "lesson 02": lambda x: lesson_02._close_to(x, torch.ones(1)),
    "lesson 03": lambda x: lesson_03._near(x, x),
    "moments": lambda x: describe_moments(4, None, None, x[0, 0, 0] / 2, None),
    "streaming": lambda x: _alpha_at(1.0, x[0, 0, 0]),
    "schedule": lambda x: cl.NoiseSchedule(x[0, 0, 0] / 2),
    "expand_to": lambda x: cl.expand_to(SCHEDULE.alphas_cumprod[[3, 4]], x),
    "q_sample": lambda x: cl.q_sample(x, torch.tensor([3, 4]), SCHEDULE),
    "posterior": lambda x: cl.posterior_mean_variance(x, x, 3, SCHEDULE),
    "loss": lambda x: cl.denoising_loss(lambda x_t, t: x_t, x, SCHEDULE, weighting="min_snr"),
    "spectrum": lambda x: radial_power(x),
    "proportion": lambda x: metrics.proportion(x.flatten() > 0),
    "mean": lambda x: metrics.mean(x.flatten()),
    **{
        f"sample {method}": lambda x, method=method: list(
            cl.sample(lambda x_t, t: 0.5 * x_t, x, SCHEDULE, method, 5, clip=1.0)
        )
        for method in ("ddpm", "ddim", "euler", "heun", "dpmpp_2m")
    },
}


@pytest.mark.parametrize("use", USES)
def test_what_lies_on_an_mps_device_is_taken(use):
    with fake_mps() as mps:
        USES[use](torch.full((2, 3, 4, 4), 0.9).to(mps))


def test_float64_images_and_a_whole_training_step_reach_the_device_as_float32():
    from course_lib.losses import pixels

    images = torch.zeros(4, 3, 8, 8, dtype=torch.float64)
    with fake_mps() as mps:
        x = pixels(images, torch.tensor([0, 2]), mps)
        assert x.device == mps and x.dtype == torch.float32
