"""Train the mini Stable Diffusion from nothing.

    python -m course_lib.mini.train --folder runs/mini            # everything, hours on two cores
    python -m course_lib.mini.train --folder runs/mini --gpu      # in batches that a GPU is good at
    python -m course_lib.mini.train --smoke --folder runs/smoke   # the same code in a minute
    accelerate launch -m course_lib.mini.train --folder runs/mini # one or several GPUs

The stages are ``vae`` (the encoder, in closed form), ``clip`` (text encoder and image tower),
``decoder`` (the autoencoder's decoder), ``judge`` (the image tower alone), ``words`` (the text
encoder alone, and the U-Net's summary of a prompt), ``unet`` (first a critic of latents, then the
denoiser and, beside it, a discriminator) and ``rollout`` (first critics of faces and of styles,
then the denoiser on pictures that it samples itself); critics and discriminator are not shipped.
Each goes on from its checkpoint when it was stopped, so the same command resumes. With
``--start-from data/models/mini``, a new folder and another ``--seed`` the shipped model is trained
further. At the end of every stage, and with ``--export-every``, the whole model is written to
``--target`` as a diffusers folder.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os
import sys
import time
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from course_lib.device import get_device
from course_lib.mini import export
from course_lib.mini.critic import Critic, Discriminator
from course_lib.mini.data import TRAINING_SEED, Portraits, labels_at, load_portraits
from course_lib.mini.denoising import Texts, rollout_stage, unet_stage
from course_lib.mini.emphasis import emphasis
from course_lib.mini.eyes import FaceCritic, PictureMarks, StyleCritic
from course_lib.mini.judge import Judge, words_heads
from course_lib.mini.parts import (
    build_scheduler,
    build_text_encoder,
    build_unet,
    build_vae,
    noise_schedule,
)
from course_lib.mini.places import mark_places
from course_lib.mini.principal import quiet_blocks, start_from_components
from course_lib.mini.recipe import (
    RECIPES,
    Recipe,
    Wordings,
    clip_stage,
    critic_stage,
    decoder_stage,
    eyes_stage,
    judge_stage,
    token_ids,
    vae_stage,
    words_stage,
)
from course_lib.mini.rollout import RolloutTask, halfway
from course_lib.mini.stages import Stage, first_process_first, run_stage
from course_lib.mini.tasks import ClipTask, JudgeTask, UnetTask, WordsTask
from course_lib.mini.tokenizer import train_tokenizer
from course_lib.training_run import TrainingDiverged

SEED_HELP = "of batches, noise and captions; another one when a model is trained further"
STAGES = ("vae", "clip", "decoder", "judge", "words", "unet", "rollout")


def main(arguments: list[str] | None = None) -> int:
    """Run the stages that were asked for and return the exit code."""
    options = _parser().parse_args(arguments)
    recipe = RECIPES["smoke" if options.smoke else "gpu" if options.gpu else "full"]
    given = {f.name: getattr(options, f.name, None) for f in dataclasses.fields(Recipe)}
    recipe = dataclasses.replace(recipe, **{k: v for k, v in given.items() if v is not None})
    try:
        trainer = Trainer(recipe, options)
        for stage in options.stages:
            getattr(trainer, f"train_{stage}")()
            trainer.export()
    except (TrainingDiverged, ValueError, OSError) as error:
        print(f"course_lib.mini.train: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.mini.train", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints")
    parser.add_argument("--target", type=Path, help="for the model; default: FOLDER/model")
    parser.add_argument("--start-from", type=Path, help="a model folder to train further")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE")
    parser.add_argument("--smoke", action="store_true", help="tiny networks, a few steps")
    parser.add_argument("--gpu", action="store_true", help="larger batches, more portraits")
    parser.add_argument("--compile", action="store_true", help="use torch.compile")
    parser.add_argument("--cache", type=Path, help="folder for painted portraits")
    parser.add_argument("--save-every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--export-every", type=int, help="steps between exports of the U-Net")
    parser.add_argument("--seed", type=int, default=0, help=SEED_HELP)
    for field in dataclasses.fields(Recipe):
        if field.name != "sizes":
            kind = float if field.name.endswith("_lr") else int
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind)
    return parser


class Trainer:
    """The four networks, and the data, as far as the stages at hand need them."""

    def __init__(self, recipe: Recipe, options: argparse.Namespace):
        self.recipe, self.options = recipe, options
        self.folder = options.folder
        self.target = options.target or options.folder / "model"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.first = int(os.environ.get("RANK", "0")) == 0  # of several processes, the one to write
        cache = options.cache or self.folder / "portraits"
        with first_process_first():
            self.data: Portraits = load_portraits(recipe.portraits, seed=TRAINING_SEED, cache=cache)
        self.tokenizer = self.find_tokenizer()
        torch.manual_seed(0)
        sizes = recipe.sizes
        self.parts: dict[str, nn.Module] = {
            "vae": build_vae(sizes),
            "text_encoder": build_text_encoder(sizes, self.tokenizer),
            "unet": build_unet(sizes),
            "judge": Judge(sizes),
        }
        fresh = [] if options.start_from else ["vae.encoder", "vae.decoder"]
        if options.start_from:
            fresh = export.load_model(options.start_from, self.parts, sizes)
            if fresh and self.first:
                print(f"begun anew, since the sizes differ: {', '.join(fresh)}")
        # Of which networks something begins from nothing: vae.encoder, unet.conv_in, ...
        self.fresh = {".".join(name.split(".")[:2]) for name in fresh}
        self.parts |= export.load_finished(self.folder, self.parts)

    def find_tokenizer(self):
        """The tokenizer of the model to start from, or one trained on the captions."""
        if self.options.start_from:
            return export.load_tokenizer(self.options.start_from)
        # The vocabulary is learned from the first captions; more do not change it
        some, generator = range(min(6000, len(self.data))), torch.Generator().manual_seed(0)
        captions = self.data.series.captions(some) + self.data.captions(some, generator)
        return train_tokenizer(captions, self.recipe.sizes.vocabulary)

    def run(self, stage: Stage) -> nn.Module:
        """Train a stage to its end and return the task with averaged weights."""
        from tqdm.auto import tqdm

        stage.task.requires_grad_(True)  # whatever an earlier stage has frozen
        average, start = None, time.perf_counter()
        given = self.options
        options = {"seed": given.seed, "save_every": given.save_every, "compiled": given.compile}
        quiet = not self.first
        with tqdm(total=stage.steps, desc=stage.name, mininterval=5, disable=quiet) as bar:
            for step in run_stage(stage, self.folder, **options):
                average = step.average
                bar.update(step.step - bar.n)
                bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)
                every = self.options.export_every
                if stage.name in ("unet", "rollout") and every and step.step % every == 0:
                    self.export(unet=average.unet)
        if self.first:
            minutes = (time.perf_counter() - start) / 60
            print(f"{stage.name}: {stage.steps} steps, {minutes:.1f} min")
        return average

    def keep(self, **modules: nn.Module) -> None:
        """Take trained networks over, and write them where the next run finds them."""
        for name, module in modules.items():
            self.parts[name].load_state_dict(module.state_dict())
            self.parts[name].to("cpu")
            if self.first:
                export.save_finished(self.folder, name, self.parts[name])

    def train_vae(self) -> None:
        if "vae.decoder" in self.fresh:
            quiet_blocks(self.parts["vae"].decoder)
            mark_places(self.parts["vae"].decoder)
        if "vae.encoder" in self.fresh:
            start_from_components(self.parts["vae"], self.data.pixels[:768])
        average = self.run(vae_stage(self.recipe, self.parts["vae"], self.data))
        self.parts["vae"].load_state_dict(average.vae.state_dict())
        export.set_scaling_factor(self.parts["vae"].to("cpu"), self.data.pixels[:512])
        self.keep(vae=self.parts["vae"])

    def train_decoder(self) -> None:
        vae = self.parts["vae"].to(get_device())
        average = self.run(decoder_stage(self.recipe, vae, self.data))
        vae.decoder.load_state_dict(average.decoder.state_dict())
        self.keep(vae=vae)

    def train_clip(self) -> None:
        heads = words_heads(self.recipe.sizes.text_width)
        task = ClipTask(self.parts["text_encoder"], self.parts["judge"], heads)
        average = self.run(clip_stage(self.recipe, task, self.data, self.tokenizer))
        self.keep(text_encoder=average.text_encoder, judge=average.judge)

    def train_judge(self) -> None:
        encoder = self.parts["text_encoder"].to(get_device()).eval()
        pooled = self.wordings.pooled(encoder)
        average = self.run(
            judge_stage(self.recipe, JudgeTask(self.parts["judge"]), self.data, pooled)
        )
        self.keep(judge=average.judge)

    def train_words(self) -> None:
        sizes, judge = self.recipe.sizes, _frozen(self.parts["judge"])
        features = judge.all_features(self.data.pixels)
        summary = self.parts["unet"].add_embedding
        heads = words_heads(sizes.text_width), words_heads(4 * sizes.unet_channels[0])
        task = WordsTask(self.parts["text_encoder"], summary, *heads, judge.similarity)
        stage = words_stage(self.recipe, task, self.wordings.ids, features, self.wordings.said)
        average = self.run(stage)
        summary.load_state_dict(average.summary.state_dict())
        self.keep(text_encoder=average.text_encoder, unet=self.parts["unet"])

    def train_unet(self) -> None:
        task = UnetTask(self.parts["unet"], *self.teachers, Discriminator(self.recipe.sizes))
        stage = unet_stage(self.recipe, task, self.latents, self.labels, self.texts())
        self.keep(unet=self.run(stage).unet)

    def train_rollout(self) -> None:
        before = copy.deepcopy(self.parts["unet"])
        with first_process_first():  # one that was stopped goes on from the same
            if not export.load_finished(self.folder, {"unet_before_rollout": before}):
                export.save_finished(self.folder, "unet_before_rollout", before)
        discriminator = Discriminator(self.recipe.sizes)
        eyes = self.trained_eyes()
        task = RolloutTask(self.parts["unet"], *self.teachers, discriminator, eyes=eyes)
        said = self.wordings.said
        stage = rollout_stage(self.recipe, task, self.latents, said, self.texts())
        self.keep(unet=halfway(before, self.run(stage).unet))

    @cached_property
    def latents(self) -> torch.Tensor:
        """Of all portraits, (N, C, 16, 16); other processes wait for the first to make them."""
        with first_process_first():
            return export.encode_all(self.parts["vae"], self.data.pixels, self.folder / "latents")

    @cached_property
    def labels(self) -> dict[str, torch.Tensor]:
        """What the portraits show: attribute -> (N,)."""
        return self.data.labels(range(len(self.data)))

    def texts(self) -> Texts:
        """The captions' tokens and the finished encoder."""
        encoder, empty = _frozen(self.parts["text_encoder"]), token_ids(self.tokenizer, [""])[0]
        return Texts(self.wordings.ids, encoder, empty)

    @cached_property  # two stages ask
    def teachers(self) -> tuple:
        """What a U-Net's task needs besides a new discriminator: schedule, weights and critic."""
        some = slice(8000)  # enough to tell what the captions explain
        weights = emphasis(self.latents[some], labels_at(self.labels, some))
        return noise_schedule(), weights, self.trained_critic()

    def trained_critic(self) -> Critic:
        """The critic of these latents: trained now, or long since and read from its checkpoint."""
        critic = Critic(self.recipe.sizes)
        average = self.run(critic_stage(self.recipe, critic, self.latents, self.labels))
        return _frozen(average.critic)

    def trained_eyes(self) -> PictureMarks:
        """The marks of the critics of pictures, who are trained now or read from checkpoints."""
        critics = []
        for kind in (FaceCritic, StyleCritic):
            critic = kind(self.recipe.sizes)
            stage = eyes_stage(self.recipe, critic, self.data.pixels, self.labels)
            critics.append(_frozen(self.run(stage).critic))
        return PictureMarks(critics, _frozen(self.parts["vae"]))

    @cached_property  # several stages ask, and rewording takes minutes
    def wordings(self) -> Wordings:
        """Captions of each portrait, of which every step draws one."""
        return Wordings.of(self.data, self.tokenizer, self.options.seed + 1)

    def export(self, **modules: nn.Module) -> None:
        """Write the model folder: what has been trained so far, and `modules` in its place."""
        if self.first:
            parts = self.parts | modules
            export.write_model(self.target, parts, self.tokenizer, build_scheduler())


def _frozen(module: nn.Module) -> nn.Module:
    """Finished, and in the place where it helps another to learn; `Trainer.run` thaws it."""
    return module.to(get_device()).eval().requires_grad_(False)


if __name__ == "__main__":
    raise SystemExit(main())
