"""Equal-time runs at 32 x 32 pixels: the portraits, the recipe, the costs and the measurements.

`compare_architectures.py` and `compare_gan.py` share it. Equal time is counted in steps of a
baseline. A step of each network is timed in turn with one of the baseline, several times, and the
smallest times give its cost. A network of cost 2 then takes half as many steps. So what else the
machine does in the meantime changes no result.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import course_lib as cl
from course_lib.file_writing import write_atomically
from course_lib.metrics import kid, random_features
from course_lib.mini.attribute_classifier import AttributeClassifier

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "data" / "experiments"
ONLY = {
    "age": ["adult"], "hair_style": ["short", "bob", "long", "curly", "afro", "bun"],
    "hair_color": ["black", "blond", "red", "white"], "eyewear": ["none"], "headwear": ["none"],
    "expression": ["smiling", "surprised"], "clothing": ["t-shirt"], "background": ["plain"],
    "background_color": ["white", "red", "yellow", "green", "blue", "purple"],
    "framing": ["close-up"], "pose": ["frontal"], "light": ["front"],
    "style": ["flat illustration"], "quality": ["good"],
}  # fmt: skip
DATA = {"size": 32, "only": ONLY, "variety": 0.3, "train": 1024, "held_out": 512}
BATCH_SIZE, SAMPLES = 16, 256  # portraits in a step; samples for a kernel distance
SAMPLER = {"method": "dpmpp_2m", "steps": 12}
NETWORK = {"channels": (48, 96), "patch": 4}
LR = 2e-3
EMA = 0.999
FEATURE_SCALE = 5.0  # root mean square of the features of real portraits, so that KID is near 1


def series(part: str) -> cl.PortraitDataset:
    """The portraits of a part, "train" or "held_out"; the people differ."""
    seed = {"train": 1, "held_out": 2}[part]
    look = {"size": DATA["size"], "only": DATA["only"], "variety": DATA["variety"]}
    return cl.PortraitDataset(DATA[part], seed=seed, **look)


@cache
def portraits() -> tuple[Tensor, Tensor]:
    """Training and held-out portraits, (N, 3, 32, 32) in [-1, 1]."""
    return series("train").images(), series("held_out").images()


# --- measuring


@torch.no_grad()
def features(images: Tensor) -> dict[str, Tensor]:
    """(N, 3, 32, 32) in [-1, 1] -> features in which the kernel distance is taken, (N, F) each."""
    large = F.interpolate(images.clamp(-1, 1), scale_factor=4)  # the classifier reads 128 x 128
    pixels = (images.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    found = torch.cat([classifier().features(part) for part in large.split(64)])
    return {"classifier": found / FEATURE_SCALE, "random": random_features(pixels)}


@cache
def classifier() -> AttributeClassifier:
    return AttributeClassifier.load(ROOT / "data" / "models" / "mini")


@cache
def held_out_features() -> dict[str, Tensor]:
    return features(portraits()[1])


def distances(images: Tensor) -> dict[str, float]:
    """1000 KID of images and the held-out portraits, for each kind of features."""
    return {
        f"kid_{name}": round(1000 * kid(found, held_out_features()[name]), 4)
        for name, found in features(images).items()
    }


@torch.no_grad()
def held_out_error(model: nn.Module, schedule: cl.NoiseSchedule) -> float:
    """Mean squared error of x_0, at the noise levels of the cosine schedule whatever `schedule` is.

    Each held-out portrait has its own level, and the same noise for every model.
    """
    x_0, reference = portraits()[1], cl.NoiseSchedule.cosine(1000)
    generator = cl.make_generator(0)
    t = torch.randperm(len(x_0), generator=generator) * 1000 // len(x_0)
    noise = torch.randn(x_0.shape, generator=generator)
    # The timestep of `schedule` whose signal-to-noise ratio comes nearest
    t = (schedule.snr.log()[None] - reference.snr.log()[t, None]).abs().argmin(dim=1)
    x_t = cl.q_sample(x_0, t, schedule, noise)
    rows = [model(a, b) for a, b in zip(x_t.split(64), t.split(64), strict=True)]
    return F.mse_loss(torch.cat(rows), x_0).item()


def generate(model: nn.Module, count: int, schedule: cl.NoiseSchedule) -> Tensor:
    """`count` samples, from the same noise for every model."""
    noise = torch.randn(count, *portraits()[0].shape[1:], generator=cl.make_generator(0))
    parts = []
    for part in noise.split(64):
        steps = cl.sample(model, part, schedule, prediction="x0", clip=1.0, **SAMPLER)
        (last,) = deque(steps, maxlen=1)
        parts.append(last.x_prev.clamp(-1, 1))
    return torch.cat(parts)


def measure(model: nn.Module, schedule: cl.NoiseSchedule) -> dict[str, float]:
    """Held-out error and kernel distances of a denoiser."""
    error = {"held_out": round(held_out_error(model.eval(), schedule), 5)}
    return error | distances(generate(model, SAMPLES, schedule))


# --- equal time


def denoiser_loop(network: nn.Module, seed: int = 0, steps: int = 1000, **options):
    """The training loop of a denoiser, with the recipe of every run."""
    schedule = getattr(cl.NoiseSchedule, options.pop("schedule", "cosine"))(1000)
    return cl.train(
        network, portraits()[0], schedule, steps=steps, batch_size=BATCH_SIZE,
        ema_decay=EMA, seed=seed, device="cpu", progress=False,
        **{"lr": LR, "prediction": "x0"} | options,
    )  # fmt: skip


def relative_costs(
    loops: dict[str, Callable[[], Iterator]], rounds: int = 10, steps: int = 3
) -> dict[str, float]:
    """Smallest processor time of a step of each training loop, as a multiple of the first one's."""
    running = {name: loop() for name, loop in loops.items()}
    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, loop in running.items():
            next(loop)
            started = time.process_time()
            for _ in range(steps):
                next(loop)
            times[name].append((time.process_time() - started) / steps)
    best = {name: min(found) for name, found in times.items()}
    first = next(iter(best.values()))
    print({name: f"{1000 * seconds:.0f} ms" for name, seconds in best.items()}, flush=True)
    return {name: round(seconds / first, 3) for name, seconds in best.items()}


# --- the file


def resumed(output: Path, own: dict, loops: dict[str, Callable[[], Iterator]]) -> dict:
    """What an earlier call of the command wrote, or a new table with the costs of a step.

    Raises
    ------
    ValueError
        If it was written with other settings.
    """
    settings = {"data": DATA, "batch_size": BATCH_SIZE, "samples": SAMPLES, "sampler": SAMPLER}
    settings |= {"network": NETWORK, "lr": LR, "ema_decay": EMA, "feature_scale": FEATURE_SCALE}
    settings = json.loads(json.dumps(settings | own))  # as a file gives it
    if output.exists():
        table = json.loads(output.read_text(encoding="utf-8"))
        if table["settings"] != settings:
            raise ValueError(
                f"{output} was written with other settings. Remove it, or give another --output."
            )
        return table
    floor = distances(portraits()[0][:SAMPLES])
    return {"settings": settings, "floor": floor, "cost": relative_costs(loops), "runs": {}}


def write(output: Path, table: dict) -> None:
    write_atomically(output, (json.dumps(table, separators=(",", ":")) + "\n").encode())


def run_command(
    compare: Callable[[Path, tuple[int, ...]], None], description: str, name: str
) -> None:
    """The command line of both tools."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT / name, help="a JSON file")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds, from 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        compare(options.output, tuple(range(options.seeds)))
    except (ValueError, OSError) as error:  # their messages say what to do
        raise SystemExit(f"error: {error}") from None
