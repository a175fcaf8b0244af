"""DDIM inversion: the noise from which DDIM paints a given picture (arXiv:2010.02502, 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_whole
from course_lib.pipelines.denoising import Settings, predict_clean
from course_lib.pipelines.editing.inputs import check_pipeline, encode_image, prepare_image
from course_lib.pipelines.painting import pipeline_of
from course_lib.pipelines.prompts import encode
from course_lib.pipelines.registry import make_scheduler
from course_lib.pipelines.sampling import settings_for


@dataclass(frozen=True, eq=False)
class Inversion:
    """A picture followed to noise.

    Attributes
    ----------
    noise : Tensor, shape (1, C, h, w)
        Where the way ends. ``paint_steps(pipe, prompt, noise=..., scheduler="ddim", steps=...)``
        with the same steps and guidance comes back, nearly.
    latents : Tensor, shape (steps + 1, C, h, w)
        The whole way; the first are those of the picture.
    timesteps : list of int
        Where each step leads to.
    steps : int
    guidance : float
    """

    noise: Tensor
    latents: Tensor
    timesteps: list[int]
    steps: int
    guidance: float


def ddim_inversion(
    image: Any,
    prompt: str = "",
    *,
    model: Any = "mini",
    steps: int = 20,
    guidance: float = 1.0,
    refine: int = 0,
    first_step: bool | None = None,
    negative_prompt: str = "",
    size: int | Sequence[int] | None = None,
) -> Inversion:
    """Walk DDIM's steps backwards, from a picture to the noise that would give it.

    Parameters
    ----------
    image : PIL.Image.Image or path
        Of any size and mode; see `prepare_image`.
    prompt, negative_prompt : str
        What the picture shows.
    model : str, path or pipeline
        As for `paint`.
    steps : int
        Number of steps; the error falls with it.
    guidance : float
        At most 1 for none, which is what inverts well.
    refine : int
        So many times each step is taken anew with the clean picture that the model sees at the
        step's end, as the way back does, instead of at its beginning: fixed-point iteration.
    first_step : bool, optional
        Whether to take the step from the picture to the first timestep; without it the picture's
        latents count as those of the first timestep. Default: unless the model predicts the clean
        picture, as the mini does. Its estimate of the noise divides by sqrt(1 - a_0), which is
        0.03, so that this step would make the model's errors about 30 times as large.
    size : int or pair of int, optional
        As for `paint`.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If there is no picture, the pipeline is no Stable Diffusion, or a number is out of range.

    Notes
    -----
    A step from timestep s to t keeps the direction of the noise:
    x_t = sqrt(a_t) x_0_hat + sqrt(1 - a_t) eps_hat, with a = alphas_cumprod and both estimates
    made at (x_s, t). With the first step equal to
    ``DDIMInverseScheduler(set_alpha_to_one=False)``.
    """
    pipe = pipeline_of(model)
    check_pipeline(pipe, "ddim_inversion")
    settings = settings_for(pipe, steps=steps, guidance=guidance, size=size, scheduler="ddim")
    refine = check_whole("refine", refine, low=0, high=100)
    encoded = encode(pipe, prompt, negative_prompt)
    pixels = prepare_image(image, settings)
    clean = encode_image(pipe, pixels, [make_generator(0)])
    scheduler = make_scheduler("ddim", pipe.scheduler, steps=settings.steps)
    upward = scheduler.timesteps.flip(0).tolist()
    way = [clean.to(pipe._execution_device, encoded.prompt.dtype)]
    if first_step is None:
        first_step = scheduler.config.prediction_type != "sample"
    for low, high in zip([0, *upward[:-1]], upward, strict=True):
        if high == upward[0] and not first_step:
            way.append(way[0])
            continue
        way.append(_step_up(pipe, way[-1], low, high, encoded, settings, scheduler, refine))
    return Inversion(way[-1], torch.cat(way), upward, settings.steps, settings.guidance)


@torch.no_grad()
def _step_up(
    pipe, x: Tensor, low: int, high: int, encoded: Any, settings: Settings, scheduler, refine: int
) -> Tensor:
    """From the noise level of timestep `low` to that of `high`."""
    a_low, a_high = (scheduler.alphas_cumprod[t].to(x.device) for t in (low, high))
    found, level = x, a_low
    for _ in range(refine + 1):
        # The first time `found` is x itself, at the level of `low`, asked about with `high`
        x_0_hat = predict_clean(pipe, found, high, level, encoded, settings)
        eps_hat = (x - a_low.sqrt() * x_0_hat) / (1 - a_low).sqrt()
        found, level = a_high.sqrt() * x_0_hat + (1 - a_high).sqrt() * eps_hat, a_high
    return found
