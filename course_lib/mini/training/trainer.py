"""The course of a training: portraits that arrive, stage after stage, checkpoints and a report."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.device import device_report, get_device
from course_lib.mini.config import ALL_STYLES, training_data
from course_lib.mini.data import TRAINING_SEED, PortraitData, read_portraits
from course_lib.mini.examples import CAPTIONS, ExamplePainter, ExampleSeries
from course_lib.mini.tokenizer import token_ids, train_tokenizer
from course_lib.mini.training import pca_init, stages
from course_lib.mini.training.checkpoints import load_model, new_models, save_model
from course_lib.mini.training.position_init import init_decoder
from course_lib.mini.training.run_folder import RunFolder
from course_lib.mini.training.stages import STAGES, TrainingStage
from course_lib.training import TrainingOptions, TrainingRun, training_loop
from course_lib.training_run import seed_of

INIT_IMAGES = 768  # for principal components: 196,608 patches of 192 numbers
VOCABULARY_PORTRAITS = 1500  # the tokenizer is learned from their captions; more change little
MIN_SECONDS = 1.0  # of a stage
LAST_LOSSES = 20  # the report's final loss is their mean


@dataclass(frozen=True)
class TrainingSettings:
    """What the command line of `course_lib.mini.train` says."""

    folder: Path
    minutes: float | None = None
    start_from: Path | None = None
    styles: tuple[str, ...] = ALL_STYLES
    portraits: int | None = None
    stages: tuple[str, ...] = STAGES
    smoke: bool = False
    compile: bool = False
    seed: int = 0
    cache: Path | None = None


class Trainer:
    """Trains the stages of a model one after the other.

    Parameters
    ----------
    settings : TrainingSettings

    Raises
    ------
    ValueError
        If the settings make no sense, or the folder belongs to another training.
    """

    def __init__(self, settings: TrainingSettings):
        self.settings, self.device = settings, get_device()
        self.kind = "cpu" if self.device.type == "cpu" else "gpu"
        self.kind = "smoke" if settings.smoke else self.kind
        self.recipe = stages.RECIPES[self.kind]
        self.data = training_data(tuple(settings.styles))
        self.names = [name for name in STAGES if name in settings.stages]
        self._check_minutes()
        self.first = int(os.environ.get("RANK", "0")) == 0  # of several processes, the one to write
        self.folder = RunFolder(settings.folder, writes=self.first)
        self.count = self._count_portraits()
        self.folder.open(
            {
                "recipe": self.kind,
                "portraits": self.count,
                "styles": list(settings.styles),
                "start_from": str(settings.start_from) if settings.start_from else None,
                "seed": settings.seed,
            }
        )
        self.tokens = torch.empty((0, CAPTIONS, 0), dtype=torch.short)

    def run(self) -> None:
        """Train every stage that is asked for and not finished yet, and write the model."""
        if self.device.type == "cuda":
            take_own_gpu(os.environ)
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self.started, self.spent_before = time.monotonic(), self.folder.report["seconds"]
        series = ExampleSeries(TRAINING_SEED, self.data)
        cache = self.settings.cache or self.folder.folder / "portraits"
        self.painter = ExamplePainter(series, self.count, cache, None if self.first else 0)
        try:
            self._prepare_models()
            self.folder.write_report()
            for number, name in enumerate(STAGES):
                if not self._restore(name) and name in self.names:
                    # Of the heads that a stage adds; batches and noise have seeds of their own
                    torch.manual_seed(seed_of(self.settings.seed, number))
                    self._train(name)
                    self.export()
        finally:
            self.painter.close()

    def export(self) -> None:
        """Write the model folder: what has been trained so far."""
        if self.first:
            target, prediction = self.folder.folder / "model", self.prediction_type
            save_model(target, self.models, self.tokenizer, self.data, prediction_type=prediction)

    # --- the stages

    def _prepare_models(self) -> None:
        config = self.recipe.config
        if self.settings.start_from:
            loaded = load_model(self.settings.start_from, config)
            self.models, self.tokenizer, self.prediction_type = loaded
        else:
            first = self._portraits(min(self.count, VOCABULARY_PORTRAITS))
            self.tokenizer = train_tokenizer(first.captions.flatten().tolist(), config.vocabulary)
            self.models, self.prediction_type = new_models(config, self.tokenizer), "sample"
            vae, pixels = self.models["vae"], first.pixels[:INIT_IMAGES]
            pca_init.zero_residual_branches(vae.decoder)
            init_decoder(vae.decoder)
            pca_init.init_encoder(vae, pixels)
            pca_init.set_scaling_factor(vae, pixels)
        for module in self.models.values():
            module.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def _train(self, name: str) -> None:
        stage = self._build(name, self._portraits_of(name))
        if name == "unet" and self.prediction_type == "v_prediction":
            stages.start_from_v(self.models["unet"])
        self._run_stage(stage, self._seconds_for(name))
        if name == "unet":
            self.prediction_type = "sample"

    def _build(self, name: str, data: PortraitData) -> TrainingStage:
        settings, seed, models = self.recipe.stages[name], self.settings.seed, self.models
        text_encoder, unet = models["text_encoder"], models["unet"]
        if name == "decoder":
            return stages.decoder_stage(settings, models["vae"], data.pixels, seed)
        ids, classifier = self._ids(data), models["attribute_classifier"]
        if name == "clip":
            return stages.clip_stage(settings, text_encoder, classifier, data, ids, seed)
        if name == "text":
            pooling = unet.add_embedding
            return stages.text_stage(settings, text_encoder, pooling, classifier, data, ids, seed)
        latents = stages.encode_latents(models["vae"], data.pixels)
        empty = token_ids(self.tokenizer, [""])
        return stages.unet_stage(settings, unet, text_encoder, latents, ids, empty, seed)

    def _run_stage(self, stage: TrainingStage, seconds: float | None) -> None:
        """Train a stage to its end, take its averaged weights over and keep them."""
        chosen = stage.settings
        options = TrainingOptions(
            steps=chosen.steps if seconds is None else None,
            minutes=None if seconds is None else seconds / 60,
            batch_size=chosen.batch_size,
            lr=chosen.lr,
            warmup=chosen.warmup,
            ema_decay=chosen.ema_decay,
            checkpoint=self.folder.checkpoint(stage.name),
            checkpoint_every=self.recipe.checkpoint_every,
            seed=self.settings.seed,
            memory_format=stage.memory_format,
        )
        stage.module.requires_grad_(True)
        run = TrainingRun(stage.module, options, identity={"stage": stage.name})
        self.spent_before += run.seconds  # what a run that was stopped spent on this stage
        if self.settings.compile:
            for network in stage.module.children():
                network.compile()
        losses: deque[float] = deque(maxlen=LAST_LOSSES)
        for step in training_loop(run, stage.batch, description=stage.name, progress=self.first):
            losses.append(step.loss)
        stage.module.load_state_dict(run.ema.model.state_dict())
        for network in stage.module.children():
            network.eval().requires_grad_(False)._compiled_call_impl = None
        entry = {
            "steps": run.done,
            "samples": run.done * chosen.batch_size,
            "examples": stage.examples,
            "batch_size": chosen.batch_size,
            "seconds": round(run.seconds, 1),
            "final_loss": round(sum(losses) / len(losses), 5) if losses else None,
            "device": device_report().name,
        }
        networks = self._changed_by(stage.name)
        self.folder.keep(stage.name, networks, entry, seconds=round(self._spent(), 1))

    def _changed_by(self, stage: str) -> dict[str, nn.Module]:
        return {name: self.models[name] for name in stages.TRAINED[stage]}

    def _restore(self, stage: str) -> bool:
        """Take over what an earlier run of this folder has finished."""
        if not self.folder.restore(stage, self._changed_by(stage)):
            return False
        if stage == "unet":
            self.prediction_type = "sample"
        if self.first:
            print(f"{stage}: finished before", flush=True)
        return True

    # --- data

    def _count_portraits(self) -> int:
        """How many training portraits: as asked, as before, or as many as the time allows."""
        least = max(stage.batch_size for stage in self.recipe.stages.values())
        given = self.settings.portraits
        if given is None:
            given = self.folder.report["settings"].get("portraits", self.recipe.portraits)
            if self.settings.minutes is not None and not self.folder.report["settings"]:
                cores = os.cpu_count() or 1
                affordable = self.recipe.portraits_per_core_minute * self.settings.minutes * cores
                given = max(least, int(min(given, affordable)))
        if given < least:
            raise ValueError(f"--portraits must be at least {least}, a batch, not {given}.")
        return given

    def _portraits(self, count: int) -> PortraitData:
        return read_portraits(self.painter.wait(count), count)

    def _portraits_of(self, stage: str) -> PortraitData:
        """The portraits of a stage, as soon as they are painted; on a GPU the pixels, too."""
        least = self.recipe.stages[stage].batch_size
        data = self._portraits(max(least, round(stages.PORTRAITS[stage] * self.count)))
        return data if self.device.type == "cpu" else data.to(self.device)

    def _ids(self, data: PortraitData) -> Tensor:
        """Tokens of the captions, (N, V, 77); those of earlier stages are not made again."""
        missing = data.captions[len(self.tokens) :]
        if len(missing):
            new = token_ids(self.tokenizer, missing.flatten().tolist()).short()
            new = new.unflatten(0, missing.shape)  # (N V, 77) -> (N, V, 77)
            self.tokens = torch.cat([self.tokens, new]) if len(self.tokens) else new
        return self.tokens[: len(data)]

    # --- time

    def _spent(self) -> float:
        """Seconds that this training has taken so far, in this process and in earlier ones."""
        return self.spent_before + time.monotonic() - self.started

    def _share(self, stage: str) -> float:
        """A stage's share of the time that is left when it begins."""
        rest = self.names[self.names.index(stage) :]
        return stages.MINUTES[stage] / sum(stages.MINUTES[name] for name in rest)

    def _check_minutes(self) -> None:
        minutes = self.settings.minutes
        if minutes is None:
            return
        whole = sum(stages.MINUTES[name] for name in self.names)
        shortest = min(self.names, key=stages.MINUTES.__getitem__)
        seconds = 60 * minutes * stages.MINUTES[shortest] / whole
        if not seconds >= MIN_SECONDS:
            needed = MIN_SECONDS / 60 * whole / stages.MINUTES[shortest]
            raise ValueError(
                f"--minutes {minutes:g} is too short: the stage {shortest} would get "
                f"{seconds:.2f} s. Give at least {needed:.2f} minutes."
            )

    def _seconds_for(self, stage: str) -> float | None:
        """How long a stage that is prepared may train; None without a limit."""
        if self.settings.minutes is None:
            return None
        spent = self._spent()
        seconds = (60 * self.settings.minutes - spent) * self._share(stage)
        if seconds < MIN_SECONDS:
            raise ValueError(
                f"--minutes {self.settings.minutes:g} leaves no time for the stage {stage}: "
                f"{spent:.0f} s went by before it could begin, mostly with painting. Give more "
                "minutes or fewer --portraits; what is painted and trained stays."
            )
        return seconds


def take_own_gpu(environment: Mapping[str, str]) -> None:
    """Let "cuda" mean this process's GPU: ``accelerate launch`` says which in LOCAL_RANK.

    Accelerate does so itself, but later, when a first stage begins; until then all processes would
    fill the memory of the first GPU.
    """
    if "LOCAL_RANK" in environment:
        # Some clusters show each process one GPU, which is number 0 there
        torch.cuda.set_device(int(environment["LOCAL_RANK"]) % torch.cuda.device_count())
