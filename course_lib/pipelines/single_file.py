"""Checkpoints in one safetensors file, as portrait makers share them.

Such a file holds weights only. Its configuration and its tokenizer come from a diffusers folder of
the same kind of model: one that is here, or a few small files from the hub.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from course_lib.device import make_generator
from course_lib.pipelines.allowed_classes import check_classes
from course_lib.pipelines.bundle import fetch_configuration, find
from course_lib.pipelines.files import INDEX, expanded, read_header
from course_lib.pipelines.registry import model_spec
from course_lib.pipelines.tuning import explained

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
    names = read_header(path)
    for name, kind in _KINDS.items():
        if name in names:
            return kind
    lora = any("lora" in name for name in names)
    raise ValueError(
        f"{path} is {'a LoRA, which changes a model but is none' if lora else 'no checkpoint'} of "
        "Stable Diffusion 1, 2 or XL. "
        + (
            "Load its base model, pipe = load_pipeline(...), and then "
            f"pipe.load_lora_weights({str(path.parent)!r}, weight_name={path.name!r})."
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
        folder = expanded(config)
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(
            f"config={str(folder)!r} has no {INDEX}. Give a diffusers folder of the same kind of "
            f"model ({kind}); its weights are not read."
        )
    check_classes(folder)
    cls = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    options = {} if kind == "sdxl" else {"requires_safety_checker": False, "safety_checker": None}
    with explained(path), _lower_case(path) as source:
        pipe = cls.from_single_file(
            str(source), config=str(folder), torch_dtype=dtype, local_files_only=True, **options
        )
    names = read_header(path)
    if "v_pred" in names or (kind == "sd-turbo" and predicts_v(pipe)):
        _predict_v(pipe, zero_snr="ztsnr" in names)
        if kind == "sd-turbo":  # of Stable Diffusion 2, only the models for 768 pixels predict v
            pipe.unet.register_to_config(sample_size=96)
    return pipe


@contextlib.contextmanager
def _lower_case(path: Path) -> Iterator[Path]:
    """The file under a name in lower case, since diffusers takes .SAFETENSORS for a pickle."""
    lower = path.with_suffix(".safetensors")
    if lower.exists() and lower.samefile(path):  # as it is, or the disk does not tell them apart
        yield lower
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / lower.name
        link.symlink_to(path.resolve())
        yield link


@torch.no_grad()
def predicts_v(pipe: Any) -> bool:
    """Whether a U-Net predicts v and not the noise, told from its answer to pure noise.

    The weights do not say it. At the last timestep x_t is almost eps, so a network that predicts
    the noise returns its input: 1 eps. The target v = alpha eps - sigma x_0 (arXiv:2202.00512)
    holds only alpha eps there, with alpha near 0. The share is that of the least squares.
    """
    config = pipe.unet.config
    # 8 x 8 is the smallest size that three halvings allow: a fraction of a second
    eps = torch.randn(1, config.in_channels, 8, 8, generator=make_generator(0))
    text, _ = pipe.encode_prompt("", "cpu", 1, False)
    last = pipe.scheduler.config.num_train_timesteps - 1
    output = pipe.unet(eps.to(text.dtype), last, encoder_hidden_states=text).sample
    share = (output.float() * eps).sum() / eps.square().sum()
    return share.item() < 0.5


def _predict_v(pipe: Any, *, zero_snr: bool) -> None:
    """Give a pipeline a scheduler for v; with `zero_snr` the last timestep is pure noise.

    A schedule without signal at its end must be entered there, hence the trailing steps
    (arXiv:2305.08891).
    """
    from diffusers import EulerDiscreteScheduler

    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if zero_snr else {}
    pipe.scheduler = EulerDiscreteScheduler.from_config(
        pipe.scheduler.config, prediction_type="v_prediction", **options
    )
