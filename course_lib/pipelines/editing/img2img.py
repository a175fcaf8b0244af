"""Image to image: noise a picture to a strength, then walk back with another prompt.

SDEdit (arXiv:2108.01073), as in diffusers' StableDiffusionImg2ImgPipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_number
from course_lib.pipelines.denoising import Settings, walk
from course_lib.pipelines.editing.inputs import check_pipeline, encode_image, prepare_image
from course_lib.pipelines.painting import Walk, paint_with, pipeline_of
from course_lib.pipelines.personalisation.attach import as_loras, attached
from course_lib.pipelines.registry import make_scheduler
from course_lib.pipelines.sampling import initial_noise, seeds_of, settings_for

if TYPE_CHECKING:
    from PIL import Image


def image_to_image(
    prompt: str | Sequence[str],
    image: Any,
    *,
    strength: float = 0.6,
    model: Any = "mini",
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    n: int = 1,
    negative_prompt: str | Sequence[str] = "",
    size: int | Sequence[int] | None = None,
    scheduler: str | None = None,
    weighting: str = "interpolate",
    lora: Any = None,
    progress: bool = False,
) -> list[Image.Image]:
    """Paint from a picture: keep as much of it as `strength` allows, change the rest to the prompt.

    Parameters
    ----------
    prompt, negative_prompt : str or sequence of str
        What the result shows, all of it, not only what changes.
    image : PIL.Image.Image or path
        Of any size and mode; see `prepare_image`.
    strength : float
        From above 0 to 1. The picture is noised to the timestep at which ``int(strength * steps)``
        of the steps remain; 1 takes all of them, and keeps next to nothing.
    model, seed, n, steps, guidance, size, scheduler, weighting, lora, progress
        As for `paint`. `steps` are those of the whole way from noise.

    Returns
    -------
    list of PIL.Image.Image
        Ordered by prompt, then by seed. The recipe in each names the strength, but does not hold
        the picture it began with.

    Raises
    ------
    ValueError
        If the strength is out of range, or so small that no step remains.
    FileNotFoundError, TypeError
        If there is no picture, or the pipeline is no Stable Diffusion.

    Notes
    -----
    Bit-equal to ``StableDiffusionImg2ImgPipeline`` with the same scheduler and the generators
    ``make_generator(seed + k)``.
    """
    pipe = pipeline_of(model)
    check_pipeline(pipe, "image_to_image")
    settings = settings_for(pipe, steps=steps, guidance=guidance, size=size, scheduler=scheduler)
    steps_left(settings.steps, strength)
    pixels = prepare_image(image, settings)
    with attached(pipe, as_loras(lora)) as loras:
        return paint_with(
            pipe, prompt, settings, seeds=seeds_of(seed, n), negative_prompt=negative_prompt,
            weighting=weighting, progress=progress, walk=from_image(pixels, strength),
            recipe=edit_recipe("image_to_image", strength, loras),
        )  # fmt: skip


def edit_recipe(made_by: str, strength: float, loras: list) -> dict[str, Any]:
    """What the recipe of a picture made from a picture says beside that of `paint`."""
    recipe = {"made_by": made_by, "init_image": True, "strength": float(strength)}
    return recipe | ({"loras": loras} if loras else {})


def from_image(pixels: Tensor, strength: float) -> Walk:
    """The walk from `pixels`, (1, 3, H, W), noised to `strength`, for `paint_with`."""

    def steps(pipe, encoded, seeds, settings):
        start = noised_start(pipe, pixels, seeds, settings, strength, encoded.prompt.dtype)
        return walk(
            pipe, encoded, settings, start.scheduler, start.latents, start.generators,
            first=start.first,
        )  # fmt: skip

    return steps


def steps_left(steps: int, strength: float) -> int:
    """How many of `steps` are walked; ValueError if the strength is out of range or leaves none."""
    strength = check_number("strength", strength, low=0, high=1)
    left = int(steps * strength)  # diffusers rounds down as well
    if left < 1:
        raise ValueError(
            f"strength {strength:g} of {steps} steps leaves no step to paint: take a strength of "
            f"at least {1 / steps:.3g}, or more steps."
        )
    return left


@dataclass(frozen=True, eq=False)
class Start:
    """Where a walk from a picture begins.

    Attributes
    ----------
    latents : Tensor, shape (B, C, h, w)
        Noised, in the scheduler's own scale.
    clean, noise : Tensor, shape (B, C, h, w)
        The picture's latents, and what was added.
    scheduler
        With its timesteps set.
    first : int
        Number of the first timestep that is walked.
    generators : list of torch.Generator
        One for each picture, for schedulers that add noise on the way.
    """

    latents: Tensor
    clean: Tensor
    noise: Tensor
    scheduler: Any
    first: int
    generators: list[torch.Generator]


def noised_start(
    pipe, pixels: Tensor, seeds: Sequence[int], settings: Settings, strength: float, dtype
) -> Start:
    """Encode a picture and noise it, in the order in which diffusers draws its random numbers."""
    generators = [make_generator(seed) for seed in seeds]
    device = pipe._execution_device
    clean = encode_image(pipe, pixels, generators).to(device, dtype)
    noise = initial_noise(pipe, seeds, settings, generators)[0].to(device, dtype)
    scheduler = make_scheduler(settings.scheduler, pipe.scheduler)
    scheduler.set_timesteps(settings.steps, device=device)
    # Schedulers of second order list each timestep but the first twice
    first = (settings.steps - steps_left(settings.steps, strength)) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    latents = scheduler.add_noise(clean, noise, scheduler.timesteps[first : first + 1])
    return Start(latents, clean, noise, scheduler, first, generators)
