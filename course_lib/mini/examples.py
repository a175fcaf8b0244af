"""Training examples on disk: painted portraits with captions and labels, made by other processes.

Painting takes some 30 ms of one core for each portrait and captions as much again, so many
processes share it while the first stages of training already run. This module does without torch:
a worker starts in a fraction of a second and needs little memory.

Examples come in blocks of `BLOCK` portraits, one ``.npz`` file each. A block depends on its number,
the seed and the distribution alone, so workers need not talk to each other, and a run that was
killed finds the blocks that are complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from course_lib.file_writing import write_atomically
from course_lib.mini.caption_augmentation import augment_caption
from course_lib.mini.config import TrainingData
from course_lib.portraits.attributes import VOCABULARY, visible_attributes
from course_lib.portraits.batches import draw_person
from course_lib.portraits.cache import painter_version
from course_lib.portraits.captions import caption, full_caption, parse_caption
from course_lib.portraits.painter import paint_portrait

BLOCK = 32  # portraits in a file: a second or two of work, 1.5 MiB
# Captions of each portrait. A usual one leaves out a third of what there is to say, and what a
# caption leaves out it does not teach; so half of them are full.
FULL_CAPTIONS, USUAL_CAPTIONS = 2, 2
CAPTIONS = FULL_CAPTIONS + USUAL_CAPTIONS
IGNORE_INDEX = -100  # the label of what cannot be seen; PyTorch's cross-entropy ignores it


@dataclass(frozen=True)
class ExampleSeries:
    """An endless series of examples.

    Attributes
    ----------
    seed : int
        Which people.
    data : TrainingData
        Their distribution.
    """

    seed: int
    data: TrainingData

    def folder(self, cache: Path) -> Path:
        """Where this series' blocks are: another painter or other captions have another folder."""
        series = [asdict(self.data), self.seed, BLOCK, FULL_CAPTIONS, USUAL_CAPTIONS]
        words = json.dumps([series, painter_version(), {k: list(v) for k, v in VOCABULARY.items()}])
        return cache / f"examples-{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def make_examples(series: ExampleSeries, indices: Iterable[int]) -> dict[str, np.ndarray]:
    """Paint and describe some people of a series.

    Returns
    -------
    dict of arrays
        ``pixels`` (n, size, size, 3) uint8; ``captions`` (n, V) strings; ``labels`` (n, A), what
        each portrait shows; ``caption_labels`` (n, V, A), what each caption mentions, as
        `value_rows` and `caption_rows` number it. A is the number of attributes.
    """
    pixels, visible, captions = [], [], []
    for index in indices:
        person, painter_seed, rng = draw_person(series.seed, index, series.data.only)
        pixels.append(paint_portrait(person, painter_seed, series.data.size, series.data.variety))
        visible.append({name: getattr(person, name) for name in visible_attributes(person)})
        captions.append(_captions(person, rng))
    rows = [caption_rows(texts) for texts in captions]
    return {
        "pixels": np.stack(pixels),
        "captions": np.array(captions, dtype=object),
        "labels": value_rows(visible, IGNORE_INDEX),
        "caption_labels": np.stack(rows),
    }


def _captions(person, rng: np.random.Generator) -> list[str]:
    """The full captions, all augmented, then the usual ones, every second one augmented."""
    texts = [augment_caption(full_caption(person), rng) for _ in range(FULL_CAPTIONS)]
    for _ in range(USUAL_CAPTIONS):
        text = caption(person, rng)
        texts.append(augment_caption(text, rng) if rng.random() < 0.5 else text)
    return texts


def value_rows(stated: Sequence[Mapping[str, str]], missing: int = -1) -> np.ndarray:
    """Indices of stated values, (n, A) int16; `missing` where nothing is stated.

    `stated` holds one mapping (attribute -> value) for each portrait; columns are in the order of
    `VOCABULARY`.
    """
    columns = VOCABULARY.items()
    rows = [[values.index(s[k]) if k in s else missing for k, values in columns] for s in stated]
    return np.array(rows, dtype=np.int16).reshape(len(rows), len(VOCABULARY))


def caption_rows(captions: Iterable[str]) -> np.ndarray:
    """What captions mention, (n, A) int16: values' indices, and one index more for nothing."""
    rows = value_rows([parse_caption(text) for text in captions])
    unmentioned = np.array([len(values) for values in VOCABULARY.values()], dtype=np.int16)
    return np.where(rows < 0, unmentioned, rows)


def write_block(path: Path, examples: Mapping[str, np.ndarray]) -> None:
    """Write a block whole or not at all."""
    # Strings as one JSON text: numpy would store them as a pickle
    texts = json.dumps(examples["captions"].tolist()).encode()
    arrays = {k: v for k, v in examples.items() if k != "captions"}

    def save(partial: Path) -> None:
        with open(partial, "wb") as file:  # given a name, np.savez would add an ending
            np.savez(file, captions=np.frombuffer(texts, np.uint8), **arrays)

    write_atomically(path, save)


def read_block(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_block` wrote; raises ValueError if the file is damaged."""
    try:
        with np.load(path) as file:
            arrays = dict(file)
            texts = json.loads(arrays.pop("captions").tobytes())
    except Exception as error:  # zip files break in many ways
        raise ValueError(
            f"{path} is damaged ({error}). Delete it and start again; the other blocks stay."
        ) from error
    return arrays | {"captions": np.array(texts, dtype=object)}


class ExamplePainter:
    """Processes that fill a cache folder with the first `count` examples of a series.

    Parameters
    ----------
    series : ExampleSeries
    count : int
    cache : Path
    workers : int, optional
        Default: one for each core, but one core stays free if there are more than four. With 0,
        another process paints, and this one only waits for the files.

    Raises
    ------
    OSError
        If the disk has too little room.
    """

    def __init__(self, series: ExampleSeries, count: int, cache: Path, workers: int | None = None):
        self.folder = series.folder(Path(cache))
        self.folder.mkdir(parents=True, exist_ok=True)
        blocks = [self._path(block) for block in range(-(-count // BLOCK))]
        missing = [i for i, path in enumerate(blocks) if not path.exists()]
        self._processes: list[subprocess.Popen] = []
        if workers == 0 or not missing:
            return
        needed = len(missing) * BLOCK * 3 * series.data.size**2
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise OSError(
                f"{count:,} portraits need {needed / 2**30:.1f} GiB more in {cache}, which has "
                f"{free / 2**30:.1f} GiB free. Give --cache a larger disk or fewer --portraits."
            )
        cores = os.cpu_count() or 1
        workers = min(workers or (cores - 1 if cores > 4 else cores), len(missing))
        job = {"folder": str(self.folder), "seed": series.seed, "data": asdict(series.data)}
        for worker in range(workers):
            self._processes.append(_start(job | {"blocks": missing[worker::workers]}))

    def _path(self, block: int) -> Path:
        return self.folder / f"{block:05d}.npz"

    def wait(self, count: int) -> list[Path]:
        """Wait for the first `count` examples; return the files that hold them.

        Raises
        ------
        RuntimeError
            If a worker failed; the message carries what it wrote last.
        """
        paths = [self._path(block) for block in range(-(-count // BLOCK))]
        while not all(path.exists() for path in paths):
            for process in self._processes:
                if process.poll():
                    lines = process.stderr.read().decode(errors="replace").strip().splitlines()
                    self.close()
                    raise RuntimeError(f"A painting process failed: {''.join(lines[-1:])}")
            time.sleep(0.1)
        return paths

    def close(self) -> None:
        """End the workers; complete blocks stay."""
        for process in self._processes:
            process.kill()
            process.wait()
            process.stderr.close()
        self._processes = []


def _start(job: dict) -> subprocess.Popen:
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    # One thread each: more would make the processes fight for the same cores
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "course_lib.mini.examples"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, **pipes)
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    return process


def main() -> None:
    """A worker: paint the blocks of the job on the standard input, as long as the parent lives."""
    job = json.load(sys.stdin)
    parent = os.getppid()
    series = ExampleSeries(job["seed"], TrainingData(**job["data"]))
    for block in job["blocks"]:
        if os.getppid() != parent:
            return
        path = Path(job["folder"]) / f"{block:05d}.npz"
        write_block(path, make_examples(series, range(block * BLOCK, (block + 1) * BLOCK)))


if __name__ == "__main__":
    main()
