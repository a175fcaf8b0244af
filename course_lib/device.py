"""Which processor to compute on, in which number format, and what to expect of it.

The order of preference is cuda, mps, xpu, cpu. The environment variable ``COURSE_DEVICE`` overrides
it: ``COURSE_DEVICE=cpu`` keeps a notebook off the GPU, ``COURSE_DEVICE=cuda:1`` takes the second.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import check_choice, check_whole
from course_lib.memory import cpuinfo, system_memory
from course_lib.tables import rows_as_html, rows_as_text

DEVICE_KINDS = ("cuda", "mps", "xpu", "cpu")
GIB = 2**30


def get_device() -> torch.device:
    """Return the best device present, or the one that ``COURSE_DEVICE`` names.

    Raises
    ------
    ValueError
        If ``COURSE_DEVICE`` is not one of cuda, mps, xpu, cpu (an index as in ``cuda:1`` is
        allowed), or names a device that this machine or this PyTorch does not have.
    """
    wanted = os.environ.get("COURSE_DEVICE", "").strip().lower()
    if not wanted:
        return torch.device(next(kind for kind in DEVICE_KINDS if _count(kind) > 0))
    kind, _, index = wanted.partition(":")
    check_choice("COURSE_DEVICE", kind, DEVICE_KINDS)
    if index and not index.isdigit():
        raise ValueError(
            f"COURSE_DEVICE={wanted!r}: after the colon stands a number, as in cuda:0."
        )
    if int(index or 0) >= _count(kind):
        present = ", ".join(f"{k} ({_count(k)})" for k in DEVICE_KINDS if _count(k))
        raise ValueError(
            f"COURSE_DEVICE={wanted!r}, but PyTorch sees no such device. It sees: {present}. "
            "Unset COURSE_DEVICE to let the course choose, or install a PyTorch build for it."
        )
    return torch.device(wanted)


def _count(kind: str) -> int:
    """How many devices of this kind PyTorch can use."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    if kind == "xpu":
        return torch.xpu.device_count() if torch.xpu.is_available() else 0
    return 1


def make_generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a seeded source of random numbers.

    The default draws on the CPU, whatever device computes, because the same seed then gives the
    same noise, and so the same picture, on every machine.
    """
    return torch.Generator(device=device).manual_seed(check_seed(seed))


def check_seed(seed: int) -> int:
    """Return `seed` as a Python int, or say what a seed is."""
    return check_whole("seed", seed, low=0, high=2**63 - 1, limits="from 0 to 2**63 - 1")


def hosted_platform() -> str | None:
    """Return "kaggle", "colab" or "binder" if the code runs there, else None."""
    marks = {  # Kaggle first: its image carries some of Colab's modules
        "kaggle": ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE"),
        "colab": ("COLAB_RELEASE_TAG", "COLAB_GPU", "COLAB_BACKEND_VERSION"),
        "binder": ("BINDER_SERVICE_HOST", "BINDER_LAUNCH_HOST", "BINDER_REPO_URL"),
    }
    for name, variables in marks.items():
        if any(variable in os.environ for variable in variables):
            return name
    return "colab" if "google.colab" in sys.modules else None


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return the fastest number format that the device computes natively.

    bfloat16 where the processor has it (CUDA compute capability 8, AVX512-BF16 or AMX on a CPU);
    float16 on older CUDA and on MPS; float32 otherwise, since emulated formats are slower. Use it
    for sampling and for autocast; training in float16 needs a gradient scaler besides.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if native else torch.float16
    if device.type == "mps":
        return torch.float16
    if device.type == "xpu":
        return torch.bfloat16
    native = {"avx512_bf16", "amx_bf16"} & cpu_features()
    return torch.bfloat16 if native else torch.float32


@lru_cache(maxsize=1)
def cpu_features() -> frozenset[str]:
    """Names of the processor's instruction sets, as far as they can be known."""
    if hasattr(torch.cpu, "get_capabilities"):  # PyTorch 2.11 and later, on every system
        features = torch.cpu.get_capabilities()
        return frozenset(name for name, value in features.items() if value is True)
    return frozenset(cpuinfo("flags").split())


def _compute(probe: Callable[..., Tensor], inputs: list[Tensor], device: torch.device) -> Tensor:
    return probe(*(x.to(device) for x in inputs))


@torch.enable_grad()  # a notebook may have switched gradients off
def _convolution_gradient(x: Tensor, w: Tensor) -> Tensor:
    w = w.clone().requires_grad_()
    F.conv2d(x, w, padding=1).square().mean().backward()
    return w.grad


_PROBES: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "a convolution": (lambda x, w: F.conv2d(x, w, padding=1), [(2, 8, 12, 12), (16, 8, 3, 3)]),
    "a convolution's gradient": (_convolution_gradient, [(2, 8, 12, 12), (16, 8, 3, 3)]),
    "attention": (F.scaled_dot_product_attention, [(2, 2, 33, 16)] * 3),
}


def self_test(
    device: torch.device | str | None = None, *, compute: Callable[..., Tensor] = _compute
) -> list[str]:
    """Compare small computations on `device` with the same in float64 on the CPU.

    Parameters
    ----------
    device : torch.device or str, optional
        Default: :func:`get_device`.
    compute : callable
        ``compute(probe, inputs, device)``; replaceable, so that a test can play a faulty backend.

    Returns
    -------
    list of str
        One warning for each operation that fails or differs by more than 1 percent of the largest
        value; empty if all is well. TF32, the coarsest format float32 work is done in, keeps
        10 bits and so stays near 0.1 percent.
    """
    device = torch.device(device) if device is not None else get_device()
    warnings = []
    for name, (probe, shapes) in _PROBES.items():
        generator = make_generator(0)
        inputs = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
        truth = probe(*inputs)
        try:
            given = compute(probe, [x.float() for x in inputs], device).detach().cpu().double()
            error = ((given - truth).abs().max() / truth.abs().max()).item()
        except Exception as problem:  # a backend may raise anything; the report must still come
            warnings.append(f"{device} cannot run {name}: {problem}. Set COURSE_DEVICE=cpu.")
            continue
        if not error <= 0.01:  # written so that NaN counts as wrong
            warnings.append(
                f"{device} computes {name} wrongly (relative error {error:.1%}). "
                "Update PyTorch, or set COURSE_DEVICE=cpu."
            )
    return warnings


@dataclass(frozen=True)
class DeviceReport:
    """What computes here. `memory_gb` is in GiB (0 if unknown); `dtype` is for sampling."""

    kind: str
    name: str
    memory_gb: float
    dtype: torch.dtype
    advice: str
    warnings: list[str] = field(default_factory=list)
    platform: str | None = None

    def _rows(self) -> list[tuple[str, str]]:
        memory = f"{self.memory_gb:.1f} GB" if self.memory_gb else "unknown"
        rows = [
            ("Device", f"{self.kind} ({self.name})"),
            ("Memory", memory),
            ("Number format", str(self.dtype).removeprefix("torch.")),
        ]
        if self.platform:
            rows.append(("Hosted on", self.platform.capitalize()))
        return [*rows, ("Advice", self.advice), *(("Warning", w) for w in self.warnings)]

    def __str__(self) -> str:
        return rows_as_text(self._rows(), 15)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return rows_as_html(self._rows())


def device_report() -> DeviceReport:
    """Describe the device that :func:`get_device` chooses, test it and give advice."""
    device = get_device()
    name, memory = _name_and_memory(device)
    memory_gb = round(memory / GIB, 1)
    warnings = self_test(device)
    if device.type == "cpu" and torch.version.cuda is None and shutil.which("nvidia-smi"):
        warnings.append(
            "There is an NVIDIA GPU, but this PyTorch was built without CUDA. The course runs on "
            "the CPU; see pytorch.org for a build that uses the GPU."
        )
    return DeviceReport(
        device.type, name, memory_gb, pick_dtype(device), _advice(device.type, memory_gb),
        warnings, hosted_platform(),
    )  # fmt: skip


def _name_and_memory(device: torch.device) -> tuple[str, int]:
    if device.type in ("cuda", "xpu"):
        properties = getattr(torch, device.type).get_device_properties(device)
        return properties.name, properties.total_memory
    if device.type == "mps":  # unified memory: the GPU works in the machine's own
        return f"Apple {platform.machine()}", system_memory()
    # The machine type, not the processor's brand: reports are committed with the lessons
    return f"{platform.machine()}, {torch.get_num_threads()} threads", system_memory()


def _advice(kind: str, memory_gb: float) -> str:
    """Plain words for the memory tier: 2 GB is Binder, 4 GB runs SD 1.5, 8 GB SDXL."""
    if kind == "cpu":
        if 0 < memory_gb < 3:
            return "Little memory: keep one notebook open at a time and shut down its kernel after."
        if 0 < memory_gb < 8:
            return "Enough for every lesson here. Keep the batch sizes that the lessons use."
        return "Enough for every lesson here. Longer training runs take patience, or a GPU."
    if 0 < memory_gb < 4:
        return (
            "A small accelerator: the lessons run faster than on the CPU; keep the batches small."
        )
    if 0 < memory_gb < 8:
        return "The lessons run fast. Stable Diffusion 1.5 fits at 512 pixels; SDXL does not."
    return "The lessons run fast, with larger images and batches than shown. SDXL fits too."
