"""Measure two watermarks, in the pixels and in the initial noise (lesson 09).

    OMP_NUM_THREADS=1 python tools/measure_watermarks.py

writes data/experiments/watermarks.json: scores of marked and unmarked portraits of the mini after
what happens to pictures, what a message costs, and what Tree-Ring costs. It takes about four
minutes of one CPU core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import course_lib as cl  # noqa: E402
from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.metrics import psnr, ssim  # noqa: E402
from course_lib.mini.evaluation.stability import Descriptions, measure  # noqa: E402
from course_lib.provenance import (  # noqa: E402
    add_watermark,
    detect_tree_ring,
    read_watermark,
    tree_ring_noise,
)
from course_lib.provenance.changes import CHANGES, jpeg, repainted  # noqa: E402

KEY = 1234
SEED = 9000  # of the first portrait's noise
STRENGTHS = (0.2, 0.4, 0.6)  # of image to image
RINGS = ((16, 7), (64, 7))  # channels and radius
BITS, MARK_STRENGTHS = (0, 4, 8, 16, 32), (0.0075, 0.015, 0.03)


def portraits(pipe, prompts: list[str], noise: Tensor) -> Tensor:
    """Portraits (N, 3, 128, 128) in 8 bits, as a file keeps them, in [-1, 1]."""
    parts = []
    for k in range(0, len(prompts), 24):
        *_, last = cl.paint_steps(pipe, prompts[k : k + 24], noise=noise[k : k + 24])
        parts.append(cl.decode_latents(pipe, last.latents_next))
    return in_8_bits(torch.cat(parts))


def in_8_bits(images: Tensor) -> Tensor:
    return cl.tensors.uint8_to_signed(as_bytes(images))


def as_bytes(images: Tensor) -> Tensor:
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def plain_noise(count: int) -> Tensor:
    return torch.cat([torch.randn(1, 64, 16, 16, generator=cl.make_generator(SEED + k))
                      for k in range(count)])  # fmt: skip


def scores_after(
    pipe, sets: dict[str, Tensor], prompts: list[str], log: Callable[[str], None]
) -> list[dict]:
    """A row for each change: scores of "unmarked", "pixel" and "ring" by both detectors."""

    def again(strength: float) -> Callable[[Tensor, str], Tensor]:
        return lambda image, prompt: repainted(image, prompt, strength=strength, model=pipe)

    changes = {name: lambda image, _, change=change: change(image)
               for name, change in CHANGES.items()}  # fmt: skip
    changes |= {f"image to image, strength {s:g}": again(s) for s in STRENGTHS}
    rows = []
    for name, change in changes.items():
        changed = {key: [in_8_bits(change(image, prompt))
                         for image, prompt in zip(images, prompts, strict=True)]
                   for key, images in sets.items()}  # fmt: skip
        row = {"change": name}
        for detector, score in (("pixel", pixel_score), ("ring", ring_score)):
            row[detector] = {
                "marked": [score(image, pipe) for image in changed[detector]],
                "unmarked": [score(image, pipe) for image in changed["unmarked"]],
            }
        rows.append(row)
        log(name)
    return rows


def pixel_score(image: Tensor, pipe) -> float:
    return read_watermark(image, KEY).score


def ring_score(image: Tensor, pipe) -> float:
    return detect_tree_ring(cl.to_pil(image), KEY, model=pipe).score


def capacity(images: Tensor) -> list[dict]:
    """Bits against visibility: read from the file as it is, and after JPEG of quality 80."""
    rows = []
    for strength in MARK_STRENGTHS:
        for bits in BITS:
            found = {"none": [], "JPEG": []}
            wrong = {"none": 0, "JPEG": 0}
            marks = []
            for k, image in enumerate(images):
                message = torch.rand(bits, generator=cl.make_generator(k)) < 0.5
                marked = in_8_bits(add_watermark(image, KEY, bits=message, strength=strength))
                marks.append(marked)
                for name, seen in (("none", marked), ("JPEG", jpeg(marked, 80))):
                    reading = read_watermark(seen, KEY, num_bits=bits)
                    found[name].append(reading.found())
                    wrong[name] += sum(a != b for a, b in zip(reading.bits, message.tolist(),
                                                              strict=True))  # fmt: skip
            marked = torch.stack(marks)
            rows.append({
                "bits": bits, "strength": strength, "PSNR": float(psnr(marked, images)),
                "SSIM": float(ssim(marked, images)),
                "found": {name: sum(one) / len(images) for name, one in found.items()},
                "wrong bits": {name: n / max(bits * len(images), 1) for name, n in wrong.items()},
            })  # fmt: skip
    return rows


def ring_costs(pipe, descriptions: Descriptions, each: int, log: Callable[[str], None]) -> dict:
    """Adherence, diversity and distance of portraits without rings and with more and more."""
    count = len(descriptions.prompts) * each
    prompts = [prompt for prompt in descriptions.prompts for _ in range(each)]
    noises = {"none": plain_noise(count)} | {
        f"{channels} channels": tree_ring_noise(
            (count, 64, 16, 16), KEY, seed=SEED, channels=channels, radius=radius
        )
        for channels, radius in RINGS
    }
    found = {}
    for name, noise in noises.items():
        images = as_bytes(portraits(pipe, prompts, noise)).unflatten(0, (-1, each))
        found[name] = measure(descriptions, descriptions.features(images))
        log(f"rings: {name}")
    return found


def rounded(table):
    """Four digits after the point, two for lists of scores."""
    if isinstance(table, dict):
        return {name: rounded(value) for name, value in table.items()}
    if isinstance(table, list):
        return [round(x, 2) if isinstance(x, float) else rounded(x) for x in table]
    return round(table, 4) if isinstance(table, float) else table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "data" / "experiments" / "watermarks.json"
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    parser.add_argument("--prompts", type=int, default=12, help="how many prompts (12)")
    parser.add_argument("--each", type=int, default=2, help="portraits of each prompt (2)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()

    def log(what: str) -> None:
        print(f"{time.perf_counter() - start:5.0f} s  {what}", file=sys.stderr, flush=True)

    warnings.simplefilter("ignore", UserWarning)  # a crop is resized to what the model paints
    several = 2 * options.each  # for the costs, whose intervals are wider
    descriptions = Descriptions(options.prompts, several)
    pipe = cl.load_pipeline("mini", verbose=False)
    prompts = [prompt for prompt in descriptions.prompts for _ in range(options.each)]
    shape = (len(prompts), 64, 16, 16)
    unmarked = portraits(pipe, prompts, plain_noise(len(prompts)))
    sets = {
        "unmarked": unmarked,
        "pixel": in_8_bits(torch.stack([add_watermark(image, KEY) for image in unmarked])),
        "ring": portraits(pipe, prompts, tree_ring_noise(shape, KEY, seed=SEED)),
    }
    table = {
        "texts": descriptions.prompts, "each": options.each, "key": KEY, "seed": SEED,
        "rows": scores_after(pipe, sets, prompts, log),
        "capacity": capacity(unmarked[:: options.each]),
        "ring costs": ring_costs(pipe, descriptions, several, log),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, (json.dumps(rounded(table)) + "\n").encode())
    log(f"{options.out.name}: {len(table['rows'])} changes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
