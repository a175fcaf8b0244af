"""From noise to latents, step by step, with any scheduler, and from latents to pictures.

Noise comes from a CPU generator, one for each picture, so that a seed means the same picture on
every device and in every batch, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from course_lib.device import check_seed, make_generator
from course_lib.errors import check_number, check_whole
from course_lib.pipelines.denoising import PaintStep, Settings, walk
from course_lib.pipelines.locks import one_thread
from course_lib.pipelines.prompts import Encoded, encode
from course_lib.pipelines.registry import ModelSpec, make_scheduler
from course_lib.pipelines.scheduler_steps import check_scheduler_steps
from course_lib.pipelines.tuning import report_of

MAX_EDGE = 4096  # pixels: twice what the largest model of the registry is used at
_DECODED_AT_ONCE = 8


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


def initial_noise(
    pipe, seeds: Sequence[int], settings: Settings, generators: list | None = None
) -> tuple[Tensor, list]:
    """Noise (B, C, h, w) in float32 on the CPU, and the generators that go on from there."""
    factor = pipe.vae_scale_factor
    shape = (1, pipe.unet.config.in_channels, settings.height // factor, settings.width // factor)
    generators = generators or [make_generator(seed) for seed in seeds]
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
    latents = (drawn if noise is None else noise).to(device, dtype) * scheduler.init_noise_sigma
    yield from walk(pipe, encoded, settings, scheduler, latents, generators)


@one_thread
@torch.no_grad()
def decode_latents(pipe, latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) to pictures (B, 3, H, W) in [-1, 1], float32 on the CPU."""
    vae = pipe.vae
    z = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)
    with float32_vae(vae, always=False):
        z = z.to(dtype=next(vae.parameters()).dtype)
        images = [vae.decode(part, return_dict=False)[0] for part in z.split(_DECODED_AT_ONCE)]
    return torch.cat(images).float().clamp(-1, 1).cpu()


@contextmanager
def float32_vae(vae, *, always: bool) -> Iterator[None]:
    """Let an autoencoder compute in float32: always, or where it overflows in float16.

    Of Stable Diffusion's, that of XL does, and its configuration says so.
    """
    dtype, overflows = vae.dtype, getattr(vae.config, "force_upcast", False)
    change = dtype != torch.float32 if always else dtype == torch.float16 and overflows
    if change:
        vae.to(dtype=torch.float32)
    try:
        yield
    finally:
        if change:
            vae.to(dtype=dtype)
