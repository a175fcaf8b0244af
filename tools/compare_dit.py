"""A transformer or a U-Net? Equal-time runs of a DiT with two patch sizes and of the U-Net.

    python tools/compare_dit.py          # writes data/experiments/dit.json

One thread, about 6 minutes of processor time. The file is written after every run, and the same
command goes on where it was. How equal time is counted: see `equal_time.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from equal_time import LR, NETWORK, denoiser_loop, measure, resumed, run_command, write
from torch import nn

import course_lib as cl
from course_lib.dit import DiT

STEPS = 300  # of the U-Net
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "U-Net": partial(cl.SmallUNet, **NETWORK),
    "DiT, patch 4": partial(DiT, patch=4, depth=4),
    "DiT, patch 8": partial(DiT, patch=8, depth=4),
}
# Of the transformers the best of 5e-4, 1e-3, 2e-3 and 4e-3, by held-out error on another seed
LRS = {"U-Net": LR, "DiT, patch 4": 4e-3, "DiT, patch 8": 2e-3}


def dit_run(name: str, seed: int, steps: int) -> dict[str, float]:
    """Train one network: what was measured."""
    torch.manual_seed(seed)
    network, started = NETWORKS[name](), time.process_time()
    for step in denoiser_loop(network, seed, steps, lr=LRS[name]):
        ema = step.ema
    seconds = round(time.process_time() - started, 1)
    row = {"seed": seed, "steps": steps, "cpu_seconds": seconds}
    return row | measure(ema.model, cl.NoiseSchedule.cosine(1000))


def compare_dit(output: Path, seeds: tuple[int, ...]) -> None:
    """Train and measure what is missing in `output`, seed by seed."""
    loops = {name: lambda make=make: denoiser_loop(make()) for name, make in NETWORKS.items()}
    table = resumed(output, {"steps": STEPS, "lrs": LRS}, loops)
    for seed in seeds:
        for name in NETWORKS:
            runs = table["runs"].setdefault(name, [])
            if any(run["seed"] == seed for run in runs):
                continue
            runs.append(dit_run(name, seed, round(STEPS / table["cost"][name])))
            print(name, runs[-1], flush=True)
            write(output, table)


if __name__ == "__main__":
    run_command(compare_dit, __doc__, "dit.json")
