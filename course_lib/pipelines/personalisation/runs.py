"""One training: its settings, its examples, the loop, and the file at the end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course_lib import __version__
from course_lib.pipelines.personalisation import methods
from course_lib.pipelines.personalisation.denoising import mean_error, schedule_of
from course_lib.pipelines.personalisation.examples import (
    Examples,
    batch_of,
    encode_images,
    held_out_batches,
    split,
)
from course_lib.pipelines.personalisation.lora_files import architecture, write_file
from course_lib.pipelines.personalisation.pictures import TrainingPictures
from course_lib.pipelines.personalisation.previews import paint_prior, save_preview
from course_lib.pipelines.personalisation.settings import Recipe
from course_lib.pipelines.tuning import report_of
from course_lib.training_loop import training_loop
from course_lib.training_options import TrainingOptions
from course_lib.training_run import TrainingRun

MEASUREMENTS = 8  # of the held-out loss in a run
PREVIEWS = 4  # in a run, where nothing else is asked for


@dataclass(frozen=True)
class Job:
    """What the user asked for, besides the folder and the recipe.

    Attributes
    ----------
    subject : str
        The words that stand in prompts for what is learned.
    has_steps : bool
        Whether the number of steps ends the run; else only the clock does.
    """

    method: str
    name: str
    subject: str
    class_word: str
    output: Path
    seed: int
    format: str
    minutes: float | None
    has_steps: bool
    patience: int | None
    preview_every: int | None
    preview_prompts: Sequence[str] | None
    progress: bool
    verbose: bool

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept while it is not finished."""
        return self.output.with_name(f"{self.output.stem}.checkpoint.safetensors")

    def preview(self, step: int) -> Path:
        """The file of the preview after so many steps."""
        return self.output.with_name(f"{self.output.stem}-preview-{step:04d}.png")

    def say(self, *sentences: str) -> None:
        """Print, unless the user wants it quiet."""
        if self.verbose:
            print(*sentences, sep="\n", flush=True)


def train(
    pipe, job: Job, recipe: Recipe, pictures: TrainingPictures, consent: dict[str, Any]
) -> Path:
    """Train on checked pictures and write the file; the pipeline is left as it was."""
    size = pictures.images.shape[-1]
    with methods.frozen(pipe):
        prior_prompt = f"a portrait of a {job.class_word}"
        images, captions = [pictures.images], [plain(text) for text in pictures.captions]
        if job.method == "dreambooth":
            job.say(f"{recipe.prior} pictures of {prior_prompt!r} keep the model from forgetting.")
            bar = {"progress": job.progress}
            images.append(paint_prior(pipe, prior_prompt, recipe.prior, size, **bar))
            captions += [prior_prompt] * recipe.prior
        latents = encode_images(pipe, torch.cat(images))
        with _method(pipe, job, recipe, size) as trained:
            told = trained.conditions([*captions, ""])  # together, so that all are of one length
            own = {name: rows[:-1] for name, rows in told.items()}
            empty = {name: rows[-1:] for name, rows in told.items()}
            examples = Examples(latents, own, empty)
            return _train(pipe, job, recipe, trained, examples, pictures, consent)


def plain(caption: str) -> str:
    """A caption whose brackets are read as brackets, not as weights."""
    return re.sub(r"([\\()\[\]])", r"\\\1", caption)


def _method(
    pipe, job: Job, recipe: Recipe, size: int
) -> contextlib.AbstractContextManager[methods.Trained]:
    if job.method == "textual-inversion":
        return methods.textual_inversion(pipe, recipe, job.subject, job.class_word)
    return methods.lora(pipe, recipe, size, job.seed)


def _train(pipe, job, recipe, trained, examples: Examples, pictures, consent) -> Path:
    count = len(pictures.paths)
    inside, held_out = split(count, job.seed)
    parts, sizes = [examples.rows(inside)], [recipe.batch_size]
    if len(examples) > count:  # the class's pictures follow the folder's
        parts.append(examples.rows(torch.arange(count, len(examples))))
        sizes = [recipe.batch_size // 2] * 2
    schedule, weights = schedule_of(pipe), trained.weights
    device = torch.device(pipe._execution_device)
    measured = held_out_batches(examples.rows(held_out), schedule, job.seed)
    # Before the run, which may put the weights of a checkpoint in
    before = mean_error(trained.loss, measured, device)
    info = _info(pipe, job, recipe, pictures, consent)
    run = TrainingRun(
        weights, _options(job, recipe, device),
        identity=info | {"consent": None, "captions": pictures.captions},
        loss=lambda module, *batch: trained.loss(*batch),
    )  # fmt: skip
    size = sum(p.numel() for p in weights.parameters())
    job.say(
        f"Training {size:,} numbers on {len(inside)} pictures for at most "
        f"{_length(run.options)}; {len(held_out)} held out."
    )
    if run.done:
        job.say(f"Going on after step {run.done}, from {job.checkpoint.name}.")

    def evaluate(_: torch.nn.Module) -> float:
        error = mean_error(trained.loss, measured, device)
        if error < run.best:
            weights.keep(run.done)
        return error

    batch = batch_of(parts, sizes, schedule, seed=job.seed, drop=recipe.drop)
    _loop(pipe, job, run, batch, evaluate, recipe)
    weights.take_best()
    tensors, header = trained.file(job.format)
    info |= {"steps": run.done, "best_step": int(weights.best_step)}
    info |= {"held_out_before": round(before, 6), "held_out": round(run.best, 6)}
    write_file(job.output, tensors, header, info)
    job.checkpoint.unlink(missing_ok=True)
    _report(job, before, run, info)
    return job.output


def _loop(pipe, job: Job, run: TrainingRun, batch, evaluate, recipe: Recipe) -> None:
    every, previews = max(1, recipe.steps // MEASUREMENTS), job.preview_every
    if previews is None:
        previews = max(1, recipe.steps // PREVIEWS)
    prompts = job.preview_prompts or [f"a portrait of {job.subject}"]
    bar = {"progress": job.progress, "description": job.method}
    try:
        for step in training_loop(
            run, batch, evaluate=evaluate, evaluate_every=every, patience=job.patience, **bar
        ):
            if previews and step.step % previews == 0:
                save_preview(pipe, prompts, job.preview(step.step))
    except KeyboardInterrupt:
        run.save()
        raise


def _options(job: Job, recipe: Recipe, device: torch.device) -> TrainingOptions:
    return TrainingOptions(
        steps=recipe.steps if job.has_steps else None,
        minutes=job.minutes,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        warmup=min(10, recipe.steps // 10),
        weight_decay=0.0,  # towards zero would be towards the untrained model
        ema_decay=0.0,  # the average over so few steps would lag behind; the best weights are kept
        checkpoint=job.checkpoint,
        checkpoint_every=max(1, recipe.steps // MEASUREMENTS),
        seed=job.seed,
        device=device,
    )


def _length(options: TrainingOptions) -> str:
    limits = [f"{options.steps} steps"] if options.steps else []
    limits += [f"{options.minutes:g} minutes"] if options.minutes else []
    return " or ".join(limits)


def _info(pipe, job: Job, recipe: Recipe, pictures, consent: dict[str, Any]) -> dict[str, Any]:
    """What the file says about itself."""
    report = report_of(pipe)
    model = report.model
    if Path(report.source).exists():  # files are shared: they must not tell the owner's folders
        model = Path(model).name
    info = {
        "method": job.method, "name": job.name, "subject": job.subject, "model": model,
        "revision": report.revision, "architecture": architecture(pipe.unet),
        "rank": recipe.rank, "alpha": recipe.rank, "targets": list(recipe.targets),
        "pictures": len(pictures.paths), "pictures_sha256": pictures.checksum,
        "lr": recipe.lr, "batch_size": recipe.batch_size,
        "seed": job.seed, "consent": consent, "course": f"Portrait Diffusion {__version__}",
    }  # fmt: skip
    if job.method == "textual-inversion":
        del info["alpha"], info["targets"]
    if job.method == "dreambooth":
        info |= {"class_word": job.class_word, "prior": recipe.prior}
    return info


def _report(job: Job, before: float, run: TrainingRun, info: dict[str, Any]) -> None:
    early = " (stopped early)" if run.waited(job.patience) else ""
    job.say(
        f"{run.done} steps{early}, held-out loss {before:.4f} before, lowest {run.best:.4f} at "
        f"step {info['best_step']}: {job.output}"
    )
    if run.best >= before:
        job.say(
            "The loss of the held-out pictures never fell below that of the untrained model: what "
            "was learned does not carry over to other pictures. Add pictures, or lower lr."
        )
