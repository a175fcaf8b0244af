"""A GAN beside a diffusion model: equal time, equal portraits, and what each of them generates.

    python tools/compare_gan.py    # writes data/experiments/gan.json, and samples of seed 0

One thread, about 10 minutes of processor time. The file is written after every run, and the same
command goes on where it was. How equal time is counted: see `equal_time.py`.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from equal_time import (
    BATCH_SIZE,
    EMA,
    NETWORK,
    ONLY,
    SAMPLES,
    denoiser_loop,
    distances,
    features,
    generate,
    held_out_features,
    measure,
    portraits,
    resumed,
    run_command,
    series,
    write,
)
from torch import Tensor

import course_lib as cl
from course_lib import gan
from course_lib.file_writing import write_atomically
from course_lib.metrics import density_coverage, linear_probe

STEPS, COUNTED_SAMPLES = 900, 1000  # steps of the U-Net; samples whose attributes are counted
COUNTED = ("hair_color", "background_color", "expression")  # 4 x 6 x 2 = 48 combinations
GAN = {"lr": 1e-3, "gamma": 1.0, "warmup": 50, "ema_decay": EMA}


def gan_loop(seed: int = 0, steps: int = 1000):
    torch.manual_seed(seed)
    networks = gan.Generator(), gan.Discriminator()
    return gan.train_gan(
        *networks, portraits()[0], steps=steps, batch_size=BATCH_SIZE, seed=seed,
        device="cpu", **GAN,
    )  # fmt: skip


def compare_with_gan(output: Path, seeds: tuple[int, ...]) -> None:
    """A GAN and the baseline, trained for equal times and measured on the way."""
    loops = {"U-Net": lambda: denoiser_loop(cl.SmallUNet(**NETWORK)), "GAN": gan_loop}
    own = {"steps": STEPS, "counted_samples": COUNTED_SAMPLES, "counted": COUNTED, "gan": GAN}
    table = resumed(output, own, loops)
    probes = {name: probe(name) for name in COUNTED}
    table["probe_accuracy"] = {name: accuracy for name, (_, accuracy) in probes.items()}
    table["real"] = {
        part: counted(images, probes)
        for part, images in zip(("train", "held_out"), portraits(), strict=True)
    }
    for seed in seeds:
        for name, run in (("GAN", gan_run), ("U-Net", diffusion_run)):
            runs = table["runs"].setdefault(name, [])
            if any(found["seed"] == seed for found in runs):
                continue
            result, images = run(seed, table["cost"], probes)
            if seed == 0:
                save_samples(output.with_name(f"{output.stem}_samples_{name}.webp"), images)
            runs.append({"seed": seed} | result)
            print(name, runs[-1], flush=True)
            write(output, table)


def gan_run(seed: int, cost: dict[str, float], probes: dict) -> tuple[dict, Tensor]:
    """Losses and distances along one GAN run, the combinations that it generates, and images."""
    steps = round(STEPS / cost["GAN"])
    noise = torch.randn(COUNTED_SAMPLES, gan.Generator().latent, generator=cl.make_generator(0))
    curves: dict[str, list[float]] = {}
    window: list[gan.GANStep] = []
    moments = [round(steps * part / 8) for part in range(1, 9)]
    for step in gan_loop(seed, steps):
        window.append(step)
        if step.step not in moments:
            continue
        with torch.no_grad():
            images = step.ema.model(noise[:SAMPLES])
        values = {"step": step.step, "share": round(step.step / steps, 3)} | distances(images)
        for key in ("discriminator_loss", "generator_loss", "r1", "r2", "accuracy"):
            values[key] = round(sum(getattr(s, key) for s in window) / len(window), 4)
        for key, value in values.items():
            curves.setdefault(key, []).append(value)
        window.clear()
    started = time.process_time()
    with torch.no_grad():
        images = step.ema.model(noise)
    per_image = (time.process_time() - started) / len(noise)
    run = {"steps": steps, "seconds_per_image": per_image, "curves": curves}
    return run | final(images, probes), images


def diffusion_run(seed: int, cost: dict[str, float], probes: dict) -> tuple[dict, Tensor]:
    """The same for the U-Net, whose cost is 1."""
    torch.manual_seed(seed)
    steps, schedule = STEPS, cl.NoiseSchedule.cosine(1000)
    curves: dict[str, list[float]] = {}
    moments = [round(steps * part / 4) for part in range(1, 5)]
    for step in denoiser_loop(cl.SmallUNet(**NETWORK), seed, steps):
        if step.step in moments:
            values = {"step": step.step, "share": round(step.step / steps, 3)}
            for key, value in (values | measure(step.ema.model, schedule)).items():
                curves.setdefault(key, []).append(value)
    started = time.process_time()
    images = generate(step.ema.model, COUNTED_SAMPLES, schedule)
    per_image = (time.process_time() - started) / len(images)
    run = {"steps": steps, "seconds_per_image": per_image, "curves": curves}
    return run | final(images, probes), images


def save_samples(path: Path, images: Tensor) -> None:
    """The first 8 images, side by side, as a lossless WebP file."""
    row = torch.cat(list(images[:8].clamp(-1, 1)), dim=2)  # 8 of (3, H, W) -> (3, H, 8 W)
    buffer = io.BytesIO()
    cl.to_pil(row).save(buffer, "WEBP", lossless=True)
    write_atomically(path, buffer.getvalue())


# --- attributes


def final(images: Tensor, probes: dict) -> dict:
    """Distances, density, coverage, and how often each combination of attributes occurs."""
    real = held_out_features()["classifier"]
    found = features(images[: len(real)])["classifier"]
    density, coverage = density_coverage(real, found)
    spread = {"density": round(density, 3), "coverage": round(coverage, 3)}
    return distances(images) | spread | {"counts": counted(images, probes)}


def probe_inputs(images: Tensor) -> Tensor:
    """Mean colours of 2 x 2 pixels, and of 4 x 4 with their squares: (N, 768 + 192)."""
    images = images.clamp(-1, 1)
    coarse = F.avg_pool2d(images, 4).flatten(1)
    return torch.cat([F.avg_pool2d(images, 2).flatten(1), coarse.square()], dim=1)


def probe(name: str) -> tuple[Callable[[Tensor], Tensor], float]:
    """A linear classifier of an attribute, and its accuracy on held-out portraits."""
    train, unseen = portraits()
    predict = linear_probe(probe_inputs(train), labels(name, "train"))
    right = predict(probe_inputs(unseen)) == labels(name, "held_out")
    return predict, round(right.float().mean().item(), 4)


def counted(images: Tensor, probes: dict) -> dict[str, int]:
    """How many images show each combination of the attributes COUNTED, by the probes."""
    inputs = probe_inputs(images)
    columns = [[ONLY[name][k] for k in probes[name][0](inputs).tolist()] for name in COUNTED]
    return dict(sorted(Counter(map(", ".join, zip(*columns, strict=True))).items()))


def labels(name: str, part: str) -> Tensor:
    """The value of an attribute as an index, for each portrait of a part."""
    found = series(part)
    return torch.tensor(
        [ONLY[name].index(getattr(found.attributes(i), name)) for i in range(len(found))]
    )


if __name__ == "__main__":
    run_command(compare_with_gan, __doc__, "gan.json")
