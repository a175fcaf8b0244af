"""The stages of training: what each one trains, on which batches, and with which settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.device import pick_dtype
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import FULL, SMOKE, MiniConfig
from course_lib.mini.data import Labels, PortraitData, index_labels, random_shift, signed_batches
from course_lib.mini.models import noise_schedule
from course_lib.mini.training.losses import (
    ClassifierLoss,
    DenoisingLoss,
    ReconstructionLoss,
    TextAttributeLoss,
)
from course_lib.tensors import uint8_to_signed
from course_lib.training_run import batch_indices

STAGES = ("decoder", "clip", "text", "unet")
# Shares of `--minutes`, and the share of the portraits that a stage needs before it can begin: the
# rest is painted while it trains
MINUTES = {"decoder": 0.18, "clip": 0.16, "text": 0.04, "unet": 0.62}
PORTRAITS = {"decoder": 0.125, "clip": 0.5, "text": 0.5, "unet": 1.0}
# The networks that a stage changes
TRAINED = {
    "decoder": ("vae",),
    "clip": ("text_encoder", "attribute_classifier"),
    "text": ("text_encoder", "unet"),
    "unet": ("unet",),
}
SHIFT = 4  # pixels by which the classifier's images are moved: heads lie within half an eye
CAPTION_DROPOUT = 0.1  # share of empty captions, for classifier-free guidance (arXiv:2207.12598)

Batch = Callable[[int, torch.Generator], tuple]


@dataclass(frozen=True)
class StageSettings:
    """How a stage is optimised; `steps` count only without a time limit."""

    steps: int
    batch_size: int
    lr: float
    warmup: int = 100
    ema_decay: float = 0.998


@dataclass(frozen=True)
class Recipe:
    """Sizes, amount of data and the settings of each stage.

    Attributes
    ----------
    config : MiniConfig
    portraits : int
        How many training portraits in all.
    stages : dict
        Name of a stage -> `StageSettings`.
    portraits_per_core_minute : float
        With a time limit, no more than so many for each minute and core. A core paints some 1,000 a
        minute; on a CPU it has the training to do besides.
    checkpoint_every : int
        Steps between checkpoints, each of four times the size of what is trained.
    """

    config: MiniConfig
    portraits: int
    stages: dict[str, StageSettings]
    portraits_per_core_minute: float = 100.0
    checkpoint_every: int = 200


RECIPES = {
    "cpu": Recipe(
        FULL,
        24_000,
        {
            "decoder": StageSettings(3600, 4, 1e-3),
            "clip": StageSettings(3000, 64, 1.5e-3),
            "text": StageSettings(1000, 64, 1.5e-3),
            "unet": StageSettings(12_000, 16, 6e-4),
        },
    ),
    "gpu": Recipe(
        FULL,
        48_000,
        {
            "decoder": StageSettings(6000, 64, 1e-3),
            "clip": StageSettings(2000, 512, 1.5e-3),
            "text": StageSettings(400, 512, 1.5e-3),
            "unet": StageSettings(6000, 1024, 1e-3, ema_decay=0.999),
        },
        portraits_per_core_minute=330.0,
        checkpoint_every=2000,
    ),
    "smoke": Recipe(
        SMOKE,
        32,
        {
            "decoder": StageSettings(2, 4, 1e-3, warmup=1),
            "clip": StageSettings(2, 8, 1.5e-3, warmup=1),
            "text": StageSettings(2, 8, 1.5e-3, warmup=1),
            "unet": StageSettings(4, 8, 6e-4, warmup=1),
        },
        portraits_per_core_minute=math.inf,
        checkpoint_every=2,
    ),
}


@dataclass(eq=False)
class TrainingStage:
    """A stage that is ready to train.

    Attributes
    ----------
    name : str
        Also the name of its checkpoint.
    module : Module
        Holds the networks in training; called with a batch, it returns the loss.
    batch : callable
        ``batch(step, generator)`` -> the arguments of `module`.
    examples : int
        How many portraits the batches are drawn from.
    settings : StageSettings
    memory_format : torch.memory_format
    """

    name: str
    module: nn.Module
    batch: Batch
    examples: int
    settings: StageSettings
    memory_format: torch.memory_format = field(default=torch.channels_last)


def decoder_stage(
    settings: StageSettings, vae: nn.Module, pixels: Tensor, seed: int
) -> TrainingStage:
    """The autoencoder's decoder, on whole images: its positional encoding starts at their edges.

    Parameters
    ----------
    vae : AutoencoderTiny
        Its encoder is finished.
    pixels : Tensor, shape (N, 3, 128, 128), uint8
    """

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = uint8_to_signed(pixels[_indices(step, pixels, settings, seed)]).to(vae.device)
        with torch.no_grad():
            return vae.encode(x.contiguous(memory_format=torch.channels_last)).latents, x

    loss = ReconstructionLoss(vae.decoder)
    return TrainingStage("decoder", loss, batch, len(pixels), settings)


def clip_stage(
    settings: StageSettings,
    text_encoder: nn.Module,
    classifier: AttributeClassifier,
    data: PortraitData,
    ids: Tensor,
    seed: int,
) -> TrainingStage:
    """Attribute classifier and text encoder, on images that are moved a little.

    `ids`, (N, V, 77), are the tokens of the captions of `data`.
    """

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Labels, Labels]:
        chosen = _indices(step, ids, settings, seed)
        which = torch.randint(ids.shape[1], (len(chosen),), generator=generator)
        images = random_shift(data.pixels[chosen.to(data.pixels.device)], SHIFT, generator)
        mentioned = index_labels(data.caption_labels, (chosen, which))
        return images, ids[chosen, which].long(), index_labels(data.labels, chosen), mentioned

    loss = ClassifierLoss(text_encoder, classifier)
    return TrainingStage("clip", loss, batch, len(ids), settings)


def text_stage(
    settings: StageSettings,
    text_encoder: nn.Module,
    pooling: nn.Module,
    classifier: AttributeClassifier,
    data: PortraitData,
    ids: Tensor,
    seed: int,
) -> TrainingStage:
    """Text attribute pretraining: the text encoder and the U-Net's pooled prompt.

    `pooling` is the U-Net's ``add_embedding``; `classifier` is finished and stays as it is.
    """
    features = classifier.all_features(data.pixels)  # (N, F)

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Labels]:
        chosen = _indices(step, ids, settings, seed)
        which = torch.randint(ids.shape[1], (len(chosen),), generator=generator)
        mentioned = index_labels(data.caption_labels, (chosen, which))
        return ids[chosen, which].long(), features[chosen], mentioned

    loss = TextAttributeLoss(text_encoder, pooling, classifier.similarity)
    return TrainingStage("text", loss, batch, len(ids), settings)


def unet_stage(
    settings: StageSettings,
    unet: nn.Module,
    text_encoder: nn.Module,
    latents: Tensor,
    ids: Tensor,
    empty: Tensor,
    seed: int,
) -> TrainingStage:
    """The U-Net on latents made beforehand, a tenth of them with the empty caption.

    Parameters
    ----------
    text_encoder : Module
        Finished and frozen, on the device of `latents`.
    latents : Tensor, shape (N, C, 16, 16)
        Scaled, float16, on the device.
    ids : Tensor, shape (N, V, 77)
        Tokens of V captions of each portrait, one of which is drawn each time.
    empty : Tensor, shape (1, 77)
        Tokens of the empty caption.
    """
    schedule, device = noise_schedule(), latents.device

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        chosen = _indices(step, ids, settings, seed)
        count = len(chosen)
        which = torch.randint(ids.shape[1], (count,), generator=generator)
        dropped = torch.rand(count, 1, generator=generator) < CAPTION_DROPOUT
        tokens = torch.where(dropped, empty, ids[chosen, which].long())
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=_bf16(device)):
            text = text_encoder(tokens.to(device))[0].float()  # (B, 77, W)
        t = stratified_timesteps(count, schedule.num_timesteps, generator)
        return latents[chosen.to(device)], t, text

    # In float32 on a CPU, planes of 16 x 16 train a tenth faster when each lies by itself
    plain = device.type == "cpu" and not _bf16(device)
    layout = torch.contiguous_format if plain else torch.channels_last
    loss = DenoisingLoss(unet, schedule)
    return TrainingStage("unet", loss, batch, len(ids), settings, layout)


@torch.no_grad()
def start_from_v(unet: nn.Module) -> None:
    r"""Turn a U-Net that predicts v into one that predicts -v, from which x_0 is learned.

    As :math:`v = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1 - \bar\alpha}\,x_0` (arXiv:2202.00512), -v
    is x_0 where the noise is strong, so what decides layout and faces is kept. What is left to
    learn is the other end, where the input is nearly clean.
    """
    unet.conv_out.weight.neg_()
    unet.conv_out.bias.neg_()


def stratified_timesteps(count: int, num_timesteps: int, generator: torch.Generator) -> Tensor:
    """`count` random timesteps, one from each of as many equal parts of the range, (count,).

    Together they leave no gap, so the loss of a batch varies less.
    """
    part = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    return (part / count * num_timesteps).long().clamp(max=num_timesteps - 1)


@torch.no_grad()
def encode_latents(vae: nn.Module, pixels: Tensor, *, batch_size: int = 64) -> Tensor:
    """Scaled latents of all images, float16 (N, C, H/8, W/8), on the autoencoder's device."""
    scale = vae.config.scaling_factor
    batches = signed_batches(pixels, batch_size, vae.device)
    return torch.cat([(vae.encode(x).latents * scale).half().contiguous() for x in batches])


def _indices(step: int, rows: Tensor, settings: StageSettings, seed: int) -> Tensor:
    return batch_indices(step, len(rows), settings.batch_size, seed)


def _bf16(device: torch.device) -> bool:
    return pick_dtype(device) == torch.bfloat16
