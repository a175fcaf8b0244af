"""`personalise`: from a folder of pictures to one file that a model paints with."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from course_lib.device import check_seed, get_device, pick_dtype
from course_lib.errors import check_whole
from course_lib.pipelines.loading import load_pipeline
from course_lib.pipelines.locks import model_lock
from course_lib.pipelines.personalisation.consent import check_consent
from course_lib.pipelines.personalisation.pictures import TrainingPictures, read_pictures
from course_lib.pipelines.personalisation.runs import Job, train
from course_lib.pipelines.personalisation.settings import check_names, kind_of, recipe_for
from course_lib.pipelines.registry import REGISTRY
from course_lib.pipelines.tuning import report_of


def personalise(
    folder: str | os.PathLike[str],
    *,
    name: str,
    method: str = "lora",
    model: Any = "mini",
    output: str | os.PathLike[str] | None = None,
    consent: bool = False,
    caption: str | None = None,
    class_word: str = "person",
    steps: int | None = None,
    minutes: float | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    rank: int | None = None,
    seed: int = 0,
    patience: int | None = 4,
    preview_every: int | None = 0,
    preview_prompts: Sequence[str] | None = None,
    format: str = "diffusers",
    overwrite: bool = False,
    progress: bool = True,
    verbose: bool = True,
) -> Path:
    """Train a model on a folder of pictures, and write what it learned into one file.

    One picture in five, at least one, is held out. The training ends when the held-out loss has
    not fallen for `patience` measurements, and the weights with the lowest one are written. A run
    that was stopped goes on from its checkpoint, ``OUTPUT.checkpoint.safetensors``, when it is
    called again.

    Parameters
    ----------
    folder : path
        As `PortraitFolder` reads it; captions are optional.
    name : str
        One word for the person or the style. Prompts use it: "a portrait of anna person"
        (dreambooth), "a portrait of <anna>" (textual-inversion).
    method : {"lora", "dreambooth", "textual-inversion"}
        "lora" suits a style: captions say what is in the pictures, and the rest, which they have in
        common, is learned (arXiv:2106.09685). "dreambooth" suits one person: a LoRA with a word of
        its own and pictures of the class, painted by the model itself, that keep it from
        forgetting (arXiv:2208.12242). "textual-inversion" learns only a word (arXiv:2208.01618).
    model : str, path or pipeline
        What `load_pipeline` takes. A pipeline is left as it was.
    output : path
        Default: ``NAME.safetensors``.
    consent : bool
        That everyone recognisable has agreed. Needed for every folder whose pictures do not all say
        that this course painted them; the answer is written into the file.
    caption : str, optional
        Of every picture, instead of the folder's captions.
    class_word : str
        What the subject is one of, such as "woman"; for dreambooth and textual-inversion.
    steps, minutes, lr, batch_size, rank
        Default: as `RECIPES` has them for the kind of model; `minutes` is a limit besides.
    patience : int or None
        None trains to the end.
    preview_every : int or None
        Paint previews every so many steps, into ``NAME-preview-0100.png`` beside the output; None
        paints four in a run.
    preview_prompts : sequence of str, optional
    format : {"diffusers", "kohya"}
        Names inside a LoRA's file; kohya's is what other programs for Stable Diffusion 1.5 read.
    overwrite : bool
        Replace the file if it exists.

    Returns
    -------
    Path
        The file. ``paint(prompt, model, lora=path)`` uses it, and so does
        ``pipe.load_lora_weights(folder, weight_name=...)`` or ``pipe.load_textual_inversion``.

    Raises
    ------
    FileNotFoundError, ValueError
        For what is wrong with the folder, the settings or the file; nothing is written then.
    TrainingDiverged
        If the loss is no longer finite.
    OSError
        If the disk is full.
    """
    check_names(method, name, format)
    if preview_every is not None:
        check_whole("preview_every", preview_every, low=0)
    if patience is not None:
        check_whole("patience", patience)
    subject = {"dreambooth": f"{name} {class_word}", "textual-inversion": f"<{name.lower()}>"}
    given = {"steps": steps, "lr": lr, "batch_size": batch_size, "rank": rank}
    job = Job(
        method=method, name=name, subject=subject.get(method, name), class_word=class_word,
        output=_checked_output(output, name, overwrite), seed=check_seed(seed), format=format,
        minutes=minutes, has_steps=minutes is None or steps is not None, patience=patience,
        preview_every=preview_every,
        preview_prompts=preview_prompts, progress=progress, verbose=verbose,
    )  # fmt: skip

    def read(size: int) -> tuple[TrainingPictures, dict[str, Any]]:
        _check_apart(Path(folder).expanduser(), job.output)
        found = read_pictures(folder, size, method=method, subject=job.subject, caption=caption)
        return found, check_consent(found.folder, found.paths, consent)

    known = REGISTRY.get(model) if isinstance(model, str) else None
    early = read(known.size) if known else None  # before gigabytes are fetched and loaded
    with _ready(model) as pipe:
        kind = kind_of(pipe)
        check_names(method, name, format, kind)
        recipe = recipe_for(kind, method, **given)
        pictures, answer = early or read(report_of(pipe).settings.size)
        job.say(*pictures.notes)
        return train(pipe, job, recipe, pictures, answer)


@contextlib.contextmanager
def _ready(model: Any) -> Iterator[Any]:
    """A pipeline to train with, which no other thread uses meanwhile.

    A model that is given by name is loaded for the training alone: nobody else sees half-trained
    adapters, and the number format is one that gradients bear.
    """
    if hasattr(model, "components"):
        pipe = model
    else:
        native = pick_dtype(get_device()) == torch.bfloat16
        small = model == "mini"
        dtype = None if small else torch.bfloat16 if native else torch.float32
        pipe = load_pipeline(model, dtype=dtype, offload="none", verbose=False)
    with model_lock(pipe):
        yield pipe


def _checked_output(output: str | os.PathLike[str] | None, name: str, overwrite: bool) -> Path:
    """The file to write, once it is known that it can be written.

    Raises
    ------
    ValueError
        If it ends wrongly, exists, or its folder cannot be written to.
    """
    path = Path(f"{name}.safetensors" if output is None else output).expanduser()
    if path.suffix != ".safetensors":
        raise ValueError(f"the output must end in .safetensors, not {path.name!r}.")
    if path.exists() and not overwrite:
        raise ValueError(
            f"{path} exists already. Choose another output, or say overwrite=True (--overwrite)."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to {path.parent} ({error.strerror}). Choose another output."
        ) from None
    return path


def _check_apart(folder: Path, output: Path) -> None:
    """Previews beside the output would be trained on by the next run."""
    if output.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{output} lies in the folder of the pictures, where previews would be taken for "
            "pictures to train on. Choose an output outside of it."
        )
