"""From pictures and captions to what a training step takes: latents, conditions, noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.pipelines.prompts import PromptWarning, encode
from course_lib.pipelines.sampling import float32_vae
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import expand_to
from course_lib.training_run import batch_indices, seed_of

HELD_OUT_SHARE = 5  # one picture in five is held out, and at least one
_TIMES = 16  # timesteps at which each held-out picture is measured
_ENCODED_AT_ONCE = 4

Conditions = dict[str, Tensor]
Batch = tuple[Tensor, Tensor, Tensor, Conditions]


@dataclass(frozen=True, eq=False)
class Examples:
    """Latents and what the U-Net is told of each.

    Attributes
    ----------
    latents : Tensor, shape (N, C, h, w)
        Scaled as the U-Net sees them, float32 on the CPU.
    conditions : dict of str to Tensor
        Keyword arguments of the U-Net, N rows each; or ``input_ids`` (N, 77), where the text
        encoder is part of what is trained.
    empty : dict of str to Tensor
        The same for the empty prompt, one row.
    """

    latents: Tensor
    conditions: Conditions
    empty: Conditions

    def __len__(self) -> int:
        return len(self.latents)

    def rows(self, index: Tensor) -> Examples:
        """Some of the examples."""
        chosen = {name: value[index] for name, value in self.conditions.items()}
        return Examples(self.latents[index], chosen, self.empty)


@torch.no_grad()
def encode_images(pipe, images: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [-1, 1] to latents (N, C, h, w), scaled as the U-Net sees them.

    The mean of the autoencoder's distribution is taken. It computes in float32: that of SDXL
    overflows in float16.
    """
    vae, latents = pipe.vae, []
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    with float32_vae(vae, always=True):
        for part in images.split(_ENCODED_AT_ONCE):
            out = vae.encode(part.to(pipe._execution_device))
            mean = out.latents if hasattr(out, "latents") else out.latent_dist.mode()
            latents.append(((mean - shift) * vae.config.scaling_factor).cpu())
    return torch.cat(latents)


def text_conditions(pipe, captions: Sequence[str], size: int) -> Conditions:
    """What the U-Net is told of each caption: keyword arguments, one row a caption."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)  # long captions are read in parts, all alike
        encoded = encode(pipe, list(captions))
    conditions = {"encoder_hidden_states": encoded.prompt.float().cpu()}
    if pipe.unet.config.addition_embed_type == "text_time":  # SDXL: pooled text, sizes and crop
        conditions["text_embeds"] = encoded.pooled.float().cpu()
        sizes = [float(size), float(size), 0.0, 0.0, float(size), float(size)]
        conditions["time_ids"] = torch.tensor([sizes] * len(captions))
    return conditions


def split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices to train on and indices held out: one in five, at least one."""
    generator = torch.Generator().manual_seed(seed_of(seed, count))
    order = torch.randperm(count, generator=generator)
    held_out = max(1, count // HELD_OUT_SHARE)
    return order[held_out:].sort().values, order[:held_out].sort().values


def batch_of(
    parts: Sequence[Examples],
    sizes: Sequence[int],
    schedule: NoiseSchedule,
    *,
    seed: int,
    drop: float = 0.0,
) -> Callable[[int, torch.Generator], Batch]:
    """The function that draws step k's batch: so many rows of each part, timesteps and noise.

    A share `drop` of the rows gets the empty prompt, which guidance needs later
    (arXiv:2207.12598).
    """

    def draw(step: int, generator: torch.Generator) -> Batch:
        drawn = [
            part.rows(batch_indices(step, len(part), size, seed_of(seed, number)))
            for number, (part, size) in enumerate(zip(parts, sizes, strict=True))
        ]
        x_0 = torch.cat([part.latents for part in drawn])
        noise = torch.randn(x_0.shape, generator=generator)
        t = torch.randint(schedule.num_timesteps, (len(x_0),), generator=generator)
        told = torch.rand(len(x_0), generator=generator) >= drop
        conditions = {}
        for name, empty in parts[0].empty.items():
            rows = torch.cat([part.conditions[name] for part in drawn])
            conditions[name] = torch.where(expand_to(told, rows), rows, empty)
        return x_0, noise, t, conditions

    return draw


def held_out_batches(examples: Examples, schedule: NoiseSchedule, seed: int) -> list[Batch]:
    """Every held-out picture at timesteps spread evenly, with fixed noise; one batch a picture."""
    generator = torch.Generator().manual_seed(seed_of(seed, 7))
    t = (torch.arange(_TIMES) * 2 + 1) * schedule.num_timesteps // (2 * _TIMES)
    batches = []
    for i in range(len(examples)):
        own = examples.rows(torch.full((_TIMES,), i))
        noise = torch.randn(own.latents.shape, generator=generator)
        batches.append((own.latents, noise, t, own.conditions))
    return batches
