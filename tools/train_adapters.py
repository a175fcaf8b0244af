"""Train the adapters of lesson 07 on painted portraits; the mini itself stays as it is.

    python tools/train_adapters.py sketch --minutes 30        # follows a line drawing
    python tools/train_adapters.py image-prompt --minutes 15  # takes an image as prompt

The learning rate reaches zero when the time is up, or after `--steps` steps. A run that is killed
goes on from its checkpoint when the same command is given again. At the end the averaged weights
are written as float16, with their checksums, into ``data/models/adapters``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import course_lib as cl
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.data import HELD_OUT_SEED, TRAINING_SEED, PortraitData, load_portraits
from course_lib.mini.image_prompt import image_embeds, new_image_prompt
from course_lib.mini.models import noise_schedule
from course_lib.mini.tokenizer import token_ids
from course_lib.mini.training.checkpoints import write_checksums
from course_lib.mini.training.losses import DenoisingLoss
from course_lib.mini.training.stages import encode_latents, stratified_timesteps
from course_lib.pipelines.adapters.sketches import edge_lines
from course_lib.pipelines.adapters.weights import (
    ADAPTERS,
    image_proj_of,
    ip_adapter_state,
    new_sketch_adapter,
    save_image_prompt,
)
from course_lib.tensors import uint8_to_signed
from course_lib.training import TrainingOptions, TrainingRun, training_loop
from course_lib.training_run import batch_indices

HELD_OUT = 64
HELD_OUT_TIMES = (950, 800, 600, 400)  # below, the noisy latent shows the lines by itself
# A full caption leaves little for the condition to say. So most examples come without one; the rest
# teaches that the two belong together
EMPTY_CAPTIONS = {"sketch": 0.7, "image-prompt": 0.7}
NO_IMAGE = 0.1  # share of images that are left out, for classifier-free guidance
TILE, ERASED = 32, 0.25  # edge of a square of a sketch in pixels, and the share that is erased


@dataclass(frozen=True, eq=False)
class Examples:
    """Latents (N, C, 16, 16), captions' tokens (N, V, 77), and the condition of each portrait."""

    latents: Tensor
    ids: Tensor
    condition: Tensor

    def __len__(self) -> int:
        return len(self.latents)


def main() -> None:
    options = parse_arguments()
    pipe = cl.load_pipeline("mini", device=options.device, verbose=False)
    pipe.unet.requires_grad_(False)
    torch.manual_seed(0)
    adapter, loss = KINDS[options.kind](pipe)
    train = examples(pipe, options, load(options.portraits, TRAINING_SEED, options))
    unseen = examples(pipe, options, load(options.held_out, HELD_OUT_SEED, options))
    print(f"{len(train)} portraits to train on, {len(unseen)} held out", flush=True)
    run = TrainingRun(
        adapter,
        TrainingOptions(
            minutes=options.minutes,
            steps=options.steps,
            batch_size=options.batch_size,
            lr=options.lr,
            ema_decay=0.995,  # of some thousand steps, the last hundreds count
            checkpoint=options.checkpoint,
            device=options.device,
        ),
        loss=loss,
        identity={"adapter": options.kind, "portraits": len(train)},
    )
    evaluate = partial(held_out_loss, loss, fixed_batches(pipe, unseen))
    print(f"held out before training: {evaluate(adapter):.4f}", flush=True)
    batch = partial(draw_batch, pipe, train, options)
    steps = training_loop(
        run, batch, evaluate=evaluate, evaluate_every=options.evaluate_every, progress=False
    )
    for step in steps:
        if step.held_out is not None:
            minutes = step.seconds / 60
            print(f"step {step.step}: held out {step.held_out:.4f}, {minutes:.1f} min", flush=True)
    SAVE[options.kind](step.ema.model, options.output)
    write_checksums(options.output)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("sketch", "image-prompt"))
    parser.add_argument("--minutes", type=float, default=None, help="of training, painting apart")
    parser.add_argument("--steps", type=int, default=None, help="instead of minutes, or besides")
    parser.add_argument("--portraits", type=int, default=6144, help="to train on")
    parser.add_argument("--held-out", type=int, default=HELD_OUT)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--evaluate-every", type=int, default=100, help="steps")
    parser.add_argument("--cache", type=Path, default=None, help="folder to keep portraits in")
    parser.add_argument("--output", type=Path, default=None, help="folder for the weights")
    parser.add_argument(
        "--checkpoint", type=Path, default=None, help="file; default: beside --output"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; default: the best here")
    options = parser.parse_args()
    if options.minutes is None and options.steps is None:
        parser.error("give --minutes or --steps")
    options.device = torch.device(options.device or cl.get_device())
    options.output = options.output or ADAPTERS / options.kind.replace("-", "_")
    options.output.mkdir(parents=True, exist_ok=True)
    # Beside the folder: what lies in it ships, with checksums over everything
    beside = options.output.with_suffix(".checkpoint.safetensors")
    options.checkpoint = options.checkpoint or beside
    return options


def load(count: int, seed: int, options: argparse.Namespace) -> PortraitData:
    return load_portraits(count, seed=seed, cache=options.cache)


@torch.no_grad()
def examples(pipe, options: argparse.Namespace, data: PortraitData) -> Examples:
    """What is computed once for each portrait, since neither changes in training."""
    if options.kind == "sketch":
        lines = [edge_lines(uint8_to_signed(part)) for part in data.pixels.split(64)]
        condition = torch.cat(lines).half()  # (N, 1, 128, 128)
    else:
        classifier = AttributeClassifier.load(cl.pipelines.registry.SHIPPED / "mini")
        parts = [image_embeds(classifier, uint8_to_signed(part)) for part in data.pixels.split(64)]
        condition = torch.cat(parts)  # (N, E)
    ids = token_ids(pipe.tokenizer, data.captions.flatten().tolist())
    ids = ids.unflatten(0, data.captions.shape)  # (N V, 77) -> (N, V, 77)
    return Examples(encode_latents(pipe.vae, data.pixels).cpu(), ids, condition)


def draw_batch(pipe, data: Examples, options: argparse.Namespace, step: int, generator) -> tuple:
    """Clean latents, timesteps, the text's hidden states and the condition."""
    count = options.batch_size
    chosen = batch_indices(step, len(data), count, seed=0)
    which = torch.randint(data.ids.shape[1], (count,), generator=generator)
    empty = torch.rand(count, generator=generator) < EMPTY_CAPTIONS[options.kind]
    text = encode_text(pipe, data.ids[chosen, which], empty)
    condition = data.condition[chosen].float()
    if options.kind == "sketch":
        condition = vary_lines(condition, generator)
    else:
        condition = condition * (torch.rand(count, 1, generator=generator) >= NO_IMAGE)
    return data.latents[chosen].float(), early_timesteps(count, generator), text, condition


@torch.no_grad()
def encode_text(pipe, ids: Tensor, empty: Tensor) -> Tensor:
    """Hidden states (B, 77, W) of captions; of the empty one where `empty` is true."""
    rows = torch.cat([token_ids(pipe.tokenizer, [""]), ids[~empty].long()])
    states = pipe.text_encoder(rows.to(pipe.device))[0].float()  # each row by itself
    text = states[:1].repeat(len(ids), 1, 1)
    text[~empty.to(text.device)] = states[1:]
    return text


def vary_lines(lines: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the sketches get thicker lines, and squares of them are erased.

    So an adapter learns that lines may be thick or missing, as in a drawing by hand.
    """
    count, _, height, width = lines.shape
    thick = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    lines = torch.where(thick, F.max_pool2d(F.pad(lines, (0, 1, 0, 1)), 2, stride=1), lines)
    tiles = torch.rand(count, 1, height // TILE, width // TILE, generator=generator) >= ERASED
    return lines * tiles.float().repeat_interleave(TILE, 2).repeat_interleave(TILE, 3)


def early_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """More of the noisy timesteps, where the layout is decided, (count,) (arXiv:2302.08453)."""
    t = stratified_timesteps(count, 1000, generator)
    return (999 * (1 - (t / 1000) ** 3)).long()


def fixed_batches(pipe, data: Examples) -> list[tuple]:
    """The held-out portraits with the empty caption, at fixed timesteps."""
    count = min(16, len(data))
    batches = []
    for start in range(0, len(data) - count + 1, count):
        rows = slice(start, start + count)
        text = encode_text(pipe, data.ids[rows, 0], torch.ones(count, dtype=torch.bool))
        t = torch.tensor(HELD_OUT_TIMES).repeat(count)[:count]
        batches.append((data.latents[rows].float(), t, text, data.condition[rows].float()))
    return batches


@torch.no_grad()
def held_out_loss(loss, batches: list[tuple], adapter: nn.Module) -> float:
    """The loss with the same noise each time, so that two values can be compared."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return sum(loss(adapter, *batch).item() for batch in batches) / len(batches)


def sketch_training(pipe):
    """The adapter, and its loss: features of the sketch are added inside the U-Net."""

    def loss(adapter: nn.Module, x_0: Tensor, t: Tensor, text: Tensor, sketch: Tensor) -> Tensor:
        unet = partial(pipe.unet, down_intrablock_additional_residuals=adapter(sketch))
        return DenoisingLoss(unet, noise_schedule())(x_0, t, text)

    return new_sketch_adapter(pipe.unet), loss


def image_prompt_training(pipe):
    """The projection of image embeddings to tokens, and its loss."""
    projection = new_image_prompt(pipe.unet)
    state = ip_adapter_state(pipe.unet, image_proj_of(projection))
    pipe.load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)

    def loss(adapter: nn.Module, x_0: Tensor, t: Tensor, text: Tensor, embeds: Tensor) -> Tensor:
        pipe.unet.encoder_hid_proj.image_projection_layers[0] = adapter
        added = {"image_embeds": [embeds[:, None]]}  # (B, E) -> (B, 1, E): one image each
        unet = partial(pipe.unet, added_cond_kwargs=added)
        return DenoisingLoss(unet, noise_schedule())(x_0, t, text)

    return projection, loss


def save_sketch_adapter(adapter: nn.Module, folder: Path) -> None:
    """Write a folder that diffusers' `T2IAdapter.from_pretrained` reads."""
    adapter.half().save_pretrained(folder)


KINDS = {"sketch": sketch_training, "image-prompt": image_prompt_training}
SAVE = {"sketch": save_sketch_adapter, "image-prompt": save_image_prompt}


if __name__ == "__main__":
    main()
