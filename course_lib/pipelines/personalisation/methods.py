"""What each method trains, and what it writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.pipelines.personalisation.denoising import (
    denoising_error,
    prediction_of_pipe,
    schedule_of,
)
from course_lib.pipelines.personalisation.examples import text_conditions
from course_lib.pipelines.personalisation.lora_files import ADAPTER, lora_tensors
from course_lib.pipelines.personalisation.settings import Recipe
from course_lib.pipelines.personalisation.tokens import extra_tokens, token_ids
from course_lib.pipelines.personalisation.weights import TrainedWeights

_LARGE = 300_000_000  # parameters of a U-Net that is trained with gradient checkpointing


@dataclass(frozen=True, eq=False)
class Trained:
    """A method at work on a pipeline.

    Attributes
    ----------
    weights : TrainedWeights
    loss : callable
        ``loss(x_0, noise, t, conditions)`` -> scalar.
    conditions : callable
        ``conditions(captions)`` -> what the loss takes, one row a caption.
    file : callable
        ``file(format)`` -> tensors and entries of the header, from the weights as they are.
    """

    weights: TrainedWeights
    loss: Callable[..., Tensor]
    conditions: Callable[[list[str]], dict[str, Tensor]]
    file: Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]


@contextlib.contextmanager
def frozen(pipe) -> Iterator[None]:
    """Nothing but what a method adds is trained; large U-Nets trade time for memory."""
    networks = [pipe.unet, pipe.text_encoder, getattr(pipe, "text_encoder_2", None)]
    parameters = [p for network in networks if network is not None for p in network.parameters()]
    trained = [p for p in parameters if p.requires_grad]
    large = sum(p.numel() for p in pipe.unet.parameters()) > _LARGE
    for parameter in trained:
        parameter.requires_grad_(False)
    if large:
        pipe.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if large:
            pipe.unet.disable_gradient_checkpointing()
        for parameter in trained:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def lora(pipe, recipe: Recipe, size: int, seed: int) -> Iterator[Trained]:
    """A LoRA in the U-Net, W + (alpha / r) B A (arXiv:2106.09685); removed at the end."""
    from peft import LoraConfig

    unet = pipe.unet
    if getattr(unet, "peft_config", None):
        raise ValueError(
            "the pipeline has adapters of its own, and training on top of them would bake them in. "
            "Call pipe.unload_lora_weights() first."
        )
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.rank, init_lora_weights="gaussian",
        target_modules=list(recipe.targets),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(config, adapter_name=ADAPTER)
    try:
        named = {name: p for name, p in unet.named_parameters() if p.requires_grad}
        for parameter in named.values():
            parameter.data = parameter.data.float()  # small steps are lost in 16 bit
        yield Trained(
            TrainedWeights(named), _loss(pipe), lambda texts: text_conditions(pipe, texts, size),
            lambda format: lora_tensors(unet, format),
        )  # fmt: skip
    finally:
        unet.unload_lora()


@contextlib.contextmanager
def textual_inversion(pipe, recipe: Recipe, token: str, start_word: str) -> Iterator[Trained]:
    """New rows of the text encoder's table (arXiv:2208.01618), and nothing else."""
    table = pipe.text_encoder.get_input_embeddings().weight
    known = pipe.tokenizer(start_word, add_special_tokens=False).input_ids
    # Every row starts from the mean embedding of a word that the model knows
    start = table.detach()[known].float().mean(dim=0, keepdim=True)
    rows = nn.Parameter(start.repeat(recipe.rank, 1))
    error = _loss(pipe)

    def loss(x_0: Tensor, noise: Tensor, t: Tensor, conditions: dict[str, Tensor]):
        text = pipe.text_encoder(conditions["input_ids"])[0]
        return error(x_0, noise, t, {"encoder_hidden_states": text})

    def file(format: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        return {token: rows.detach().cpu().clone()}, {}

    with extra_tokens(pipe, {token: rows}):
        yield Trained(
            TrainedWeights({token: rows}), loss,
            lambda texts: {"input_ids": token_ids(pipe, texts)}, file,
        )  # fmt: skip


def _loss(pipe) -> Callable[..., Any]:
    schedule, prediction = schedule_of(pipe), prediction_of_pipe(pipe)

    def loss(x_0, noise, t, conditions):
        return denoising_error(pipe.unet, schedule, prediction, x_0, noise, t, conditions)

    return loss
