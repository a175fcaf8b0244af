"""Tune a loaded pipeline for this machine, and report what was chosen and why."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from course_lib.pipelines.plan import Plan
from course_lib.pipelines.registry import ModelSpec, make_scheduler, model_spec, spec_for
from course_lib.tables import rows_as_html, rows_as_text

OWN = "a pipeline of your own"  # the source of what `load_pipeline` did not load


@dataclass(frozen=True)
class LoadReport:
    """What was loaded, from where, and what was chosen for this machine.

    Attributes
    ----------
    model, source : str
        The name that was asked for, and the place that it came from.
    revision : str or None
        The commit, where there is one.
    device, dtype
        Where and in which number format it computes.
    settings : ModelSpec
        Recommended steps, guidance, scheduler and size; `paint` uses them as defaults.
    choices : list of (str, str)
        What was chosen, and why.
    """

    model: str
    source: str
    revision: str | None
    device: torch.device
    dtype: torch.dtype
    settings: ModelSpec
    choices: list[tuple[str, str]] = field(default_factory=list)

    def _rows(self) -> list[tuple[str, str]]:
        s = self.settings
        source = f"{self.source}, revision {self.revision[:12]}" if self.revision else self.source
        use = f"{s.steps} steps of {s.scheduler}, guidance {s.guidance:g}, {s.size} pixels"
        rows = [("Model", f"{self.model}: {s.title}"), ("From", source), ("Licence", s.licence)]
        rows += [(what[:1].upper() + what[1:], why) for what, why in self.choices]
        return [*rows, ("Paints with", use)]

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(label) for label, _ in rows) + 2
        return rows_as_text(rows, width)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return rows_as_html(self._rows())


def report_of(pipe) -> LoadReport:
    """The report of a pipeline, whether `load_pipeline` made it or somebody else."""
    report = getattr(pipe, "course_report", None)
    if report is None:
        spec = complete(own_spec(None), pipe, "own")
        device = torch.device(getattr(pipe, "_execution_device", "cpu"))
        report = LoadReport(spec.name, OWN, None, device, pipe_dtype(pipe), spec)
        pipe.course_report = report
    return report


def own_spec(like: str | None) -> ModelSpec:
    """Settings for a model that has no name: guesses, or those of a known model."""
    if like:
        return replace(model_spec(like), name="own", title=f"a model like {like}", folder=None)
    return replace(spec_for("your/own"), name="own", title="a model of your own")


def modules(pipe) -> list[torch.nn.Module]:
    """The networks of a pipeline."""
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def pipe_dtype(pipe) -> torch.dtype:
    """The number format of its largest network."""
    network = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    network = network or modules(pipe)[0]
    return next(network.parameters()).dtype


def native_size(pipe) -> int:
    """Edge of the pictures, in pixels, that the model was trained for."""
    factor = getattr(pipe, "vae_scale_factor", 8)
    unet = getattr(pipe, "unet", None)
    size = unet.config.sample_size if unet is not None else getattr(pipe, "default_sample_size", 64)
    return int(size if isinstance(size, int) else size[0]) * factor


def complete(spec: ModelSpec, pipe, scheduler: str | None) -> ModelSpec:
    """Fill in what only the loaded pipeline tells: native size, and a scheduler."""
    chosen = scheduler or spec.scheduler
    slow = type(pipe.scheduler).__name__ in ("PNDMScheduler", "DDIMScheduler", "DDPMScheduler")
    if scheduler is None and chosen == "own" and slow:
        chosen = "dpmpp_2m"  # the same quality in half the steps
    return replace(spec, scheduler=chosen, size=spec.size or native_size(pipe))


def tune(pipe, plan: Plan, spec: ModelSpec) -> list[tuple[str, str]]:
    """Apply a plan to a loaded pipeline; return the choices made here, with reasons."""
    choices = [("attention", "PyTorch's fused scaled_dot_product_attention, the default")]
    convolutional = [getattr(pipe, name, None) for name in ("unet", "vae")]
    if plan.device.type in ("cpu", "cuda"):
        for network in filter(None, convolutional):
            network.to(memory_format=torch.channels_last)
        choices.append(("channels_last", "convolutions read the channels of a pixel at once"))
    vae = getattr(pipe, "vae", None)
    if plan.slicing and hasattr(vae, "enable_slicing"):
        vae.enable_slicing()
    if plan.tiling and hasattr(vae, "enable_tiling"):
        vae.enable_tiling()
    pipe.scheduler = make_scheduler(spec.scheduler, pipe.scheduler)
    choices.append((f"scheduler {spec.scheduler}", _scheduler_reason(spec)))
    if plan.offload == "model":
        pipe.enable_model_cpu_offload(device=plan.device)
    elif plan.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=plan.device)
    else:
        pipe.to(plan.device)
    return choices


def _scheduler_reason(spec: ModelSpec) -> str:
    if spec.scheduler == "own":
        return "the one that the model was made for"
    if spec.scheduler == "euler_trailing":
        return "what turbo models were distilled for"
    if spec.scheduler.startswith("dpmpp"):
        return "second order: good portraits in a third of PNDM's steps or fewer"
    return "as you asked"


def dtype_keyword() -> str:
    """What `from_pretrained` calls the number format: newer versions renamed ``torch_dtype``."""
    from diffusers.pipelines import pipeline_utils

    return "dtype" if hasattr(pipeline_utils, "_resolve_dtype") else "torch_dtype"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the bars and remarks with which diffusers and transformers load."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    held: list[Any] = []
    for logging in (diffusers_logging, transformers_logging):
        if getattr(logging, "is_progress_bar_enabled", lambda: True)():
            logging.disable_progress_bar()
            held.append(logging)
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(verbosity)
        for logging in held:
            logging.enable_progress_bar()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn whatever a library raises about damaged files into one sentence that names `path`."""
    try:
        yield
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 400, placeholder=" ...")
        raise ValueError(
            f"{path} cannot be loaded: its files do not fit together, or they are damaged "
            f"({reason}). Get them again, or choose another copy of the model."
        ) from error
