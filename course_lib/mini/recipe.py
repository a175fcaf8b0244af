"""The recipe: how each stage makes its batches, and how long it trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.mini.config import FULL, SMOKE, MiniSizes
from course_lib.mini.data import Portraits, labels_at, said_in, shifted, signed
from course_lib.mini.eyes import EyesTask, FaceCritic, StyleCritic
from course_lib.mini.parts import noise_schedule
from course_lib.mini.stages import Stage
from course_lib.mini.tasks import (
    ClipTask,
    CriticTask,
    DecoderTask,
    JudgeTask,
    VaeTask,
    WordsTask,
)

# Captions of each portrait that the U-Net learns from. A usual one leaves out a third of what there
# is to say, and what it does not say it does not teach; so most of them shall be full.
FULL_CAPTIONS, USUAL_CAPTIONS = 2, 1
REACH = 4  # pixels by which the judge's pictures are moved about
EYES_REACH = 2  # and those of the critics of pictures, who shall see where a mouth is


@dataclass(frozen=True)
class Recipe:
    """How much data, how many steps and what size of batch for each stage."""

    sizes: MiniSizes = FULL
    portraits: int = 24_000
    vae_steps: int = 0  # of encoder and decoder together; 0 keeps the principal components
    vae_batch: int = 4
    decoder_steps: int = 3600
    clip_steps: int = 1500
    clip_batch: int = 64
    judge_steps: int = 1800
    words_steps: int = 1000
    critic_steps: int = 6000
    unet_steps: int = 12_000
    unet_batch: int = 16
    face_steps: int = 1800
    style_steps: int = 400
    rollout_steps: int = 800
    rollouts: int = 4  # of each batch of the U-Net
    vae_lr: float = 1e-3
    clip_lr: float = 1.5e-3
    unet_lr: float = 6e-4
    rollout_lr: float = 1.5e-4


RECIPES = {
    "full": Recipe(),  # for two processor cores
    "gpu": Recipe(
        portraits=64_000,
        vae_batch=64,
        decoder_steps=12_000,
        clip_steps=600,
        clip_batch=512,
        judge_steps=2000,
        words_steps=400,
        critic_steps=800,
        face_steps=400,
        style_steps=100,
        unet_steps=6000,
        unet_batch=512,
        rollouts=128,
        unet_lr=8e-4,
    ),
    "smoke": Recipe(
        sizes=SMOKE,
        portraits=48,
        vae_steps=3,
        decoder_steps=2,
        clip_steps=3,
        clip_batch=8,
        judge_steps=2,
        words_steps=2,
        critic_steps=2,
        face_steps=2,
        style_steps=2,
        unet_steps=4,
        unet_batch=8,
        rollout_steps=2,
        rollouts=2,
    ),
}


@dataclass(frozen=True, eq=False)
class Wordings:
    """V captions of each of N portraits.

    Attributes
    ----------
    ids : Tensor, shape (N, V, 77)
        Tokens.
    said : dict
        Attribute -> what each caption says of it, (N, V), as `said_in` numbers it.
    """

    ids: Tensor
    said: dict[str, Tensor]

    @classmethod
    def of(cls, data: Portraits, tokenizer, seed: int) -> Wordings:
        """Captions of all portraits, the full ones first, in random words."""
        generator = torch.Generator().manual_seed(seed)
        variants = [data.full_captions(generator) for _ in range(FULL_CAPTIONS)]
        everyone = range(len(data))
        variants += [data.captions(everyone, generator) for _ in range(USUAL_CAPTIONS)]
        ids = [token_ids(tokenizer, captions).short() for captions in variants]
        said = [said_in(captions) for captions in variants]
        said = {name: torch.stack([one[name] for one in said], dim=1) for name in said[0]}
        return cls(torch.stack(ids, dim=1), said)

    @torch.no_grad()
    def pooled(self, text_encoder: nn.Module) -> Tensor:
        """What a finished text encoder makes of them, (N, V, W), on the CPU."""
        device = next(text_encoder.parameters()).device
        parts = self.ids.flatten(0, 1).split(64)
        rows = [text_encoder(part.long().to(device)).pooler_output for part in parts]
        return torch.cat(rows).cpu().unflatten(0, self.ids.shape[:2])


def vae_stage(recipe: Recipe, vae: nn.Module, data: Portraits) -> Stage:
    """Whole pictures: at their edges, where zeros are padded, the decoder finds its bearings."""

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        return (signed(data.pixels[indices]),)

    return Stage(
        "vae", VaeTask(vae), batch, len(data), recipe.vae_steps, recipe.vae_batch, recipe.vae_lr
    )


def decoder_stage(recipe: Recipe, vae: nn.Module, data: Portraits) -> Stage:
    """The decoder alone, on whole pictures, with the encoder frozen."""

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        x = signed(data.pixels[indices])
        with torch.no_grad():
            return vae.encode(x.to(vae.device)).latents, x

    return Stage(
        "decoder",
        DecoderTask(vae),
        batch,
        len(data),
        recipe.decoder_steps,
        recipe.vae_batch,
        recipe.vae_lr,
    )


def clip_stage(recipe: Recipe, task: ClipTask, data: Portraits, tokenizer) -> Stage:
    """Whole pictures with their captions and labels."""

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        captions = data.captions(indices, generator)
        x = signed(data.pixels[indices])
        return x, token_ids(tokenizer, captions), data.labels(indices), said_in(captions)

    return Stage(
        "clip", task, batch, len(data), recipe.clip_steps, recipe.clip_batch, recipe.clip_lr
    )


def judge_stage(recipe: Recipe, task: JudgeTask, data: Portraits, pooled: Tensor) -> Stage:
    """Pictures, a little moved; their labels; and `pooled`, (N, V, W), V captions of each."""

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        x = shifted(data.pixels[indices], REACH, generator)
        which = torch.randint(pooled.shape[1], (len(indices),), generator=generator)
        return x, pooled[indices, which], data.labels(indices)

    return Stage(
        "judge", task, batch, len(data), recipe.judge_steps, recipe.clip_batch, recipe.clip_lr
    )


def words_stage(
    recipe: Recipe, task: WordsTask, ids: Tensor, features: Tensor, said: dict[str, Tensor]
) -> Stage:
    """Captions against the judge's features of their portraits.

    Parameters
    ----------
    ids : Tensor, shape (N, V, 77)
        Tokens of V captions of each portrait, one of which is drawn each time.
    features : Tensor, shape (N, F)
    said : dict
        Attribute -> what each caption says of it, (N, V).
    """

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        which = torch.randint(ids.shape[1], (len(indices),), generator=generator)
        labels = labels_at(said, (indices, which))
        return ids[indices, which].long(), features[indices], labels

    return Stage(
        "words", task, batch, len(ids), recipe.words_steps, recipe.clip_batch, recipe.clip_lr
    )


def critic_stage(
    recipe: Recipe, critic: nn.Module, latents: Tensor, labels: dict[str, Tensor]
) -> Stage:
    """Latents, (N, C, 16, 16), with what is to be seen in them: attribute -> (N,)."""

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        return latents[indices].float(), labels_at(labels, indices)

    return Stage(
        "critic",
        CriticTask(critic, noise_schedule()),
        batch,
        len(latents),
        recipe.critic_steps,
        recipe.clip_batch,
        recipe.clip_lr,
    )


def eyes_stage(
    recipe: Recipe, critic: FaceCritic | StyleCritic, pixels: Tensor, labels: dict[str, Tensor]
) -> Stage:
    """Portraits, (N, 3, 128, 128), uint8, each a little moved, with what they show."""

    def batch(indices: Tensor, generator: torch.Generator, step: int) -> tuple:
        return shifted(pixels[indices], EYES_REACH, generator), labels_at(labels, indices)

    steps = {"face": recipe.face_steps, "style": recipe.style_steps}[critic.name]
    return Stage(
        critic.name,
        EyesTask(critic),
        batch,
        len(pixels),
        steps,
        recipe.clip_batch,
        recipe.clip_lr,
    )


def token_ids(tokenizer, captions) -> Tensor:
    """(B, 77) token ids, padded as the pipeline pads them."""
    return tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
