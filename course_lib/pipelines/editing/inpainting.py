"""Inpainting: paint within a mask, and keep everything outside of it to the bit.

After each step the latents outside the mask are replaced by the picture's own, noised to the same
timestep (RePaint, arXiv:2201.09865, without its resampling; Blended Latent Diffusion,
arXiv:2206.02779). At the end the pixels outside the mask are taken from the picture itself, since
an autoencoder does not give them back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import check_whole
from course_lib.pipelines.denoising import walk
from course_lib.pipelines.editing.img2img import edit_recipe, noised_start, steps_left
from course_lib.pipelines.editing.inputs import check_pipeline, prepare_image, prepare_mask
from course_lib.pipelines.metadata import attach
from course_lib.pipelines.painting import Walk, paint_with, pipeline_of
from course_lib.pipelines.personalisation.attach import as_loras, attached
from course_lib.pipelines.sampling import seeds_of, settings_for
from course_lib.tensors import from_pil, to_pil

if TYPE_CHECKING:
    from PIL import Image


def inpaint(
    prompt: str | Sequence[str],
    image: Any,
    mask: Any,
    *,
    strength: float = 1.0,
    feather: int | None = None,
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
    """Paint a part of a picture anew.

    Parameters
    ----------
    prompt, negative_prompt : str or sequence of str
        What the whole result shows, the kept parts included.
    image : PIL.Image.Image or path
        Of any size and mode; see `prepare_image`.
    mask : PIL.Image.Image or path
        As large as `image`: white is painted anew, black is kept.
    strength : float
        As for `image_to_image`; 1 begins within the mask with noise alone.
    feather : int, optional
        Width in pixels of the soft edge, which lies inside the mask. Default: one cell of the
        latents, that is 8 pixels for most models; 0 for a hard edge.
    model, seed, n, steps, guidance, size, scheduler, weighting, lora, progress
        As for `paint`.

    Returns
    -------
    list of PIL.Image.Image
        Ordered by prompt, then by seed. Outside the mask every pixel is that of `image`, once this
        has the size that is painted.

    Raises
    ------
    ValueError
        If the mask is empty or of another size than the picture, or the strength out of range.
    FileNotFoundError, TypeError
        If a picture is missing, or the pipeline is no Stable Diffusion.

    Notes
    -----
    With ``feather=0`` and a mask of whole latent cells the latents are those of
    ``StableDiffusionInpaintPipeline`` with a U-Net of 4 channels.
    """
    pipe = pipeline_of(model)
    check_pipeline(pipe, "inpaint")
    settings = settings_for(pipe, steps=steps, guidance=guidance, size=size, scheduler=scheduler)
    steps_left(settings.steps, strength)
    factor = pipe.vae_scale_factor
    feather = factor if feather is None else check_whole("feather", feather, low=0, high=512)
    chosen = prepare_mask(mask, image, settings)
    pixels = prepare_image(image, settings)
    soft = feathered(chosen, feather)
    with attached(pipe, as_loras(lora)) as loras:
        images = paint_with(
            pipe, prompt, settings, seeds=seeds_of(seed, n), negative_prompt=negative_prompt,
            weighting=weighting, progress=progress,
            walk=blended(pixels, latent_mask(soft, factor), strength),
            recipe=edit_recipe("inpaint", strength, loras) | {"mask_feather": feather},
        )  # fmt: skip
    return [_pasted(image, pixels[0], soft[0]) for image in images]


def feathered(mask: Tensor, feather: int) -> Tensor:
    """Let a mask of 0 and 1, (1, 1, H, W), fall off towards its edge, inside of it.

    Where the mask is 0 the result is exactly 0. `feather` pixels from the edge it is 1; between,
    it is the share of the square of that size around the pixel that lies in the mask, from half
    (at a straight edge) to all, stretched to 0 .. 1.
    """
    if feather == 0:
        return mask
    reach = 2 * feather - 1  # odd, so that the window has a middle; beyond the picture counts as in
    padded = F.pad(mask, (feather - 1,) * 4, mode="replicate")
    share = F.avg_pool2d(padded, reach, stride=1)
    return mask * (2 * share - 1).clamp(0, 1)


def latent_mask(soft: Tensor, factor: int) -> Tensor:
    """A mask (1, 1, H, W) on the grid of the latents: each cell its largest pixel.

    So every cell that the mask touches is painted, as far as one of its pixels is.
    """
    return F.max_pool2d(soft, factor)


def blended(pixels: Tensor, mask: Tensor, strength: float) -> Walk:
    """The walk from `pixels`, (1, 3, H, W), that keeps them where `mask`, (1, 1, h, w), is 0."""

    def steps(pipe, encoded, seeds, settings):
        start = noised_start(pipe, pixels, seeds, settings, strength, encoded.prompt.dtype)
        scheduler, inside = start.scheduler, mask.to(start.clean.device, start.clean.dtype)
        latents = start.latents if strength < 1 else start.noise * scheduler.init_noise_sigma
        timesteps = scheduler.timesteps

        def keep_outside(latents: Tensor, following: int) -> Tensor:
            kept = start.clean
            if following < len(timesteps):
                kept = scheduler.add_noise(kept, start.noise, timesteps[following : following + 1])
            return inside * latents + (1 - inside) * kept

        return walk(
            pipe, encoded, settings, scheduler, latents, start.generators, first=start.first,
            after_step=keep_outside,
        )  # fmt: skip

    return steps


def _pasted(image: Image.Image, pixels: Tensor, soft: Tensor) -> Image.Image:
    """The painted image where `soft`, (1, H, W), is 1, `pixels` where it is 0; the recipe stays."""
    mixed = to_pil(torch.where(soft > 0, soft * from_pil(image) + (1 - soft) * pixels, pixels))
    return attach(mixed, json.loads(image.info["course"]))
