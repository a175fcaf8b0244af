"""Memorisation: a U-Net trained on 8, 64 and 512 portraits, and the same probes on the mini.

    python tools/measure_memorisation.py    # writes data/experiments/memorisation.json and samples

One thread, about 12 minutes of processor time. The file is written after every run, and the same
command goes on where it was. In the run "32 copies" one of 512 portraits occurs 32 times.
"""

from __future__ import annotations

import argparse
import io
import json
import warnings
from functools import cache
from pathlib import Path

import torch
from equal_time import (
    BATCH_SIZE,
    DATA,
    EMA,
    LR,
    NETWORK,
    OUTPUT,
    SAMPLER,
    generate,
    portraits,
    write,
)
from torch import Tensor

import course_lib as cl
from course_lib.file_writing import write_atomically
from course_lib.metrics import membership_auc, membership_scores, memorized, nearest_two
from course_lib.mini.data import HELD_OUT_SEED, TRAINING_SEED, load_portraits
from course_lib.mini.models import noise_schedule
from course_lib.mini.tokenizer import token_ids
from course_lib.mini.training.stages import encode_latents
from course_lib.tensors import uint8_to_signed

STEPS, COPIES, SAMPLES = 2000, 32, 128
MOMENTS = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of the steps: when runs are measured
TIMES, TIME, DRAWS = (50, 200, 400, 600, 800), 400, 2  # timesteps of the loss; the one of curves
ASKED = 256  # members and held-out portraits whose losses are compared, at most
RUNS = {"8": (8, 1), "64": (64, 1), "512": (512, 1), "32 copies": (512, COPIES)}
MINI = {"portraits": 512, "asked": 256, "samples": 64, "time": 600}
MINI_LOSS = {"draws": 1, "prediction": "x0"}


@cache
def schedule() -> cl.NoiseSchedule:
    return cl.NoiseSchedule.cosine(1000)


def losses(model, images: Tensor, t: int = TIME) -> Tensor:
    """The loss of each image at a timestep, (N,)."""
    return -membership_scores(model, images, schedule(), t, draws=DRAWS, prediction="x0")


def attack(model, members: Tensor, t: int = TIME) -> float:
    """Area under the curve when members and held-out portraits are told apart by their loss."""
    inside, outside = losses(model, members, t), losses(model, portraits()[1][:ASKED], t)
    return round(membership_auc(-inside, -outside)["value"], 3)


def train_run(count: int, copies: int, steps: int) -> tuple[dict, Tensor]:
    """Curves along one run, the losses at its end, and the last samples."""
    unique = portraits()[0][:count]
    images = torch.cat([unique, unique[:1].expand(copies - 1, -1, -1, -1)])
    torch.manual_seed(0)
    loop = cl.train(
        cl.SmallUNet(**NETWORK), images, schedule(), steps=steps, batch_size=BATCH_SIZE, lr=LR,
        ema_decay=EMA, prediction="x0", mirror=False, seed=0, device="cpu", progress=False,
    )  # fmt: skip
    moments, curves = {round(steps * part) for part in MOMENTS}, {}
    for step in loop:
        if step.step not in moments:
            continue
        model = step.ema.model
        samples = generate(model, SAMPLES, schedule())
        copied = memorized(samples, unique)  # against the set without copies
        first = copied & (nearest_two(samples, unique).index == 0)
        values = {"step": step.step, "memorised": int(copied.sum()), "of_first": int(first.sum())}
        values["auc"] = attack(model, unique[:ASKED])
        values["ratio"] = round(ratios(samples, unique).median().item(), 3)
        for key, value in values.items():
            curves.setdefault(key, []).append(value)
    by_time = {str(t): attack(model, unique[:ASKED], t) for t in TIMES}
    asked = {"members": unique[:ASKED], "others": portraits()[1][:ASKED]}
    last = {part: rounded(losses(model, x_0)) for part, x_0 in asked.items()}
    return {"curves": curves, "auc_by_time": by_time, "losses": last}, samples


def mini_run(portraits: int, asked: int, samples: int, time: int) -> dict:
    """The same probes on the mini: copies among its samples, and losses of its training portraits.

    The prompts are captions of the first training portraits: whoever looks for copies would ask so.
    """
    pipe = cl.load_pipeline("mini", dtype="float32")
    pipe.set_progress_bar_config(disable=True)
    train = load_portraits(portraits, seed=TRAINING_SEED)
    unseen = load_portraits(asked, seed=HELD_OUT_SEED)
    captions = [str(rows[0]) for rows in train.captions[:samples]]
    with warnings.catch_warnings():  # augmented captions may hold words that the mini is unsure of
        warnings.simplefilter("ignore")
        painted = [cl.paint(text, pipe, seed=k)[0] for k, text in enumerate(captions)]
    made = torch.stack([cl.from_pil(picture) for picture in painted])
    empty = pipe.text_encoder(token_ids(pipe.tokenizer, [""]))[0]

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        return pipe.unet(x_t, t, empty.expand(len(x_t), -1, -1)).sample

    found = {}
    for name, pixels in (("members", train.pixels[:asked]), ("others", unseen.pixels)):
        z = encode_latents(pipe.vae, pixels).float()
        found[name] = rounded(-membership_scores(denoiser, z, noise_schedule(), time, **MINI_LOSS))
    known = uint8_to_signed(train.pixels)
    copied = int(memorized(made, known).sum())
    return {"memorised": copied, "ratios": rounded(ratios(made, known)), "losses": found}


# --- the file


def ratios(samples: Tensor, training: Tensor) -> Tensor:
    """d1 / d2 of each sample, (N,)."""
    d1, d2, _ = nearest_two(samples, training)
    return d1 / d2


def rounded(values: Tensor) -> list[float]:
    """Three significant digits."""
    return [float(f"{value:.3g}") for value in values.tolist()]


def save_samples(path: Path, images: Tensor) -> None:
    """The first eight images, side by side, as a lossless WebP file."""
    row = torch.cat(list(images[:8]), dim=2)  # 8 of (3, H, W) -> (3, H, 8 W)
    buffer = io.BytesIO()
    cl.to_pil(row).save(buffer, "WEBP", lossless=True)
    write_atomically(path, buffer.getvalue())


def measure_all(output: Path, steps: int, mini: dict) -> None:
    """Every run that the file lacks."""
    settings = {
        "data": DATA, "network": NETWORK, "batch_size": BATCH_SIZE, "lr": LR, "ema_decay": EMA,
        "sampler": SAMPLER, "steps": steps, "samples": SAMPLES, "time": TIME, "draws": DRAWS,
        "mini": mini,
    }  # fmt: skip
    settings = json.loads(json.dumps(settings))  # as a file gives it
    table = {"settings": settings, "runs": {}}
    if output.exists():
        table = json.loads(output.read_text(encoding="utf-8"))
        if table["settings"] != settings:
            raise SystemExit(
                f"error: {output} was written with other settings. Remove it, or give another "
                "--output."
            )
    for name, (count, copies) in RUNS.items():
        if name not in table["runs"]:
            table["runs"][name], samples = train_run(count, copies, steps)
            print(name, table["runs"][name]["curves"], flush=True)
            if name == "512":
                save_samples(output.with_name(f"{output.stem}_samples_512.webp"), samples)
            write(output, table)
    if "mini" not in table:
        table["mini"] = mini_run(**mini)
        write(output, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT / "memorisation.json")
    parser.add_argument("--steps", type=int, default=STEPS, help="of every run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure_all(options.output, options.steps, MINI)


if __name__ == "__main__":
    main()
