"""A picture painted again from the recipe that it carries."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.pipelines.metadata import load_settings
from course_lib.pipelines.painting import paint
from course_lib.pipelines.personalisation.recorded import find_recorded
from course_lib.pipelines.registry import REGISTRY

if TYPE_CHECKING:
    from PIL import Image


def repaint(picture: str | Path | Image.Image, model: Any = None, **changes) -> list[Image.Image]:
    """Paint a picture again from the recipe that it carries, with `changes` if you like.

    Parameters
    ----------
    picture : path or PIL.Image.Image
        A picture of `paint`, of the command line, or of another portrait maker.
    model : str, path or pipeline, optional
        Default: the recipe's, if it is in the registry. A file from somebody else never decides
        what is fetched from the network.
    **changes
        Whatever `paint` takes.

    Raises
    ------
    ValueError
        If there is no recipe, it makes no sense, or its model has no name in the registry.

    Warns
    -----
    UserWarning
        Where the portrait cannot be the same: another sampler, another version of the model.
    """
    recipe = load_settings(picture)
    if made_by := recipe.get("made_by"):
        raise ValueError(_not_from_prompt(made_by))
    if recipe.get("loras") and "lora" not in changes:
        beside = [] if hasattr(picture, "info") else [Path(picture).parent]
        changes["lora"] = find_recorded(recipe, beside)
    images = paint(**{**recipe_arguments(recipe, model), **changes})
    now = json.loads(images[0].info["course"])["revision"]
    if model is None and recipe.get("revision") not in (None, now):
        warnings.warn(
            f"{recipe['model']!r} has changed since this picture was painted (revision "
            f"{str(recipe['revision'])[:12]}, now {str(now)[:12]}), so the portrait differs.",
            stacklevel=2,
        )
    return images


def _not_from_prompt(made_by: Any) -> str:
    """Why a recipe does not give its picture again, in a sentence."""
    if made_by == "prompt_to_prompt":
        return "The picture was made by prompt_to_prompt from two prompts: call that once more."
    if made_by in ("paint_with_sketch", "paint_with_image_prompt"):
        return (
            "The picture was painted along a sketch or an image, which its recipe does not hold: "
            "give that again, to paint_with_sketch or paint_like."
        )
    return (
        "The picture was made from another picture, which its recipe does not hold: give that "
        "picture again, with --init-image FILE or to image_to_image or inpaint."
    )


def recipe_arguments(recipe: Mapping[str, Any], model: Any = None) -> dict[str, Any]:
    """What `paint` is to be called with for a recipe of `load_settings`.

    Raises
    ------
    ValueError
        If no model is given and the recipe's has no name in the registry.
    """
    if model is None:
        model = recipe.get("model")
        if model not in REGISTRY:
            raise ValueError(
                f"The picture was painted with {model!r}, which has no name in the registry. Say "
                f"which model to use, one of {', '.join(REGISTRY)} or what load_pipeline takes."
            )
    names = ("prompt", "negative_prompt", "seed", "steps", "guidance", "scheduler", "weighting")
    arguments = {key: recipe[key] for key in names if recipe.get(key) is not None}
    if recipe.get("height") is not None and recipe.get("width") is not None:
        arguments["size"] = (recipe["height"], recipe["width"])
    return {"model": model, **arguments}
