"""The shipped adapters of the mini: making new ones, loading, and their folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from course_lib.pipelines.locks import LOADING
from course_lib.pipelines.registry import SHIPPED
from course_lib.pipelines.shelf import verify_sums
from course_lib.pipelines.tuning import dtype_keyword, quiet
from course_lib.weights import load_tensors, save_tensors

if TYPE_CHECKING:
    from diffusers import T2IAdapter

ADAPTERS = SHIPPED / "adapters"
IMAGE_PROMPT_FILE = "model.safetensors"


def new_sketch_adapter(unet) -> T2IAdapter:
    """A T2I-Adapter (arXiv:2302.08453) for the U-Net of the mini, with small random weights.

    Its features, (B, C, 8, 8), are added to what the first down block hands on. That block has no
    cross-attention, so diffusers adds them after its downsampling, as in Stable Diffusion XL: the
    sketch is reduced by twice the autoencoder's factor. One residual block keeps the file small.
    """
    from diffusers import T2IAdapter

    channels = unet.config.block_out_channels[:1]
    adapter = T2IAdapter(
        in_channels=1, channels=list(channels), num_res_blocks=1, downscale_factor=16
    )
    with torch.no_grad():
        adapter.adapter.conv_in.weight.mul_(0.1)  # nearly no effect at first
        nn.init.zeros_(adapter.adapter.body[0].resnets[0].block2.weight)
    return adapter


def load_sketch_adapter(folder: str | Path | None = None, *, device=None) -> T2IAdapter:
    """Load a sketch adapter, after its files were compared with ``SHA256SUMS``.

    Parameters
    ----------
    folder : path, optional
        As diffusers' ``save_pretrained`` writes it, with checksums. Default: the shipped one.
    device : torch.device, optional
        Default: the CPU.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder or its checksums are missing, or a file differs.
    """
    from diffusers import T2IAdapter

    folder = verify_sums(Path(folder or ADAPTERS / "sketch"), "The sketch adapter")
    options = {dtype_keyword(): torch.float32, "use_safetensors": True, "local_files_only": True}
    with LOADING, quiet():
        adapter = T2IAdapter.from_pretrained(str(folder), **options)
    return adapter.requires_grad_(False).to(device or "cpu")


def save_image_prompt(projection: nn.Module, folder: Path) -> Path:
    """Write a projection of image embeddings in float16, with IP-Adapter's names of tensors."""
    tensors = {f"image_proj.{name}": t.half() for name, t in image_proj_of(projection).items()}
    return save_tensors(folder / IMAGE_PROMPT_FILE, tensors, {"kind": "image prompt"})


def image_proj_of(projection: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of diffusers' `ImageProjection` under the names that IP-Adapter files have."""
    linear, norm = projection.image_embeds, projection.norm
    tensors = {
        "proj.weight": linear.weight, "proj.bias": linear.bias,
        "norm.weight": norm.weight, "norm.bias": norm.bias,
    }  # fmt: skip
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def load_image_prompt(folder: str | Path | None = None) -> dict[str, torch.Tensor]:
    """Load what `save_image_prompt` wrote: the ``image_proj`` of an IP-Adapter, in float32.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder or its checksums are missing, or a file differs.
    """
    folder = verify_sums(Path(folder or ADAPTERS / "image_prompt"), "The image prompt")
    tensors, _ = load_tensors(folder / IMAGE_PROMPT_FILE)
    return {name.removeprefix("image_proj."): tensor.float() for name, tensor in tensors.items()}


def ip_adapter_state(unet, image_proj: dict[str, torch.Tensor]) -> dict[str, dict]:
    """The dictionary that `load_ip_adapter` takes (arXiv:2308.06721).

    IP-Adapter has keys and values of its own for the image's tokens, in every cross-attention. Here
    they are the U-Net's own for text, from which the paper starts its training: the projection
    learns to write tokens that these can read.

    Diffusers numbers all attention layers in the order of ``attn_processors``; cross-attentions
    are every second one, 1, 3, 5 and so on.
    """
    ip_adapter = {}
    for number, name in enumerate(unet.attn_processors):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        if name.endswith("attn2.processor"):
            ip_adapter[f"{number}.to_k_ip.weight"] = layer.to_k.weight.detach().clone()
            ip_adapter[f"{number}.to_v_ip.weight"] = layer.to_v.weight.detach().clone()
    return {"image_proj": image_proj, "ip_adapter": ip_adapter}
