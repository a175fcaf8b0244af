"""How the two stages that train the U-Net make their batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from course_lib.device import device_report, get_device
from course_lib.mini.data import labels_at, stated_in
from course_lib.mini.recipe import Recipe
from course_lib.mini.rollout import GUIDANCE, STEPS, RolloutTask
from course_lib.mini.stages import Stage
from course_lib.mini.tasks import UnetTask
from course_lib.schedules import NoiseSchedule

CAPTION_DROPOUT = 0.1


@dataclass(frozen=True, eq=False)
class Texts:
    """What the U-Net hears of each portrait.

    Attributes
    ----------
    ids : Tensor, shape (N, V, 77)
        Tokens of V captions of each portrait, one of which is drawn each time.
    encoder : Module
        Finished and frozen.
    empty : Tensor, shape (77,)
        Tokens of the empty caption, which guidance needs (arXiv:2207.12598).
    """

    ids: Tensor
    encoder: nn.Module
    empty: Tensor

    @cached_property
    def nothing(self) -> Tensor:
        """The empty caption's hidden states, (1, 77, W)."""
        return self._states(self.empty[None])

    def drawn(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which of its V captions each portrait gets, (B,), and their hidden states."""
        which = torch.randint(self.ids.shape[1], (len(indices),), generator=generator)
        return which, self._states(self.ids[indices, which].long())

    def dropped(self, states: Tensor, generator: torch.Generator) -> Tensor:
        """Captions' hidden states, some of them exchanged for those of the empty caption."""
        dropped = torch.rand(len(states), generator=generator) < CAPTION_DROPOUT
        return torch.where(dropped[:, None, None].to(states.device), self.nothing, states)

    @torch.no_grad()
    def _states(self, tokens: Tensor) -> Tensor:
        """(B, 77) token ids -> (B, 77, W) hidden states."""
        return self.encoder(tokens.to(next(self.encoder.parameters()).device))[0]


def unet_stage(
    recipe: Recipe,
    task: UnetTask,
    latents: Tensor,
    labels: dict[str, Tensor],
    texts: Texts,
) -> Stage:
    """Latents made beforehand, with their captions; every tenth caption is dropped.

    Parameters
    ----------
    latents : Tensor, shape (N, C, 16, 16)
        Scaled to standard deviation 1.
    labels : dict
        Attribute -> values' numbers, (N,), as `labels_of` makes them.
    texts : Texts
        Of the same portraits.
    """

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        _, states = texts.drawn(indices, generator)
        text = texts.dropped(states, generator)
        noised = _noised(latents[indices], task.schedule, generator)
        return *noised, text, labels_at(labels, indices)

    return Stage(
        "unet",
        task,
        batch,
        len(latents),
        recipe.unet_steps,
        recipe.unet_batch,
        recipe.unet_lr,
        memory_format=_unet_format(),
    )


def rollout_stage(
    recipe: Recipe,
    task: RolloutTask,
    latents: Tensor,
    said: dict[str, Tensor],
    texts: Texts,
) -> Stage:
    """As `unet_stage`, and the first few captions of each batch are painted from noise.

    Parameters
    ----------
    said : dict
        Attribute -> what each caption says of it, (N, V), as `said_in` numbers it.
    """

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        which, states = texts.drawn(indices, generator)
        text = texts.dropped(states, generator)
        noised = _noised(latents[indices], task.schedule, generator)
        some = min(recipe.rollouts, len(indices))
        start = torch.randn(noised[0][:some].shape, generator=generator)
        prompt, unprompted = states[:some], texts.nothing.expand(some, -1, -1)
        stated = stated_in(labels_at(said, (indices[:some], which[:some])))
        low, high = GUIDANCE
        guidance = low + (high - low) * torch.rand(some, 1, 1, 1, generator=generator)
        steps = torch.tensor(STEPS[step % len(STEPS)])
        return *noised, text, start, prompt, unprompted, stated, guidance, steps

    return Stage(
        "rollout",
        task,
        batch,
        len(latents),
        recipe.rollout_steps,
        recipe.unet_batch,
        recipe.rollout_lr,
        ema_decay=0.99,
        memory_format=_unet_format(),
    )


def _noised(latents: Tensor, schedule: NoiseSchedule, generator: torch.Generator) -> tuple:
    """Clean latents as floats, a timestep for each, and noise."""
    t = spread_timesteps(len(latents), schedule.num_timesteps, generator)
    return latents.float(), t, torch.randn(latents.shape, generator=generator)


def _unet_format() -> torch.memory_format:
    """On a processor in single precision, planes of 16 x 16 train a tenth faster one by one."""
    plain = get_device().type == "cpu" and device_report().dtype == torch.float32
    return torch.contiguous_format if plain else torch.channels_last


def spread_timesteps(count: int, num_timesteps: int, generator: torch.Generator) -> Tensor:
    """`count` random timesteps, one from each of as many equal parts of the range.

    Together they leave no gap, so the loss of a batch depends less on luck.
    """
    place = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    return (place / count * num_timesteps).long().clamp(max=num_timesteps - 1)
