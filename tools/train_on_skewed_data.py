"""What a small U-Net paints after training on data in which one hair colour is rare (lesson 09).

    OMP_NUM_THREADS=1 python tools/train_on_skewed_data.py

writes data/experiments/skewed_data.json. Some ten minutes of one CPU core; the file is written
after every run, and the same command goes on where it was.

Two worlds of portraits at 32 x 32 pixels, three training seeds each. *Rare*: nine of ten people
have black hair, the others are blond. *Linked*: all in all half are blond, but nine of ten in suits
have black hair, and one of ten in t-shirts; the clothes are the class that the U-Net is told.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from functools import cache
from pathlib import Path

import torch
from equal_time import BATCH_SIZE, EMA, LR, ONLY, OUTPUT, SAMPLER, write
from torch import Tensor

import course_lib as cl
from course_lib.losses import held_out_loss
from course_lib.metrics import linear_probe
from course_lib.mini.evaluation.bias import sampling_weights

HAIR, CLOTHES = ("black", "blond"), ("suit", "t-shirt")
LOOK = ONLY | {
    "hair_color": HAIR, "clothing": CLOTHES, "framing": ["bust"],
    "background_color": ["white", "blue", "green"], "clothing_color": ["red"],
}  # fmt: skip
COMMON, RARE = 922, 102  # of 1024: 90 and 10 %
READ = 512  # portraits of each hair colour that the reader learns from, and as many to check it
NETWORK = {"channels": (32, 64), "patch": 4}
GUIDANCES = (1.0, 2.0, 4.0)
RARE_WAYS = {"as it is": None, "balanced sampling": "weights", "balanced data": "data"}
LINKED_WAYS = {"as it is": None, "balanced sampling": "weights"}


@cache
def people(hair: str, clothes: str | None, count: int, seed: int) -> Tensor:
    """Portraits with one hair colour, and one kind of clothes unless it is None, (N, 3, 32, 32)."""
    only = LOOK | {"hair_color": [hair]} | ({} if clothes is None else {"clothing": [clothes]})
    return cl.PortraitDataset(count, seed=seed, size=32, only=only, variety=0.3).images()


@cache
def reader():
    """What tells black hair (0) from blond (1), and how often it is right on other portraits."""
    pairs = [[people(hair, None, READ, seed) for hair in HAIR] for seed in (91, 92)]
    labels = torch.arange(2).repeat_interleave(READ)
    probe = linear_probe(torch.cat(pairs[0]).flatten(1), labels)
    right = probe(torch.cat(pairs[1]).flatten(1)) == labels
    return probe, right.view(2, -1).sum(dim=1).tolist()


def rare_data(way: str | None, seed: int) -> tuple[Tensor, None]:
    """Images of the world with rare blond hair, as a way of sampling presents them; no classes."""
    half = (COMMON + RARE) // 2
    common, rare = (half, half) if way == "data" else (COMMON, RARE)
    images = torch.cat([people("black", None, common, 1), people("blond", None, rare, 1)])
    if way != "weights":
        return images, None
    hair = torch.arange(2).repeat_interleave(torch.tensor([common, rare]))
    return images[draws(sampling_weights(hair, [0.5, 0.5]), seed)], None


def linked_data(way: str | None, seed: int) -> tuple[Tensor, Tensor]:
    """Images and classes of the world in which hair colour goes with clothes."""
    common, rare = COMMON // 2, RARE // 2
    half = {
        ("black", "suit"): common, ("blond", "suit"): rare,
        ("black", "t-shirt"): rare, ("blond", "t-shirt"): common,
    }  # fmt: skip
    images = torch.cat([people(*kind, count, 1) for kind, count in half.items()])
    kind = torch.arange(4).repeat_interleave(torch.tensor(list(half.values())))
    clothes = kind // 2
    if way is None:
        return images, clothes
    chosen = draws(sampling_weights(kind, [0.25] * 4), seed)
    return images[chosen], clothes[chosen]


def draws(weights: Tensor, seed: int, count: int = 8192) -> Tensor:
    """Which portraits a weighted sampler presents, with replacement."""
    return torch.multinomial(weights, count, replacement=True, generator=cl.make_generator(seed))


def trained(images: Tensor, labels: Tensor | None, seed: int, steps: int, checkpoints=()):
    """The averaged network at some steps and at the end: (step, network) after one another."""
    classes = {} if labels is None else {"num_classes": 2}
    torch.manual_seed(seed)
    network = cl.SmallUNet(**NETWORK, **classes)
    loop = cl.train(
        network, images, cl.NoiseSchedule.cosine(1000), steps=steps, batch_size=BATCH_SIZE, lr=LR,
        ema_decay=EMA, prediction="x0", labels=labels, seed=seed, device="cpu", progress=False,
    )  # fmt: skip
    for done in loop:
        if done.step in checkpoints or done.step == steps:
            yield done.step, done.ema.model.eval()


@torch.no_grad()
def blond(network, count: int, labels: int | None = None, guidance: float = 1.0) -> int:
    """How many of `count` samples are blond; the same noise for every network."""
    noise = torch.randn(count, 3, 32, 32, generator=cl.make_generator(0))
    found, schedule = 0, cl.NoiseSchedule.cosine(1000)
    for part in noise.split(64):
        steps = cl.sample(
            network, part, schedule, prediction="x0", clip=1.0, labels=labels, guidance=guidance,
            **SAMPLER,
        )  # fmt: skip
        (last,) = deque(steps, maxlen=1)
        found += int(reader()[0](last.x_prev.clamp(-1, 1).flatten(1)).sum())
    return found


def rare_run(way: str | None, seed: int, steps: int, samples: int) -> dict:
    images, labels = rare_data(way, seed)
    row: dict = {"blond": {}}
    for step, network in trained(images, labels, seed, steps, (steps // 4, steps // 2)):
        row["blond"][str(step)] = blond(network, samples)
    # The error of x_0 on other portraits of each hair colour, at evenly spread timesteps
    row["held_out"] = {
        hair: round(held_out_loss(
            network, people(hair, None, READ // 2, 3), schedule=cl.NoiseSchedule.cosine(1000),
            prediction="x0",
        ), 5)
        for hair in HAIR
    }  # fmt: skip
    return row


def linked_run(way: str | None, seed: int, steps: int, samples: int) -> dict:
    images, labels = linked_data(way, seed)
    ((_, network),) = trained(images, labels, seed, steps)
    found = {
        str(guidance): {
            clothes: blond(network, samples // 2, i, guidance) for i, clothes in enumerate(CLOTHES)
        }
        for guidance in GUIDANCES
    }
    return {"blond": found, "no class": blond(network, samples // 2, 2)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT / "skewed_data.json")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds, from 0")
    parser.add_argument("--steps", type=int, default=400, help="training steps of a run")
    parser.add_argument("--samples", type=int, default=256, help="samples of a network")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = {"steps": options.steps, "samples": options.samples}
    table = {"settings": settings, "reader": {"right": reader()[1], "of": READ}, "runs": []}
    if options.output.exists():
        table = json.loads(options.output.read_text(encoding="utf-8"))
        if table["settings"] != settings:
            raise SystemExit(f"error: {options.output} has other settings. Remove it first.")
    worlds = {"rare": (rare_run, RARE_WAYS), "linked": (linked_run, LINKED_WAYS)}
    for seed in range(options.seeds):
        for world, (run, ways) in worlds.items():
            for name, way in ways.items():
                key = {"world": world, "way": name, "seed": seed}
                if any(key.items() <= row.items() for row in table["runs"]):
                    continue
                start = time.process_time()
                table["runs"].append(key | run(way, seed, *settings.values()))
                write(options.output, table)
                print(table["runs"][-1], f"{time.process_time() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
