"""From noise to latents, step by step, with any scheduler, and from latents to pictures.

The loop is the one of diffusers' Stable Diffusion pipelines, without what a portrait does not need.
Noise comes from a CPU generator, one for each picture, so that a seed means the same picture on
every device and in every batch, up to rounding.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.device import check_seed, make_generator
from course_lib.errors import check_number, check_whole
from course_lib.pipelines.locks import one_thread
from course_lib.pipelines.prompts import Encoded, encode
from course_lib.pipelines.registry import ModelSpec, make_scheduler
from course_lib.pipelines.scheduler_steps import check_scheduler_steps
from course_lib.pipelines.tuning import report_of

MAX_EDGE = 4096  # pixels: twice what the largest model of the registry is used at
_DECODED_AT_ONCE = 8


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


def settings_for(
    pipe,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    size: int | Sequence[int] | None = None,
    scheduler: str | None = None,
) -> Settings:
    """Fill in the model's recommended settings and check the given ones.

    Raises
    ------
    ValueError
        If a value is out of range, the size is no multiple of the autoencoder's factor, or the
        scheduler cannot take that number of steps.
    """
    spec: ModelSpec = report_of(pipe).settings
    steps = spec.steps if steps is None else steps
    guidance = spec.guidance if guidance is None else guidance
    steps = check_whole("steps", steps, high=1000)
    guidance = check_number("guidance", guidance, low=0, high=100)
    size = spec.size if size is None else size
    height, width = _edges(size, getattr(pipe, "vae_scale_factor", 8), spec.size)
    chosen = scheduler or spec.scheduler
    check_scheduler_steps(chosen, steps, getattr(pipe, "scheduler", None))
    return Settings(steps, guidance, chosen, height, width, spec.guidance_until)


def _edges(size: int | Sequence[int], factor: int, native: int) -> tuple[int, int]:
    """Height and width in pixels, whatever form `size` has; ValueError for a wrong one."""
    try:
        pair = size if isinstance(size, Iterable) else (size, size)
        height, width = (check_whole("size", edge, low=factor, high=MAX_EDGE) for edge in pair)
        right = height % factor == width % factor == 0
    except (TypeError, ValueError):  # no number, or not two of them
        right = False
    if not right:
        raise ValueError(
            f"size must be a multiple of {factor} up to {MAX_EDGE} pixels, or a pair (height, "
            f"width) of such, not {size!r}; this model was trained at {native}."
        )
    return height, width


def supports_steps(pipe) -> bool:
    """Whether `paint_steps` knows this kind of pipeline: Stable Diffusion 1, 2 and XL."""
    known = type(pipe).__name__ in ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
    return known and pipe.unet.config.time_cond_proj_dim is None


def paint_steps(
    pipe,
    prompt: str | Sequence[str],
    *,
    negative_prompt: str | Sequence[str] = "",
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    n: int = 1,
    size: int | Sequence[int] | None = None,
    scheduler: str | None = None,
    weighting: str = "interpolate",
    noise: Tensor | None = None,
) -> Iterator[PaintStep]:
    """Paint, and yield each step while it runs.

    Parameters
    ----------
    pipe : StableDiffusionPipeline or StableDiffusionXLPipeline
        From `load_pipeline`, or made by yourself.
    prompt, negative_prompt : str or sequence of str
        One prompt or a batch; one negative prompt for all, or one for each.
    seed : int
        Picture k of `n` is painted from seed + k, for every prompt alike.
    steps, guidance, size, scheduler
        Default: what the model's registry entry recommends. Guidance of at most 1 does without the
        second pass of the U-Net, and then the negative prompt has no effect.
    weighting : str
        What ``(word:1.2)`` does; see `encode_prompt`.
    noise : Tensor, shape (B, C, h, w), optional
        Standard normal noise to start from, instead of the seeds'.

    Yields
    ------
    PaintStep
        Batches are ordered by prompt, then by seed.

    Raises
    ------
    TypeError
        If the pipeline is of another kind.
    ValueError
        For settings out of range.
    """
    if not supports_steps(pipe):
        raise TypeError(
            f"paint_steps follows Stable Diffusion 1, 2 and XL, not {type(pipe).__name__}. Use "
            "paint, or the pipeline's own callback_on_step_end."
        )
    settings = settings_for(pipe, steps=steps, guidance=guidance, size=size, scheduler=scheduler)
    encoded = encode(pipe, prompt, negative_prompt, weighting=weighting)
    seeds = seeds_of(seed, n) * len(encoded.prompt)
    return trajectory(pipe, encoded.repeat(n), seeds, settings, noise=noise)


def seeds_of(seed: int, n: int) -> list[int]:
    """The seeds of `n` pictures: seed, seed + 1, and so on."""
    n, seed = check_whole("n", n), check_seed(seed)
    check_seed(seed + n - 1)
    return [seed + k for k in range(n)]


def initial_noise(pipe, seeds: Sequence[int], settings: Settings) -> tuple[Tensor, list]:
    """Noise (B, C, h, w) in float32 on the CPU, and the generators that go on from there."""
    factor = pipe.vae_scale_factor
    shape = (1, pipe.unet.config.in_channels, settings.height // factor, settings.width // factor)
    generators = [make_generator(seed) for seed in seeds]
    # The type is named because loading a model in another thread changes the default for a while
    noise = [torch.randn(shape, generator=g, dtype=torch.float32) for g in generators]
    return torch.cat(noise), generators


def trajectory(
    pipe, encoded: Encoded, seeds: Sequence[int], settings: Settings, *, noise: Tensor | None = None
) -> Iterator[PaintStep]:
    """The loop behind `paint_steps`, for embeddings with one row a seed."""
    device, dtype = pipe._execution_device, encoded.prompt.dtype
    drawn, generators = initial_noise(pipe, seeds, settings)
    if noise is not None and noise.shape != drawn.shape:
        raise ValueError(f"noise must have shape {tuple(drawn.shape)}, not {tuple(noise.shape)}.")
    scheduler = make_scheduler(settings.scheduler, pipe.scheduler)
    scheduler.set_timesteps(settings.steps, device=device)
    timesteps = scheduler.timesteps
    latents = (drawn if noise is None else noise).to(device, dtype) * scheduler.init_noise_sigma
    extra = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        extra["generator"] = generators
    total = len(timesteps)
    guided = math.ceil(settings.guidance_until * total) if settings.guidance > 1 else 0
    contexts = {True: _context(pipe, encoded, settings, True) if guided else None}
    contexts[False] = _context(pipe, encoded, settings, False) if guided < total else None
    x_t = scheduler.scale_model_input(latents, timesteps[0])
    for i, t in enumerate(timesteps):
        with torch.no_grad():
            guidance = settings.guidance if i < guided else 1.0
            output = _predict(pipe, x_t, t, contexts[i < guided], guidance)
            x_0_hat = _clean(scheduler, x_t, output, t, i)
            latents = scheduler.step(output, t, latents, return_dict=False, **extra)[0]
            after = timesteps[i + 1] if i + 1 < total else None
            x_next = latents if after is None else scheduler.scale_model_input(latents, after)
        yield PaintStep(i, float(t), x_t, x_0_hat, x_next, total)
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
        ratio = float(sigmas[i])
        alpha = 1 / math.sqrt(1 + ratio**2)
        sigma = ratio * alpha
    else:
        bar = float(scheduler.alphas_cumprod[int(t)])
        alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return alpha * x_t - sigma * output
    return output if kind == "sample" else (x_t - sigma * output) / alpha


@one_thread
@torch.no_grad()
def decode_latents(pipe, latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) to pictures (B, 3, H, W) in [-1, 1], float32 on the CPU."""
    vae = pipe.vae
    z = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)
    # SDXL's autoencoder overflows in float16
    upcast = vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    if upcast:
        vae.to(dtype=torch.float32)
    try:
        z = z.to(dtype=next(vae.parameters()).dtype)
        images = [vae.decode(part, return_dict=False)[0] for part in z.split(_DECODED_AT_ONCE)]
    finally:
        if upcast:
            vae.to(dtype=torch.float16)
    return torch.cat(images).float().clamp(-1, 1).cpu()
