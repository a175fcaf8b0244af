"""Paint many portraits: one after the other or in several processes.

This module does without torch, so a painting process starts in a fraction of a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from course_lib.portraits.attributes import Attributes, sample_attributes

# Fewer than this for each process, and starting the process costs more than it saves.
_WORTH_A_PROCESS = 32


def draw_person(
    seed: int, index: int, only: Mapping[str, Sequence[str]] | None = None
) -> tuple[Attributes, int, np.random.Generator]:
    """Portrait number `index` of the endless series `seed`; `only` as in `sample_attributes`.

    Returns
    -------
    attributes : Attributes
        What the portrait shows.
    painter_seed : int
        What makes this person unlike others of the same attributes.
    rng : numpy.random.Generator
        Further randomness that belongs to this portrait, for its caption.
    """
    rng = np.random.default_rng([seed, index])
    attributes = sample_attributes(rng, only=only)
    return attributes, int(rng.integers(2**32)), rng


def paint(
    indices: Iterable[int],
    *,
    seed: int,
    size: int,
    only: Mapping[str, Sequence[str]] | None = None,
    variety: float = 1.0,
) -> np.ndarray:
    """Paint some portraits of the series, one after the other.

    Returns
    -------
    numpy.ndarray of uint8, shape (N, size, size, 3)
    """
    from course_lib.portraits.painter import paint_portrait

    pictures = []
    for index in indices:
        attributes, painter_seed, _ = draw_person(seed, index, only)
        pictures.append(paint_portrait(attributes, painter_seed, size, variety))
    return np.stack(pictures) if pictures else np.zeros((0, size, size, 3), np.uint8)


def paint_in_processes(
    indices: Sequence[int],
    *,
    seed: int,
    size: int,
    only: Mapping[str, Sequence[str]] | None = None,
    variety: float = 1.0,
    workers: int = 2,
) -> np.ndarray:
    """Like `paint`, shared among `workers` Python processes; the pixels are the same.

    The processes are plain ``python -m`` commands rather than `multiprocessing` children: so it
    works alike in notebooks, in scripts without a ``__main__`` guard and on every system, and no
    process has to import torch or the caller's script.

    Raises
    ------
    RuntimeError
        If a painting process fails; the message ends with what it wrote to stderr.
    """
    series = {"seed": seed, "size": size, "only": only, "variety": variety}
    workers = min(workers, len(indices) // _WORTH_A_PROCESS)
    if workers < 2:
        return paint(indices, **series)
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    # One thread each: more would make the processes fight for the same cores.
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "course_lib.portraits.batches"]
    parts = np.array_split(np.asarray(indices, dtype=np.int64), workers)
    jobs = [json.dumps({"indices": part.tolist()} | series) for part in parts]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in parts]
    try:
        with ThreadPoolExecutor(workers) as pool:
            results = list(pool.map(_communicate, processes, jobs))
    finally:
        for process in processes:
            process.kill()  # does nothing to one that has ended; ends the rest after Ctrl-C
    return np.concatenate(
        [np.frombuffer(raw, np.uint8).reshape(-1, size, size, 3) for raw in results]
    )


def _communicate(process: subprocess.Popen, job: str) -> bytes:
    raw, errors = process.communicate(job.encode())
    if process.returncode:
        end = errors.decode(errors="replace").strip()[-2000:]
        raise RuntimeError(
            f"A painting process failed with exit status {process.returncode}. Paint without "
            f"processes (workers=0) to see the error in full; its output ends with:\n{end}"
        )
    return raw


def main() -> None:
    """Read one job as JSON from the standard input, write the pixels to the standard output."""
    job = json.load(sys.stdin)
    sys.stdout.buffer.write(paint(job.pop("indices"), **job).tobytes())


if __name__ == "__main__":
    main()
