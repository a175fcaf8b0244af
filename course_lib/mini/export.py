"""From trained networks to a folder that stock diffusers loads."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.device import get_device
from course_lib.mini.config import MiniSizes
from course_lib.mini.data import signed, signed_batches
from course_lib.mini.judge import Judge
from course_lib.mini.tokenizer import save_tokenizer
from course_lib.weights import load_tensors, save_tensors

# Deviation of the largest channel of scaled latents. At the end of the noise, sqrt(abar) = 0.016,
# what is left of it is 0.06, no more than the mean of 16 x 16 cells of noise has by chance
LEADING = 3.87
SHARD = "15MB"  # a file of the model stays below 16 MiB
SUMS = "SHA256SUMS"


@torch.no_grad()
def set_scaling_factor(vae: nn.Module, pixels: Tensor, *, batch_size: int = 16) -> None:
    """Set ``vae.config.scaling_factor`` so that the largest channel has deviation `LEADING`.

    Parameters
    ----------
    vae : AutoencoderTiny
    pixels : Tensor, shape (N, 3, H, W), uint8
        Pictures to measure on.
    """
    latents = torch.cat(
        [vae.encode(signed(part).contiguous()).latents for part in pixels.split(batch_size)]
    )
    largest = latents.std(dim=(0, 2, 3)).max()
    vae.register_to_config(scaling_factor=round(LEADING / largest.item(), 4))


@torch.no_grad()
def encode_all(vae: nn.Module, pixels: Tensor, folder: Path, *, batch_size: int = 32) -> Tensor:
    """Latents of all pictures, scaled, as float16 (N, C, H/8, W/8); kept in a file for next time.

    The file names the encoder's checksum: latents of another encoder are made anew. If the scale
    has never been measured, it is measured here and set in the configuration of `vae`.
    """
    if vae.config.scaling_factor == 1.0:
        set_scaling_factor(vae, pixels[:512])
    device, scale = get_device(), vae.config.scaling_factor
    checksum = _checksum({k: v for k, v in vae.state_dict().items() if "deco" not in k})
    wanted = {"encoder": checksum, "count": len(pixels), "scale": scale}
    path = folder.with_suffix(".safetensors")
    if path.exists():
        tensors, info = load_tensors(path)
        if info == wanted:
            return tensors["latents"]
    vae = copy.deepcopy(vae).to(device, memory_format=torch.channels_last).eval()
    batches = signed_batches(pixels, batch_size, device)
    latents = torch.cat(
        [(vae.encode(x).latents * scale).half().cpu().contiguous() for x in batches]
    )
    save_tensors(path, {"latents": latents}, wanted)
    return latents


def _checksum(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_finished(folder: Path, name: str, module: nn.Module) -> None:
    """Keep a network in full precision for later stages."""
    info = {"scaling_factor": module.config.scaling_factor} if name == "vae" else {}
    save_tensors(folder / "finished" / f"{name}.safetensors", module.state_dict(), info)


def load_finished(folder: Path, parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Put finished networks of an earlier run into `parts`; return those that were found."""
    found = {}
    for name, module in parts.items():
        path = folder / "finished" / f"{name}.safetensors"
        if path.exists():
            tensors, info = load_tensors(path)
            module.load_state_dict(tensors)
            if info:
                module.register_to_config(**info)
            found[name] = module
    return found


def load_tokenizer(folder: Path):
    """The tokenizer of a model folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    """
    from transformers import CLIPTokenizer

    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no model_index.json, so it is not a diffusers model. Give a folder "
            "that this program wrote, such as data/models/mini."
        )
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def load_model(folder: Path, parts: dict[str, nn.Module], sizes: MiniSizes) -> list[str]:
    """Put the weights of a model folder into `parts`, in single precision.

    A model of other sizes is a start as well: tensors whose shape differs keep their random values.

    Returns
    -------
    list of str
        The names of those tensors, with their part's name before them.
    """
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    fresh = []
    for name, module in parts.items():
        source = pipeline.components.get(name)
        if name == "judge":
            source = Judge.load(folder / "judge" / "judge.safetensors", sizes)
        given, state = source.state_dict(), module.state_dict()
        fits = {k for k, v in state.items() if k in given and given[k].shape == v.shape}
        module.load_state_dict(state | {k: given[k].float() for k in fits})
        fresh += [f"{name}.{k}" for k in state if k not in fits]
    factor = pipeline.vae.config.scaling_factor
    parts["vae"].register_to_config(scaling_factor=factor)
    return fresh


def write_model(
    target: Path,
    parts: dict[str, nn.Module],
    tokenizer,
    scheduler,
) -> None:
    """Write a `StableDiffusionPipeline` in half precision, the judge, and the checksums.

    Everything is written beside the target first and moved file by file, so a full disk leaves
    the old model usable. A model card, ``README.md``, stays.
    """
    from diffusers import StableDiffusionPipeline

    half = {k: copy.deepcopy(v).cpu().half().eval() for k, v in parts.items() if k != "judge"}
    for module in half.values():
        module.to(memory_format=torch.contiguous_format)
    pipeline = StableDiffusionPipeline(
        **half,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".mini-") as temporary:
        staging = Path(temporary)
        pipeline.save_pretrained(staging, max_shard_size=SHARD)
        _load_as_ever(staging / "text_encoder")
        _drop_unread(staging / "vae" / "config.json")
        save_tokenizer(tokenizer, staging / "tokenizer")
        parts["judge"].save(staging / "judge" / "judge.safetensors")
        _write_checksums(staging)
        _move(staging, target)


def _load_as_ever(folder: Path) -> None:
    """Make old and new transformers load the text encoder alike, and in single precision.

    Old versions know the weights as ``text_model.*`` only. New ones take over the precision that
    the configuration names, while diffusers loads the other parts in single precision.
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


def _drop_unread(path: Path) -> None:
    """Leave out a setting that `AutoencoderTiny` writes but warns of when it reads it."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("block_out_channels", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_checksums(folder: Path) -> None:
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        path.chmod(0o644)  # safetensors writes for the owner alone; weights are to be shared
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _move(staging: Path, target: Path) -> None:
    """Put the new files in place and remove what the new model no longer has."""
    fresh = {p.relative_to(staging) for p in staging.rglob("*") if p.is_file()}
    for name in sorted(fresh):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, target / name)
    keep = {Path("README.md"), *fresh}
    for path in [p for p in target.rglob("*") if p.is_file()]:
        if path.relative_to(target) not in keep:
            path.unlink()
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)
