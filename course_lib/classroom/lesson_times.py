"""How long the lessons take on this machine: measured in a fresh kernel, or estimated."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib.classroom.findings import Finding
from course_lib.classroom.lessons import Lesson, course_lessons, lessons_folder

# Seconds of `benchmark` on the machine whose times stand in the README
_REFERENCE_SECONDS = 0.10
_LONG = 600.0  # seconds that a class does not wait for


def peak_memory(pid: int) -> float | None:
    """The largest resident memory that a process has had so far, in GB; None if unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return int(kilobytes) * 1024 / 1e9 if kilobytes else None


def measure(path: Path, *, timeout: int = 600) -> tuple[float, float | None, int, float]:
    """Run a notebook; return seconds, peak GB, and number and seconds of its slowest cell.

    The file stays as it is. It works in its own folder, as in JupyterLab.

    Raises
    ------
    nbclient.exceptions.CellExecutionError, nbclient.exceptions.CellTimeoutError
        If a cell fails, or takes longer than `timeout` seconds.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    slowest = (0, 0.0)
    started = time.perf_counter()
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            cell_started = time.perf_counter()
            client.execute_cell(cell, index)
            seconds = time.perf_counter() - cell_started
            slowest = max(slowest, (index, seconds), key=lambda item: item[1])
        memory = peak_memory(client.km.provisioner.pid)
    return time.perf_counter() - started, memory, *slowest


def benchmark() -> float:
    """Seconds of one training step of `DiffusionModel` on 8 images of 32 x 32 pixels."""
    import torch

    from course_lib.device import get_device
    from course_lib.diffusion import DiffusionModel

    device = get_device()
    model = DiffusionModel(num_timesteps=10).to(device)
    images = torch.zeros(8, 3, 32, 32, device=device)
    times = []
    for _ in range(10):
        started = time.perf_counter()
        model.train_step(images).backward()
        next(model.parameters()).grad.sum().item()  # waits for a GPU
        times.append(time.perf_counter() - started)
    return min(times)


def estimated_times() -> Finding:
    """All lessons by the README's times and this machine's speed in a short benchmark."""
    factor = benchmark() / _REFERENCE_SECONDS
    lessons = course_lessons()
    longest = max(lessons, key=lambda lesson: lesson.seconds)
    total = sum(lesson.seconds for lesson in lessons) * factor
    found = (
        f"estimate, from a benchmark of 2 s: {factor:.1f} x the README's times; lesson "
        f"{longest.number} {_duration(longest.seconds * factor)}, all {_duration(total)}"
    )
    if longest.seconds * factor > _LONG:
        advice = "Show the long cells' stored outputs, or use a GPU. Measure: --lessons 03 07"
        return Finding("times of lessons", found, "warn", advice)
    return Finding("times of lessons", found, "ok", "To measure: --lessons 00 01, or --all")


def measured_times(lessons: list[Lesson]) -> Iterator[Finding]:
    """Each lesson, run once from beginning to end."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for lesson in lessons:
        print(f"Running lesson {lesson.number} ...", file=sys.stderr, flush=True)
        yield _measured(lesson)


def _measured(lesson: Lesson) -> Finding:
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    what = f"lesson {lesson.number}"
    try:
        seconds, memory, cell, _ = measure(lessons_folder() / lesson.file)
    except CellTimeoutError:
        return Finding(what, "a cell took longer than 10 minutes", "stop", "Use a faster machine.")
    except DeadKernelError:
        return Finding(what, "the kernel died", "stop", "Most often memory: close other programs.")
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        return Finding(what, f"a cell failed: {reason}", "stop", "python -m course_lib doctor")
    found = f"{_duration(seconds)}, measured (README: {lesson.time}); slowest cell {cell}"
    found += f"; {memory:.1f} GB" if memory else ""
    if seconds > _LONG:
        return Finding(what, found, "warn", "Show the stored outputs, or use a GPU.")
    return Finding(what, found)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
