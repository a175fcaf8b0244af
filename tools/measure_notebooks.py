"""Measure the time and the peak memory of each lesson, for the README and the lessons' own tables.

    python tools/measure_notebooks.py            # all notebooks
    python tools/measure_notebooks.py 01 03      # those whose names begin so

Nothing is written to the notebooks. Let nothing else run meanwhile. Peak memory is that of the
kernel's process, as Linux counts it; elsewhere the column stays empty. Models are not looked up on
the network (HF_HUB_OFFLINE=1), so a lesson that would need it fails here.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from execute_notebooks import NOTEBOOKS, find_notebooks
from nbclient import NotebookClient


def peak_memory(pid: int) -> float | None:
    """The largest resident memory that a process has had so far, in GB; None if unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return int(kilobytes) * 1024 / 1e9 if kilobytes else None


def measure(path: Path, *, timeout: int = 600) -> tuple[float, float | None, int, float]:
    """Run a notebook; return seconds, peak GB, and number and seconds of its slowest cell."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOKS)}},
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prefixes", nargs="*", metavar="NN", help="only notebooks that begin so")
    options = parser.parse_args()
    os.environ.setdefault("COURSE_DEVICE", "cpu")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(f"{'notebook':<28}{'seconds':>9}{'peak GB':>9}   slowest cell")
    total = 0.0
    for path in find_notebooks(options.prefixes):
        seconds, memory, cell, cell_seconds = measure(path)
        total += seconds
        memory_text = f"{memory:.2f}" if memory is not None else "-"
        print(
            f"{path.name:<28}{seconds:>9.1f}{memory_text:>9}   cell {cell}, {cell_seconds:.1f} s",
            flush=True,
        )
    print(f"{'all':<28}{total:>9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
