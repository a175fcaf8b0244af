"""Load a Stable Diffusion pipeline, tuned for this machine, and say what was chosen and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from course_lib.errors import check_choice
from course_lib.pipelines import plan as planning
from course_lib.pipelines.allowed_classes import check_classes
from course_lib.pipelines.bundle import Found, fetch, find, sha256
from course_lib.pipelines.files import (
    PICKLE_ENDINGS,
    IncompleteModel,
    NeedsSafetensors,
    check_folder,
    expanded,
    has_half_files,
    read_index,
)
from course_lib.pipelines.locks import LOADING
from course_lib.pipelines.plan import Plan
from course_lib.pipelines.registry import REGISTRY, SCHEDULERS, ModelSpec, model_spec, spec_for
from course_lib.pipelines.shelf import verify_shipped
from course_lib.pipelines.single_file import load_single_file
from course_lib.pipelines.tuning import (
    OWN,
    LoadReport,
    complete,
    dtype_keyword,
    explained,
    modules,
    own_spec,
    pipe_dtype,
    quiet,
    tune,
)


def load_pipeline(
    name: Any,
    device: torch.device | str | None = None,
    *,
    dtype: torch.dtype | str | None = None,
    scheduler: str | None = None,
    verbose: bool = True,
    revision: str | None = None,
    like: str | None = None,
    config: str | Path | None = None,
    offload: str = "auto",
    fetch_missing: bool = True,
    force: bool = False,
):
    """Load a pipeline and tune it for this machine.

    Parameters
    ----------
    name : str, path or pipeline
        A name of the registry (``"mini"``, ``"sd15"``, ...), an id of the model hub, a diffusers
        folder, a single ``.safetensors`` file, or a pipeline that you made yourself.
    device : torch.device or str, optional
        Default: `course_lib.get_device`.
    dtype : torch.dtype or str, optional
        Default: what the device computes fast.
    scheduler : str, optional
        A key of `SCHEDULERS`, or "own" for the model's own. Default: the registry's.
    verbose : bool
        Print the report; it is kept as ``pipe.course_report`` in any case.
    revision : str, optional
        A commit or branch of the hub, instead of the pinned one.
    like : str
        Take the settings (steps, guidance, size) of this model of the registry; for fine-tuned
        copies in folders of your own.
    config : path, optional
        For a single file: a diffusers folder of the same kind of model, for its configuration.
    offload : str
        "auto", "none", "model" or "sequential": whether parts wait in the main memory.
    fetch_missing : bool
        False never asks the network.
    force : bool
        Load even if the memory will not do by our estimate.

    Returns
    -------
    diffusers.DiffusionPipeline
        Diffusers' own pipeline object, with ``course_report``.

    Raises
    ------
    ModelUnavailable
        If it is not here and cannot be fetched: why, what to do, and what works instead. Another
        model is never taken silently.
    NotEnoughMemory
        If it will not fit.
    ValueError, FileNotFoundError
        For unknown names, damaged or pickled files, and folders that bring code of their own.

    Notes
    -----
    Threads may load at the same time; one waits for the other. A single file does not say what its
    network predicts: v is recognised by the keys ``v_pred`` and ``ztsnr``, and for Stable Diffusion
    2 by the network's answer to noise (`course_lib.pipelines.single_file.predicts_v`).
    """
    if scheduler is not None:
        check_choice("scheduler", scheduler, [*SCHEDULERS, "own"])
    report = planning.report_for(device)
    wanted = {
        "device": device, "dtype": planning.as_dtype(dtype), "offload": offload, "force": force,
    }  # fmt: skip
    if hasattr(name, "components") and hasattr(name, "scheduler"):
        spec, found = own_spec(like), None
    else:
        spec = _spec_of(str(name), like)
        found = _locate(str(name), spec, report, revision, fetch_missing, wanted)
    with LOADING:
        pipe = _prepare(name, found, spec, report, scheduler, config, wanted)
    if verbose:
        print(pipe.course_report)
    return pipe


def _prepare(name, found: Found | None, spec: ModelSpec, report, scheduler, config, wanted):
    """The pipeline, loaded unless it is one already, tuned and with its ``course_report``."""
    if found is None:
        pipe = name
        plan = planning.make_plan(
            replace(spec, dtype=str(pipe_dtype(pipe)).removeprefix("torch.")), report,
            parameters=sum(p.numel() for m in modules(pipe) for p in m.parameters()), **wanted,
        )  # fmt: skip
        pipe.to(dtype=plan.dtype)
    else:
        plan, pipe = _load(found, spec, report, config, wanted)
    spec = complete(spec, pipe, scheduler)
    choices = [*plan.choices, *tune(pipe, plan, spec)]
    choices += [("warning", text) for text in report.warnings]
    place = (str(name), found.source, found.revision) if found else (spec.name, OWN, None)
    pipe.course_report = LoadReport(*place, plan.device, plan.dtype, spec, choices)
    return pipe


def _spec_of(name: str, like: str | None) -> ModelSpec:
    if _is_path(name):
        return replace(own_spec(like), name=name, licence="as its author says")
    spec = spec_for(name)
    if like:
        known = model_spec(like)
        settings = {k: getattr(known, k) for k in ("steps", "guidance", "scheduler", "size")}
        spec = replace(spec, **settings)
    return spec


def _is_path(name: str) -> bool:
    if name in REGISTRY:
        return False
    looks = name.lower().endswith((".safetensors", *PICKLE_ENDINGS)) or name.startswith(
        (".", "/", "~")
    )
    return looks or expanded(name).exists()


def _locate(name, spec, report, revision, fetch_missing, wanted) -> Found:
    """The model's folder or file on this disk, fetched if need be."""
    if spec.shipped:
        folder = verify_shipped(spec)
        # The list of checksums stands for all files: its own is the version of the weights
        return Found(folder, "the course, checksums verified", sha256(folder / "SHA256SUMS"))
    if _is_path(name):
        path = expanded(name)
        if not path.exists():
            raise FileNotFoundError(f"There is no {path}. Check the path; here is {Path.cwd()}.")
        return Found(path, str(path), None)
    with LOADING:  # the hub's cache is read by huggingface_hub, which may be imported here
        found = find(spec, revision)
    if found is None:
        if spec.download_gb:  # refuse before gigabytes are fetched
            planning.make_plan(spec, report, **wanted)
        if not fetch_missing:
            raise FileNotFoundError(
                f"{spec.title} is not on this machine, and fetch_missing=False forbids to fetch "
                f'it. Run  python -m course_lib prefetch {name}  or use load_pipeline("mini").'
            )
        found = fetch(spec, revision=revision)
    return found


def _load(found: Found, spec: ModelSpec, report, config, wanted) -> tuple[Plan, Any]:
    if found.path.is_file():
        if found.path.suffix.lower() != ".safetensors":
            raise ValueError(
                f"{found.path} is refused: only .safetensors files are loaded, because a pickle "
                "(.ckpt, .bin, .pt) can run any code when it is opened. Look for a safetensors "
                "version of the model."
            )
        count = planning.parameters_of([found.path])
        plan = planning.make_plan(spec, report, parameters=count, **wanted)
        with quiet():
            return plan, load_single_file(found.path, plan.dtype, config)
    try:
        check_classes(found.path)
        count = planning.folder_parameters(found.path)
    except NeedsSafetensors as error:
        raise ValueError(
            f"{found.path} is refused: {error}. A pickle can run any code when it is opened; look "
            "for a safetensors version of the model."
        ) from None
    except IncompleteModel as error:
        raise ValueError(f"{found.path} cannot be loaded: {error}. Fetch it again.") from None
    plan = planning.make_plan(spec, report, parameters=count, **wanted)
    return plan, _load_folder(found.path, plan.dtype)


def _load_folder(folder: Path, dtype: torch.dtype):
    """Diffusers' pipeline from a folder, without any file that could run code."""
    from diffusers import DiffusionPipeline

    index = read_index(folder)
    options: dict[str, Any] = {dtype_keyword(): dtype, "use_safetensors": True}
    options["local_files_only"] = True
    if has_half_files(check_folder(folder)):
        options["variant"] = "fp16"
    if "safety_checker" in index:  # needless here, and it doubles the download
        options.update(safety_checker=None, requires_safety_checker=False)
    if "feature_extractor" in index:
        options["feature_extractor"] = None
    with quiet(), explained(folder):
        return DiffusionPipeline.from_pretrained(str(folder), **options)
