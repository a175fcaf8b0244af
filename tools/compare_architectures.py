"""Which architecture, which parameters? Equal-time runs of small denoisers at 32 x 32 pixels.

    python tools/compare_architectures.py          # writes data/experiments/architectures.json

One thread, about 15 minutes of processor time. The file is written after every run, and the same
command goes on where it was. How equal time is counted: see `equal_time.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from equal_time import (
    LR,
    NETWORK,
    denoiser_loop,
    measure,
    resumed,
    run_command,
    write,
)
from torch import Tensor, nn

import course_lib as cl
from course_lib.unet import ResidualBlock, SmallUNet, make_norm, timestep_embedding, zero_

STEPS = 300  # of the baseline


class PlainResNet(nn.Module):
    """The blocks of `SmallUNet` on one grid: no levels, no long skips, no attention.

    The call is that of `SmallUNet`; the answer starts from the input in the same way.
    """

    def __init__(self, width: int = 64, blocks: int = 6, patch: int = 4):
        super().__init__()
        self.width, self.patch = width, patch
        embedding = 4 * width
        layers = nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        self.time = nn.Sequential(*layers)
        self.stem = nn.Conv2d(3 * patch**2, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, width, embedding, 0.0, "channel") for _ in range(blocks)
        )
        self.shortcut = zero_(nn.Linear(embedding, 3))
        self.norm = make_norm("channel", width)
        self.out = zero_(nn.Conv2d(width, 3 * patch**2, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        embedding = self.time(timestep_embedding(t, self.width))
        h = F.pixel_unshuffle(x_t, self.patch)  # (B, 3, H, W) -> (B, 3 p p, H / p, W / p)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h, embedding)
        out = F.pixel_shuffle(self.out(F.silu(self.norm(h))), self.patch)
        return out + self.shortcut(embedding)[:, :, None, None] * x_t


def without_attention() -> SmallUNet:
    """The baseline without any attention, that of the middle included."""
    network = SmallUNet(**NETWORK, attention=(False, False))
    network.middle.attention = None
    return network


def without_skips() -> SmallUNet:
    """The baseline, whose long skip connections carry zeros."""
    network = SmallUNet(**NETWORK)

    def cut(block: ResidualBlock, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        below, _ = given[0].chunk(2, dim=1)  # what came from the coarser level, and the skip
        return torch.cat([below, torch.zeros_like(below)], dim=1), given[1]

    for stages in network.up:
        for stage in stages:
            stage.block.register_forward_pre_hook(cut)
    return network


# Each differs from the baseline in what its name says
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "U-Net (baseline)": partial(SmallUNet, **NETWORK),
    "no attention": without_attention,
    "no long skips": without_skips,
    "plain ResNet": PlainResNet,
    "narrow (32, 64)": partial(SmallUNet, **NETWORK | {"channels": (32, 64)}),
    "wide (72, 144)": partial(SmallUNet, **NETWORK | {"channels": (72, 144)}),
    "deep (3 blocks)": partial(SmallUNet, **NETWORK, blocks=3),
    "fine grid (patch 2)": partial(SmallUNet, **NETWORK | {"patch": 2}),
}
BASELINE = next(iter(NETWORKS))
OTHER_OPTIONS = {
    "lr x 1/4": {"lr": LR / 4},
    "lr x 4": {"lr": LR * 4},
    "linear schedule": {"schedule": "linear"},
}
AVERAGES = {"no average": 0.0, "short average (0.9)": 0.9}  # of the weights of the baseline's run


def architecture_run(name: str, seed: int, steps: int) -> dict[str, dict[str, float]]:
    """Train one configuration: what was measured, by name, for all averages of the weights."""
    options = OTHER_OPTIONS.get(name, {})
    torch.manual_seed(seed)
    network = NETWORKS.get(name, NETWORKS[BASELINE])()
    averages = {key: cl.EMA(network, decay) for key, decay in AVERAGES.items() if name == BASELINE}
    started = time.process_time()
    for step in denoiser_loop(network, seed, steps, **options):
        for average in averages.values():
            average.update(network)
        ema = step.ema
    seconds = round(time.process_time() - started, 1)
    schedule = getattr(cl.NoiseSchedule, options.get("schedule", "cosine"))(1000)
    models = {name: ema.model} | {key: average.model for key, average in averages.items()}
    return {
        key: {"seed": seed, "steps": steps, "cpu_seconds": seconds} | measure(model, schedule)
        for key, model in models.items()
    }


def compare_architectures(output: Path, seeds: tuple[int, ...]) -> None:
    """Train and measure what is missing in `output`, seed by seed."""
    loops = {name: lambda make=make: denoiser_loop(make()) for name, make in NETWORKS.items()}
    table = resumed(output, {"steps": STEPS}, loops)
    for seed in seeds:
        for name in (*NETWORKS, *OTHER_OPTIONS):
            runs = table["runs"].setdefault(name, [])
            if any(run["seed"] == seed for run in runs):
                continue
            cost = table["cost"].get(name, 1.0)
            for key, run in architecture_run(name, seed, round(STEPS / cost)).items():
                table["runs"].setdefault(key, []).append(run)
                print(key, run, flush=True)
            write(output, table)


if __name__ == "__main__":
    run_command(compare_architectures, __doc__, "architectures.json")
