"""Checkpoints in one safetensors file, as portrait makers share them.

Such a file holds weights only. Its configuration and its tokenizer come from a diffusers folder of
the same kind of model: one that is here, or a few small files from the hub.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

from course_lib.pipelines.bundle import fetch_configuration, find
from course_lib.pipelines.files import INDEX
from course_lib.pipelines.registry import model_spec

# A tensor that only this kind of checkpoint has -> whose configuration fits.
_KINDS = {
    "conditioner.embedders.1.model.ln_final.weight": "sdxl",
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": "sd15",
    "cond_stage_model.model.ln_final.weight": "sd-turbo",
}


def kind_of(path: Path) -> str:
    """The registry's model with the same configuration as a checkpoint.

    Raises
    ------
    ValueError
        If it is no checkpoint of Stable Diffusion 1, 2 or XL.
    """
    with open(path, "rb") as stream:
        names = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    for name, kind in _KINDS.items():
        if name in names:
            return kind
    lora = any("lora" in name for name in names)
    raise ValueError(
        f"{path} is {'a LoRA, which changes a model but is none' if lora else 'no checkpoint'} of "
        "Stable Diffusion 1, 2 or XL. "
        + (
            "Load its base model and then pipe.load_lora_weights(path)."
            if lora
            else "Give a whole model, or a diffusers folder."
        )
    )


def load_single_file(path: Path, dtype: torch.dtype, config: str | Path | None = None):
    """The pipeline of a single-file checkpoint, without asking the network for weights."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    kind = kind_of(path)
    if config is None:
        found = find(model_spec(kind))
        here = found is not None and found.path.is_dir()
        folder = found.path if here else fetch_configuration(model_spec(kind))
    else:
        folder = Path(config).expanduser()
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(
            f"config={str(folder)!r} has no {INDEX}. Give a diffusers folder of the same kind of "
            f"model ({kind}); its weights are not read."
        )
    cls = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    options = {} if kind == "sdxl" else {"requires_safety_checker": False, "safety_checker": None}
    return cls.from_single_file(
        str(path), config=str(folder), torch_dtype=dtype, local_files_only=True, **options
    )
