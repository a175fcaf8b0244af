"""A LoRA in a pipeline's U-Net for as long as a block of code, and the model without it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from course_lib.errors import check_whole
from course_lib.pipelines.personalisation.methods import frozen

TARGETS = (
    "to_k",
    "to_q",
    "to_v",
    "to_out.0",
)  # the attention's linear layers, as diffusers' scripts


@contextlib.contextmanager
def trainable_lora(pipe, *, rank: int = 4, seed: int = 0) -> Iterator[list[nn.Parameter]]:
    """Add a LoRA (arXiv:2106.09685) that changes nothing yet; it is removed at the end.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline
    rank : int
    seed : int
        Of the LoRA's first matrices.

    Yields
    ------
    list of Parameter
        What can be trained: the LoRA alone.

    Raises
    ------
    ValueError
        If the pipeline has adapters already.
    """
    from peft import LoraConfig

    unet = pipe.unet
    if getattr(unet, "peft_config", None):
        raise ValueError("The U-Net has adapters already. Call pipe.unload_lora_weights() first.")
    rank = check_whole("rank", rank)
    config = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(TARGETS)
    )
    with frozen(pipe):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet.add_adapter(config)
        try:
            yield [p for p in unet.parameters() if p.requires_grad]
        finally:
            unet.unload_lora()


@contextlib.contextmanager
def reference(pipe) -> Iterator[None]:
    """The model as it was before the LoRA, without a second copy of its weights."""
    pipe.unet.disable_adapters()
    try:
        yield
    finally:
        pipe.unet.enable_adapters()
