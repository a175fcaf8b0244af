"""The course of a training: portraits that arrive, stage after stage, checkpoints and a report."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import deque
from dataclasses import asdict, dataclass
from importlib import metadata
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
from course_lib.mini.training.stages import STAGES, TrainingStage
from course_lib.training import TrainingOptions, TrainingRun, training_loop
from course_lib.weights import load_tensors, save_tensors

REPORT = "training_report.json"
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
        self.minutes = self._divide_minutes()
        self.first = int(os.environ.get("RANK", "0")) == 0  # of several processes, the one to write
        self.folder = Path(settings.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.report = self._open_report()
        self.count = self.report["settings"]["portraits"]
        self.tokens = torch.empty((0, CAPTIONS, 0), dtype=torch.short)

    def run(self) -> None:
        """Train every stage that is asked for and not finished yet, and write the model."""
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self.started = time.monotonic()
        series = ExampleSeries(TRAINING_SEED, self.data)
        cache = self.settings.cache or self.folder / "portraits"
        self.painter = ExamplePainter(series, self.count, cache, None if self.first else 0)
        try:
            self._prepare_models()
            for name in self.names:
                if not self._restore(name):
                    getattr(self, f"_train_{name}")()
                self.export()
                self.started = time.monotonic()
        finally:
            self.painter.close()

    def export(self) -> None:
        """Write the model folder: what has been trained so far."""
        if self.first:
            target, prediction = self.folder / "model", self.prediction_type
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

    def _train_decoder(self) -> None:
        data = self._portraits_of("decoder")
        settings, seed = self.recipe.stages["decoder"], self.settings.seed
        stage = stages.decoder_stage(settings, self.models["vae"], data.pixels, seed)
        self._run_stage(stage, self._seconds_left("decoder"))

    def _train_clip(self) -> None:
        data = self._portraits_of("clip")
        networks = self.models["text_encoder"], self.models["attribute_classifier"]
        settings, seed = self.recipe.stages["clip"], self.settings.seed
        stage = stages.clip_stage(settings, *networks, data, self._ids(data), seed)
        self._run_stage(stage, self._seconds_left("clip"))

    def _train_text(self) -> None:
        data = self._portraits_of("text")
        networks = (
            self.models["text_encoder"],
            self.models["unet"].add_embedding,
            self.models["attribute_classifier"],
        )
        settings, seed = self.recipe.stages["text"], self.settings.seed
        stage = stages.text_stage(settings, *networks, data, self._ids(data), seed)
        self._run_stage(stage, self._seconds_left("text"))

    def _train_unet(self) -> None:
        data = self._portraits_of("unet")
        latents = stages.encode_latents(self.models["vae"], data.pixels)
        networks = self.models["unet"], self.models["text_encoder"]
        ids, empty = self._ids(data), token_ids(self.tokenizer, [""])
        settings, seed = self.recipe.stages["unet"], self.settings.seed
        stage = stages.unet_stage(settings, *networks, latents, ids, empty, seed)
        seconds = self._seconds_left("unet")
        if self.prediction_type == "v_prediction" and not self._restore("unet_output"):
            share = None if seconds is None else stages.OUTPUT_SHARE * seconds
            self._run_stage(stages.output_stage(stage), share)
            seconds = self._seconds_left("unet")
        self._run_stage(stage, seconds)
        self.prediction_type = "sample"

    def _run_stage(self, stage: TrainingStage, seconds: float | None) -> None:
        """Train a stage to its end, take its averaged weights over and keep them."""
        chosen, begin = stage.settings, time.monotonic()
        checkpoint = self.folder / f"{stage.name}.safetensors"
        options = TrainingOptions(
            steps=chosen.steps if seconds is None else None,
            minutes=None if seconds is None else seconds / 60,
            batch_size=chosen.batch_size,
            lr=chosen.lr,
            warmup=chosen.warmup,
            ema_decay=chosen.ema_decay,
            checkpoint=checkpoint,
            checkpoint_every=self.recipe.checkpoint_every,
            seed=self.settings.seed,
            memory_format=stage.memory_format,
        )
        stages.set_trainable(stage)
        run = TrainingRun(stage.module, options, identity={"stage": stage.name})
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
            "preparation_seconds": round(begin - self.started, 1),
            "final_loss": round(sum(losses) / len(losses), 5) if losses else None,
            "device": device_report().name,
            "versions": _versions(),
        }
        self._keep(stage.name, entry)
        checkpoint.unlink(missing_ok=True)

    # --- data

    def _portraits(self, count: int) -> PortraitData:
        return read_portraits(self.painter.wait(count), count)

    def _portraits_of(self, stage: str) -> PortraitData:
        """The portraits of a stage, as soon as they are painted; pixels on a GPU if there is one."""
        least = self.recipe.stages[stage].batch_size
        data = self._portraits(max(least, round(stages.PORTRAITS[stage] * self.count)))
        return data if self.device.type == "cpu" else data.to(self.device)

    def _ids(self, data: PortraitData) -> Tensor:
        """Tokens of the captions, (N, V, 77); those of earlier stages are not made again."""
        missing = data.captions[len(self.tokens) :]
        if len(missing):
            parts = [
                token_ids(self.tokenizer, part.flatten().tolist()).short()
                for part in [missing[i : i + 512] for i in range(0, len(missing), 512)]
            ]
            new = torch.cat(parts).unflatten(0, (-1, CAPTIONS))
            self.tokens = torch.cat([self.tokens, new]) if len(self.tokens) else new
        return self.tokens[: len(data)]

    # --- time

    def _divide_minutes(self) -> dict[str, float] | None:
        """How many minutes each stage gets, or None for a fixed number of steps."""
        minutes = self.settings.minutes
        if minutes is None:
            return None
        whole = sum(stages.MINUTES[name] for name in self.names)
        shares = {name: stages.MINUTES[name] / whole for name in self.names}
        needed = MIN_SECONDS / 60 / min(shares.values())
        if not minutes >= needed:
            shortest = min(shares, key=shares.get)
            raise ValueError(
                f"--minutes {minutes:g} is too short: the stage {shortest} would get "
                f"{60 * minutes * shares[shortest]:.2f} s. Give at least {needed:.2f} minutes."
            )
        return {name: minutes * share for name, share in shares.items()}

    def _seconds_left(self, stage: str) -> float | None:
        """What is left of a stage's time after its preparation; None without a limit."""
        if self.minutes is None:
            return None
        budget, spent = 60 * self.minutes[stage], time.monotonic() - self.started
        if budget - spent < MIN_SECONDS:
            raise ValueError(
                f"--minutes {self.settings.minutes:g} gives the stage {stage} {budget:.0f} s, but "
                f"its preparation took {spent:.0f} s, mostly painting. Give more minutes or fewer "
                "--portraits; what is painted and trained stays."
            )
        return budget - spent

    # --- files

    def _open_report(self) -> dict:
        """The report of this folder, a new one if there is none."""
        path, given = self.folder / REPORT, self.settings
        report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        count = given.portraits
        if count is None and report:
            count = report["settings"]["portraits"]
        if count is None:
            count = self.recipe.portraits
            if given.minutes is not None:
                affordable = self.recipe.portraits_per_core_minute * given.minutes
                count = int(min(count, affordable * (os.cpu_count() or 1)))
        least = max(stage.batch_size for stage in self.recipe.stages.values())
        if given.portraits is not None and count < least:
            raise ValueError(f"--portraits must be at least {least}, a batch, not {count}.")
        settings = {
            "recipe": self.kind,
            "portraits": max(count, least),
            "styles": list(self.data.only["style"]),
            "start_from": str(given.start_from) if given.start_from else None,
            "seed": given.seed,
            "sizes": json.loads(json.dumps(asdict(self.recipe.config))),
        }
        if report is None:
            return {"settings": settings, "stages": {}}
        old = report["settings"]
        changed = [f"{k} {old.get(k)}, now {v}" for k, v in settings.items() if old.get(k) != v]
        if changed:
            raise ValueError(
                f"{self.folder} holds a training with other settings ({'; '.join(changed)}). Give "
                "another --folder, or the same settings to go on with it."
            )
        return report

    def _keep(self, stage: str, entry: dict) -> None:
        """Write a finished stage's networks in float32, and its line of the report."""
        self.report["stages"][stage] = entry
        if not self.first:
            return
        tensors = {
            f"{name}.{key}": tensor
            for name in stages.TRAINED[stage]
            for key, tensor in self.models[name].state_dict().items()
        }
        save_tensors(self._finished(stage), tensors, {"stage": stage})
        text = json.dumps(self.report | {"minutes": self.settings.minutes}, indent=2) + "\n"
        (self.folder / REPORT).write_text(text, encoding="utf-8")

    def _restore(self, stage: str) -> bool:
        """Read a finished stage's networks, if an earlier run of this folder has kept them."""
        if not self._finished(stage).is_file():
            return False
        tensors = load_tensors(self._finished(stage))[0]
        for name in stages.TRAINED[stage]:
            state = {
                k.removeprefix(f"{name}."): v
                for k, v in tensors.items()
                if k.startswith(f"{name}.")
            }
            self.models[name].load_state_dict(state)
        if stage == "unet":
            self.prediction_type = "sample"
        if self.first:
            print(f"{stage}: finished before")
        return True

    def _finished(self, stage: str) -> Path:
        return self.folder / "finished" / f"{stage}.safetensors"


def _versions() -> dict[str, str]:
    names = ("torch", "diffusers", "transformers", "accelerate", "resvg-py")
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}
