"""Pictures and masks as people have them, turned into what a pipeline works on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from course_lib.pipelines.denoising import Settings
from course_lib.pipelines.locks import one_thread
from course_lib.pipelines.sampling import float32_vae, supports_steps
from course_lib.portraits.picture_files import as_rgb, find_fault, read_picture
from course_lib.tensors import from_pil

_WHOLE = 1 << 20  # pixels, as the size to which a picture may be reduced: never


def check_pipeline(pipe: Any, name: str) -> None:
    """Raise TypeError unless `pipe` is a Stable Diffusion 1, 2 or XL; `name` is who asks."""
    if not supports_steps(pipe):
        raise TypeError(
            f"{name} works with Stable Diffusion 1, 2 and XL, not with {type(pipe).__name__}. Use "
            "diffusers' own pipeline for it, such as AutoPipelineForImage2Image."
        )


def prepare_image(image: Any, settings: Settings) -> Tensor:
    """A picture of any size and mode as a tensor of the size that `settings` names.

    Parameters
    ----------
    image : PIL.Image.Image or path
        Transparency becomes white, 16 bits become 8, and the orientation of EXIF data is followed.
    settings : Settings
        Its height and width. A picture of another shape is cut to its centre and resized.

    Returns
    -------
    Tensor, shape (1, 3, H, W), values in [-1, 1]

    Warns
    -----
    UserWarning
        If the picture had another size.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If it is no picture, or no file of that name exists.
    """
    size = settings.width, settings.height
    picture = open_picture(image, "image")
    if picture.size != size:
        width, height = picture.size
        cut = " cut to its centre and" if width * size[1] != height * size[0] else ""
        warnings.warn(
            f"the picture of {width} x {height} pixels is{cut} resized to {size[0]} x {size[1]}, "
            "the size that is painted.",
            stacklevel=3,
        )
        picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    return from_pil(picture)[None]


def prepare_mask(mask: Any, image: Any, settings: Settings) -> Tensor:
    """A mask for `image`, cut and resized as the picture is.

    Parameters
    ----------
    mask : PIL.Image.Image or path
        As large as `image`. White is painted anew and black is kept; gray counts as the nearer of
        the two, and transparency as black.
    image : PIL.Image.Image or path
        The picture that it belongs to, as for `prepare_image`.

    Returns
    -------
    Tensor, shape (1, 1, H, W), values 0 and 1

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If it is no picture, has another size than `image`, or holds no white.
    """
    size = settings.width, settings.height
    drawn = open_picture(mask, "mask", background="black").convert("L")
    picture = open_picture(image, "image")
    if drawn.size != picture.size:
        raise ValueError(
            f"the mask is {drawn.width} x {drawn.height} pixels, but the picture is "
            f"{picture.width} x {picture.height}: make a mask of the picture's size."
        )
    if drawn.size != size:
        drawn = ImageOps.fit(drawn, size, Image.Resampling.BOX)
    chosen = (from_pil(drawn)[None, :1] >= 0).float()  # white is 1, black -1
    if not bool(chosen.any()):
        raise ValueError(
            "the mask is black everywhere, so nothing would be painted: make white what is to be "
            "painted anew."
        )
    return chosen


def open_picture(picture: Any, name: str, *, background: str = "white") -> Image.Image:
    """A PIL image or the path of a file as RGB, upright, on `background`."""
    if isinstance(picture, (str, Path)):
        if not Path(picture).is_file():
            raise FileNotFoundError(f"There is no file {picture} for the {name}. Check the path.")
        if fault := find_fault(Path(picture), _WHOLE):
            raise ValueError(f"{picture} cannot serve as the {name}: {fault}.")
        if background == "white":
            return read_picture(Path(picture), _WHOLE)
        with Image.open(picture) as opened:
            return open_picture(opened, name, background=background)
    if not isinstance(picture, Image.Image):
        raise TypeError(
            f"{name} must be a PIL image or the path of a picture file, not "
            f"{type(picture).__name__}."
        )
    if background != "white" and ("A" in picture.getbands() or "transparency" in picture.info):
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, background), rgba)
    return as_rgb(picture, _WHOLE)


@one_thread
@torch.no_grad()
def encode_image(pipe: Any, pixels: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Pictures (1, 3, H, W) in [-1, 1] to latents (B, C, h, w), one for each generator.

    Stable Diffusion's autoencoder gives a normal distribution, of which each generator draws one
    sample, as diffusers does; AutoencoderTiny gives the latents themselves. The latents have the
    scale that the U-Net works on: those of the autoencoder times its ``scaling_factor``.
    """
    vae = pipe.vae
    with float32_vae(vae, always=False):
        parameter = next(vae.parameters())
        found = vae.encode(pixels.to(pipe._execution_device, parameter.dtype))
    if hasattr(found, "latent_dist"):
        latents = torch.cat([found.latent_dist.sample(generator) for generator in generators])
    else:
        latents = found.latents.expand(len(generators), -1, -1, -1)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (latents - shift) * vae.config.scaling_factor
