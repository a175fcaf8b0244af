"""How each method is trained on each kind of model, unless the user says otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from course_lib.errors import check_choice, check_number, check_whole

METHODS = ("lora", "dreambooth", "textual-inversion")
FORMATS = ("diffusers", "kohya")
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_NAME = re.compile(r"[^\W_][\w.-]*")
_RESERVED_ENDS = (".safetensors", ".png")


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training.

    Attributes
    ----------
    steps, batch_size : int
        With DreamBooth, half of each batch are pictures of the model's own.
    lr : float
        Peak learning rate.
    rank : int
        Rank of the LoRA matrices, whose alpha is the same number, so that their product is added
        unscaled; for textual inversion, how many tokens stand for the subject.
    targets : tuple of str
        Ends of the names of the layers that get a LoRA.
    prior : int
        Pictures of the class that the model paints itself beforehand, for DreamBooth.
    drop : float
        Share of the examples that get the empty prompt.
    """

    steps: int
    lr: float
    batch_size: int
    rank: int
    targets: tuple[str, ...] = _ATTENTION
    prior: int = 0
    drop: float = 0.0


# The mini has no attention at its full 16 x 16, where texture is made, but convolutions
_MINI = (*_ATTENTION, "conv1", "conv2")
RECIPES: dict[tuple[str, str], Recipe] = {
    ("mini", "lora"): Recipe(200, 2e-3, 4, 4, _MINI, drop=0.1),
    ("mini", "dreambooth"): Recipe(200, 2e-3, 4, 4, _MINI, prior=24),
    ("mini", "textual-inversion"): Recipe(200, 2e-2, 4, 2),
    ("sd", "lora"): Recipe(1000, 1e-4, 1, 16),
    ("sd", "dreambooth"): Recipe(800, 1e-4, 2, 16, prior=100),
    ("sd", "textual-inversion"): Recipe(2000, 5e-4, 1, 1),
    ("sdxl", "lora"): Recipe(1000, 1e-4, 1, 16),
    ("sdxl", "dreambooth"): Recipe(800, 1e-4, 2, 16, prior=100),
}
LEAST_PICTURES = {"lora": 4, "dreambooth": 3, "textual-inversion": 3}


def kind_of(pipe) -> str:
    """ "mini", "sd" or "sdxl".

    Raises
    ------
    ValueError
        For a pipeline without a U-Net of these kinds.
    """
    if type(pipe).__name__ not in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
        raise ValueError(
            f"personalise trains Stable Diffusion 1, 2, XL and the mini, not a "
            f"{type(pipe).__name__}. Choose another model."
        )
    embedding = pipe.unet.config.addition_embed_type
    return {"text": "mini", "text_time": "sdxl"}.get(embedding, "sd")


def recipe_for(kind: str, method: str, **given: Any) -> Recipe:
    """The recipe of a kind of model and a method, with what the user has said instead.

    Raises
    ------
    ValueError
        If the method does not go with the model, or a number is out of range.
    """
    if (kind, method) not in RECIPES:
        raise ValueError(
            f"{method} is not offered for SDXL, whose two text encoders would each need tokens of "
            "their own. Take method='lora' or 'dreambooth'."
        )
    changes = {name: value for name, value in given.items() if value is not None}
    for name, low, high in (("steps", 1, 100_000), ("batch_size", 1, 256), ("rank", 1, 256)):
        if name in changes:
            changes[name] = check_whole(name, changes[name], low=low, high=high)
    if "lr" in changes:
        changes["lr"] = check_number("lr", changes["lr"], low=1e-8, high=0.5)
    recipe = replace(RECIPES[kind, method], **changes)
    if method == "dreambooth" and recipe.batch_size % 2:
        raise ValueError(
            f"batch_size must be even for dreambooth, not {recipe.batch_size}: half of each batch "
            "are pictures of the model's own."
        )
    return recipe


def check_names(method: str, name: str, format: str, kind: str | None = None) -> None:
    """Refuse unknown methods and formats, and names that no prompt or file could carry."""
    check_choice("method", method, METHODS)
    check_choice("format", format, FORMATS)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(_RESERVED_ENDS):
        raise ValueError(
            f"name must be one word of letters, digits, '-', '_' or '.', such as 'anna', not "
            f"{name!r}: it stands in prompts and names the file."
        )
    if format == "kohya" and kind == "mini":
        raise ValueError(
            "format='kohya' is for programs that load Stable Diffusion 1.5; no such program loads "
            "the mini. Leave format out."
        )
    if format == "kohya" and method == "textual-inversion":
        raise ValueError("A textual inversion has one format only. Leave format out.")
