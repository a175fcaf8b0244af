"""What fits this machine: number format, offloading and memory savers, each with its reason.

Memory is estimated from the number of parameters and the picture's size before anything large is
fetched or loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import torch

from course_lib.device import DeviceReport, device_report, get_device, pick_dtype
from course_lib.errors import check_choice
from course_lib.memory import system_memory
from course_lib.pipelines.files import check_folder, read_header
from course_lib.pipelines.registry import REGISTRY, ModelSpec

GIB = 2**30
OFFLOADS = ("auto", "none", "model", "sequential")
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The system and the notebook itself need some of the main memory, a driver some of the GPU's.
_USABLE = {"cpu": 0.85, "mps": 0.7}
_USABLE_GPU = 0.92


class NotEnoughMemory(ValueError):
    """A model that would not fit; the message says what does."""


@dataclass(frozen=True)
class Plan:
    """How to load a model here. `choices` are pairs of what was chosen and why."""

    device: torch.device
    dtype: torch.dtype
    offload: str = "none"
    slicing: bool = False
    tiling: bool = False
    need_gb: float = 0.0
    choices: list[tuple[str, str]] = field(default_factory=list)


def report_for(device: torch.device | str | None) -> DeviceReport:
    """The device report, of the device that the course chooses or of another one."""
    if device is None or torch.device(device) == get_device():
        return device_report()
    device = torch.device(device)
    if device.type in ("cuda", "xpu"):
        properties = getattr(torch, device.type).get_device_properties(device)
        name, memory = properties.name, properties.total_memory
    else:
        name, memory = str(device), system_memory()
    gigabytes = round(memory / GIB, 1)
    return DeviceReport(device.type, name, gigabytes, pick_dtype(device), "as you asked")


def as_dtype(given: torch.dtype | str | None) -> torch.dtype | None:
    """A torch dtype from itself or from its name."""
    if given is None or isinstance(given, torch.dtype):
        return given
    return _DTYPES[check_choice("dtype", str(given).removeprefix("torch."), _DTYPES)]


def parameters_of(paths: Sequence[Path]) -> int:
    """How many numbers safetensors files hold, read from their headers.

    Raises
    ------
    ValueError
        If a file is no safetensors file: a pickle under that name, or cut short.
    """
    shapes = (entry["shape"] for path in paths for entry in read_header(path).values())
    return sum(map(prod, shapes))


def folder_parameters(folder: Path) -> int:
    """How many numbers the pipeline in a diffusers folder loads."""
    names = check_folder(folder)
    return parameters_of([folder / name for name in names if name.endswith(".safetensors")])


def memory_needed(parameters: int, dtype: torch.dtype, size: int) -> float:
    """GiB for the weights, and for painting one picture of `size` pixels with guidance.

    The second part grows with the pixels: about 1 GiB at 512 pixels in 16 bit, twice that in 32.
    """
    painting = 0.15 + 0.45 * dtype.itemsize * (size / 512) ** 2
    return parameters * dtype.itemsize / GIB + painting


def make_plan(
    spec: ModelSpec,
    report: DeviceReport,
    *,
    parameters: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    offload: str = "auto",
    force: bool = False,
) -> Plan:
    """Choose how to load a model, or refuse with advice.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    report : DeviceReport
        The machine.
    parameters : int, optional
        Numbers in the weights, where they are known; default: from the size of the download.
    device, dtype, offload
        What the caller asked for; None or "auto" lets the course choose.
    force : bool
        Load even if the estimate says that it will not fit.

    Raises
    ------
    NotEnoughMemory
        If neither the device nor offloading will do.
    """
    check_choice("offload", offload, OFFLOADS)
    device = torch.device(device) if device is not None else _device(report)
    chosen, why = _choose_dtype(spec, report, dtype)
    if parameters is None:
        parameters = int(spec.download_gb * 1e9 / 2)
    size = spec.size or 512
    need = memory_needed(parameters, chosen, size)
    have = report.memory_gb * _USABLE.get(report.kind, _USABLE_GPU)
    choices = [(f"device {device}", f"{report.name}"), (f"{_name(chosen)} numbers", why)]
    if have and need > have and offload == "auto":
        offload = "model" if _can_offload(report, parameters, chosen, have) else "refuse"
    if offload == "refuse":
        if not force:
            raise NotEnoughMemory(_refusal(spec, report, need, have))
        choices.append(("loading in spite of the memory", "force=True"))
    if offload in ("model", "sequential"):
        if report.kind not in ("cuda", "xpu"):
            raise ValueError(f"offload={offload!r} needs a GPU; on {report.kind} leave it out.")
        choices.append(
            (f"{offload} offload", f"all at once would take {need:.1f} of {have:.1f} GB: parts go "
             "to the GPU when they are needed")
        )  # fmt: skip
    offload = offload if offload in ("model", "sequential") else "none"
    tight = bool(have) and need > 0.7 * have
    if tight:
        choices.append(("VAE slicing", "memory is tight: pictures are decoded one by one"))
    tiling = tight and size > 512
    if tiling:
        choices.append(("VAE tiling", "memory is tight: large pictures are decoded in tiles"))
    return Plan(device, chosen, offload, tight, tiling, need, choices)


def _device(report: DeviceReport) -> torch.device:
    device = get_device()
    return device if device.type == report.kind else torch.device(report.kind)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _choose_dtype(
    spec: ModelSpec, report: DeviceReport, given: torch.dtype | None
) -> tuple[torch.dtype, str]:
    if given is not None:
        return given, "as you asked"
    if spec.dtype == "float32":
        return torch.float32, "so small a model is fast in full precision, on every machine alike"
    if report.kind == "cpu":
        if report.dtype == torch.float32:
            return torch.float32, "this processor does not compute in 16 bit"
        return report.dtype, "this processor computes it natively, in half the memory"
    if spec.dtype == "float16" and report.kind in ("cuda", "mps"):
        return torch.float16, "the weights are published in it; half the memory"
    return report.dtype, "the device's 16-bit format; half the memory"


def _can_offload(report: DeviceReport, parameters: int, dtype: torch.dtype, have: float) -> bool:
    """Whether the largest part fits the GPU, and all of it the main memory."""
    if report.kind not in ("cuda", "xpu"):
        return False
    largest = 0.8 * parameters * dtype.itemsize / GIB  # the U-Net's or transformer's share
    main = system_memory() / GIB or float("inf")
    return largest + 0.6 < have and parameters * dtype.itemsize / GIB < 0.85 * main


def _refusal(spec: ModelSpec, report: DeviceReport, need: float, have: float) -> str:
    where = "main memory" if report.kind in ("cpu", "mps") else "memory of the GPU"
    fitting = [s.name for s in REGISTRY.values() if _fits(s, report, have) and s.name != spec.name]
    lines = [
        f"{spec.title} needs about {need:.1f} GB, but of the {report.memory_gb:.1f} GB {where} "
        f"about {have:.1f} GB can be used. What to do:",
        f"  - load a model that fits: {', '.join(fitting)}" if fitting else "",
        "  - run the notebook where there is a larger GPU (Colab and Kaggle lend some)",
        '  - offload="sequential" fits into 3 GB of a GPU, but is very slow'
        if report.kind in ("cuda", "xpu") else
        '  - dtype="bfloat16" takes half the memory, but is slow on this processor'
        if report.kind == "cpu" and report.dtype == torch.float32 else "",
        "  - force=True tries all the same",
    ]  # fmt: skip
    return "\n".join(line for line in lines if line)


def _fits(spec: ModelSpec, report: DeviceReport, have: float) -> bool:
    dtype, _ = _choose_dtype(spec, report, None)
    return memory_needed(int(spec.download_gb * 1e9 / 2), dtype, spec.size) <= have
