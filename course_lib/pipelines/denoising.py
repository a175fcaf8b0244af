"""The denoising loop of Stable Diffusion, step by step, as diffusers' pipelines have it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.pipelines.locks import one_thread
from course_lib.pipelines.prompts import Encoded


@dataclass(frozen=True, eq=False)
class PaintStep:
    """One step of the way from noise to a picture.

    Attributes
    ----------
    i, total : int
        Number of the step, from 0, and how many there are.
    t : float
        The timestep at which the U-Net was asked.
    latents : Tensor, shape (B, C, h, w)
        What the U-Net saw, in the variance-preserving scale, whatever the scheduler keeps.
    x_0_hat : Tensor, shape (B, C, h, w)
        The clean latents that its answer stands for, guidance included.
    latents_next : Tensor, shape (B, C, h, w)
        What the step made of it: the next step's `latents`. The last one is the result.
    """

    i: int
    t: float
    latents: Tensor
    x_0_hat: Tensor
    latents_next: Tensor
    total: int


@dataclass(frozen=True)
class Settings:
    """How to paint: everything that a seed needs besides model and prompt."""

    steps: int
    guidance: float
    scheduler: str
    height: int
    width: int
    guidance_until: float = 1.0


def walk(
    pipe, encoded: Encoded, settings: Settings, scheduler, latents: Tensor, generators: list, *,
    first: int = 0, after_step: Callable[[Tensor, int], Tensor] | None = None,
) -> Iterator[PaintStep]:  # fmt: skip
    """Denoise `latents`, in the scheduler's own scale, from its timestep number `first` on.

    `after_step` gets each step's result and the next timestep's number, and returns what goes on.
    """
    extra = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        extra["generator"] = generators
    timesteps, total = scheduler.timesteps, len(scheduler.timesteps)
    guided = math.ceil(settings.guidance_until * total) if settings.guidance > 1 else 0
    contexts = {True: _context(pipe, encoded, settings, True) if guided > first else None}
    contexts[False] = _context(pipe, encoded, settings, False) if guided < total else None
    x_t = scheduler.scale_model_input(latents, timesteps[first])
    for i, t in enumerate(timesteps[first:], first):
        with torch.no_grad():
            guidance = settings.guidance if i < guided else 1.0
            output = _predict(pipe, x_t, t, contexts[i < guided], guidance)
            x_0_hat = _clean(scheduler, x_t, output, t, i)
            latents = scheduler.step(output, t, latents, return_dict=False, **extra)[0]
            latents = latents if after_step is None else after_step(latents, i + 1)
            after = timesteps[i + 1] if i + 1 < total else None
            x_next = latents if after is None else scheduler.scale_model_input(latents, after)
        yield PaintStep(i - first, float(t), x_t, x_0_hat, x_next, total - first)
        x_t = x_next


def _context(pipe, encoded: Encoded, settings: Settings, guided: bool) -> dict[str, Any]:
    """Keyword arguments of the U-Net: with guidance the negative rows come first."""

    def pair(negative: Tensor, positive: Tensor) -> Tensor:
        return torch.cat([negative, positive]) if guided else positive

    context: dict[str, Any] = {
        "encoder_hidden_states": pair(encoded.negative, encoded.prompt),
        "return_dict": False,
    }
    if pipe.unet.config.addition_embed_type == "text_time":  # SDXL is told the picture's size
        text = pair(encoded.negative_pooled, encoded.pooled)
        height, width = settings.height, settings.width
        ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=text.dtype)
        ids = ids.to(text.device).expand(len(text), -1)
        context["added_cond_kwargs"] = {"text_embeds": text, "time_ids": ids}
    return context


@one_thread
def _predict(pipe, x_t: Tensor, t: Tensor, context: dict, guidance: float) -> Tensor:
    """The U-Net's answer; with guidance w, uncond + w (cond - uncond) (arXiv:2207.12598)."""
    both = len(context["encoder_hidden_states"]) == 2 * len(x_t)
    output = pipe.unet(torch.cat([x_t, x_t]) if both else x_t, t, **context)[0]
    if not both:
        return output
    without, with_text = output.chunk(2)
    return without + guidance * (with_text - without)


def _clean(scheduler, x_t: Tensor, output: Tensor, t: Tensor, i: int) -> Tensor:
    """The clean latents that the answer stands for; `x_t` in the variance-preserving scale."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:  # sigma / alpha, as Karras counts it
        bar = 1 / (1 + float(sigmas[i]) ** 2)
    else:
        bar = float(scheduler.alphas_cumprod[int(t)])
    return _clean_at(bar, x_t, output, scheduler.config.prediction_type)


def _clean_at(bar: float, x_t: Tensor, output: Tensor, kind: str) -> Tensor:
    alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
    if kind == "v_prediction":
        return alpha * x_t - sigma * output
    return output if kind == "sample" else (x_t - sigma * output) / alpha


def predict_clean(
    pipe, x_t: Tensor, t: int, alpha_bar: float, encoded: Encoded, settings: Settings
) -> Tensor:
    """The clean latents that the U-Net, asked at `t`, sees in `x_t` of noise level `alpha_bar`."""
    guided = settings.guidance > 1
    context = _context(pipe, encoded, settings, guided)
    output = _predict(pipe, x_t, torch.tensor(t), context, settings.guidance)
    return _clean_at(float(alpha_bar), x_t, output, pipe.scheduler.config.prediction_type)
