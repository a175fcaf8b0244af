"""An image as prompt for the mini: IP-Adapter (arXiv:2308.06721) with the course's classifier."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import IMAGE_SIZE
from course_lib.pipelines.adapters.steering import paint_with_image_prompt
from course_lib.pipelines.adapters.weights import load_image_prompt
from course_lib.pipelines.registry import SHIPPED
from course_lib.tensors import from_pil

if TYPE_CHECKING:
    from PIL import Image

TOKENS = 4  # of an image; diffusers takes a plain IP-Adapter to have exactly so many


def paint_like(
    image: Image.Image,
    prompt: str = "a portrait",
    *,
    ip_adapter_scale: float = 1.0,
    seed: int = 0,
    n: int = 1,
    **settings: Any,
) -> list[Image.Image]:
    """Paint a portrait with the mini that resembles an image, with the shipped IP-Adapter.

    What it takes from the image is what the course's attribute classifier sees there: of one of
    the painter's portraits much, of a photograph nothing that means something.

    Parameters
    ----------
    image : PIL.Image.Image
        A portrait; the largest centred square is used. Use pictures of people who agreed to it.
    prompt : str
        What the text says besides.
    ip_adapter_scale : float
        The weight of the image beside the text; 0 leaves the image out.
    seed, n, **settings
        As for `course_lib.paint`; settings are ``steps``, ``guidance``, ``scheduler`` and
        ``negative_prompt``.

    Returns
    -------
    list of PIL.Image.Image

    Raises
    ------
    TypeError, ValueError
        If it is no picture, or a setting is out of range.
    """
    if not hasattr(image, "getbands"):
        raise TypeError(f"image must be a PIL image, not {type(image).__name__}.")
    embeds = image_embeds(_classifier(), from_pil(image, IMAGE_SIZE)[None])
    options = {"ip_adapter_scale": ip_adapter_scale, "seed": seed, "n": n, **settings}
    return paint_with_image_prompt(prompt, embeds, _image_proj(), **options)


@torch.no_grad()
def image_embeds(classifier: AttributeClassifier, images: Tensor) -> Tensor:
    """What an image prompt knows of images, (B, E); each number is about 1 in size.

    It is the embedding that the classifier shares with captions, as IP-Adapter takes CLIP's.

    Parameters
    ----------
    images : Tensor, shape (B, 3, 128, 128)
        In [-1, 1].
    """
    embedding = classifier.image_embedding(classifier.features(images))
    return embedding * embedding.shape[-1] ** 0.5


def new_image_prompt(unet, width: int = 128) -> nn.Module:
    """Diffusers' `ImageProjection`: image embeddings (B, E) -> tokens (B, 4, W)."""
    from diffusers.models.embeddings import ImageProjection

    return ImageProjection(width, unet.config.cross_attention_dim, TOKENS)


@cache
def _classifier() -> AttributeClassifier:
    return AttributeClassifier.load(SHIPPED / "mini")


@cache
def _image_proj() -> dict[str, Tensor]:
    return load_image_prompt()
