"""Model folders: from trained networks to a folder that stock diffusers loads, and back.

A folder holds at most eight weight files of 14 MiB or less, in float16, with SHA-256 sums over
everything, so it can be kept in a repository and moved between machines piece by piece.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

from course_lib.mini.attribute_classifier import CLASSIFIER_FILE, AttributeClassifier
from course_lib.mini.caption_vocabulary import write_vocabulary
from course_lib.mini.config import MiniConfig, TrainingData
from course_lib.mini.models import build_scheduler, build_text_encoder, build_unet, build_vae
from course_lib.mini.tokenizer import save_tokenizer
from course_lib.pipelines.allowed_classes import check_classes
from course_lib.pipelines.tuning import quiet

MAX_SHARD_BYTES = 14 * 2**20
CHECKSUMS = "SHA256SUMS"
MODEL_CARD = "README.md"


def new_models(config: MiniConfig, tokenizer, *, seed: int = 0) -> dict[str, nn.Module]:
    """The four networks with random weights: vae, text_encoder, unet and attribute_classifier."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {
            "vae": build_vae(config),
            "text_encoder": build_text_encoder(config, tokenizer),
            "unet": build_unet(config),
            "attribute_classifier": AttributeClassifier(config),
        }


def load_model(folder: str | Path, config: MiniConfig) -> tuple[dict[str, nn.Module], object, str]:
    """Read a model folder that `save_model` wrote.

    Returns
    -------
    models : dict
        As `new_models` makes them, in float32.
    tokenizer : CLIPTokenizer
    prediction_type : str
        What the scheduler says the U-Net predicts: ``sample`` or ``v_prediction``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    ValueError
        If the model's sizes or its vocabulary of attributes are not those of `config`.
    """
    from diffusers import StableDiffusionPipeline

    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no model_index.json, so it is not a diffusers model. Give a folder "
            "that this program wrote, such as data/models/mini."
        )
    check_classes(folder)
    with quiet():
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder, safety_checker=None, requires_safety_checker=False, local_files_only=True,
            use_safetensors=True,
        )  # fmt: skip
    models = new_models(config, pipeline.tokenizer)
    for name, module in models.items():
        if name == "attribute_classifier":
            source = AttributeClassifier.load(folder, config)
        else:
            source = pipeline.components[name]
        given = {key: tensor.float() for key, tensor in source.state_dict().items()}
        shapes = {key: tuple(tensor.shape) for key, tensor in given.items()}
        if shapes != {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}:
            raise ValueError(
                f"The {name} in {folder} has other sizes than this training ({config}). Train a "
                "model of other sizes from random weights, without --start-from."
            )
        module.load_state_dict(given)
    models["vae"].register_to_config(scaling_factor=pipeline.vae.config.scaling_factor)
    return models, pipeline.tokenizer, pipeline.scheduler.config.prediction_type


def save_model(
    folder: str | Path,
    models: dict[str, nn.Module],
    tokenizer,
    data: TrainingData,
    *,
    prediction_type: str = "sample",
) -> None:
    """Write a `StableDiffusionPipeline` in float16, the attribute classifier and the checksums.

    Everything is written beside the target first and moved file by file, so a full disk leaves
    the old model usable. A model card, ``README.md``, stays.

    Parameters
    ----------
    folder : path
    models : dict
        As `new_models` makes them; they stay as they are, in float32.
    tokenizer : CLIPTokenizer
    data : TrainingData
        What the model was trained on; written as ``training_data.json``, and what its captions
        can say as ``vocabulary.json``.
    prediction_type : {"sample", "v_prediction"}
        What the U-Net predicts: the clean latent, or v. The scheduler's configuration says it.
    """
    from diffusers import StableDiffusionPipeline

    target = Path(folder)
    networks = {k: v for k, v in models.items() if k != "attribute_classifier"}
    half = {k: copy.deepcopy(v).cpu().half().eval() for k, v in networks.items()}
    for module in half.values():
        module.to(memory_format=torch.contiguous_format)
    pipeline = StableDiffusionPipeline(
        **half,
        tokenizer=tokenizer,
        scheduler=build_scheduler(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".mini-") as temporary:
        staging = Path(temporary)
        with quiet():
            pipeline.save_pretrained(staging, max_shard_size=MAX_SHARD_BYTES)
        _rename_text_encoder_weights(staging / "text_encoder")
        _drop_unread_setting(staging / "vae" / "config.json")
        save_tokenizer(tokenizer, staging / "tokenizer")
        models["attribute_classifier"].save(staging / CLASSIFIER_FILE)
        data.write(staging)
        write_vocabulary(staging, data)
        write_checksums(staging)
        _move(staging, target)


def _rename_text_encoder_weights(folder: Path) -> None:
    """Make old and new transformers load the text encoder alike, and in float32.

    Old versions know the weights as ``text_model.*`` only. New ones take over the precision that
    the configuration names, while diffusers loads the other parts in float32.
    """
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = {
        k if k.startswith("text_model.") else f"text_model.{k}": v
        for k, v in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _drop_unread_setting(path: Path) -> None:
    """Leave out a setting that `AutoencoderTiny` writes but warns of when it reads it."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("block_out_channels", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over everything in a model folder but itself and the model card."""
    lines = []
    unlisted = (folder / CHECKSUMS, folder / MODEL_CARD)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p not in unlisted):
        path.chmod(0o644)  # safetensors writes for the owner alone; weights are to be shared
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _move(staging: Path, target: Path) -> None:
    """Put the new files in place and remove what the new model no longer has."""
    written = {p.relative_to(staging) for p in staging.rglob("*") if p.is_file()}
    for name in sorted(written):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, target / name)
    keep = {Path(MODEL_CARD), *written}
    for path in [p for p in target.rglob("*") if p.is_file()]:
        if path.relative_to(target) not in keep:
            path.unlink()
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)
