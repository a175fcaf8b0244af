"""Race the small U-Net against the usual ones: images/s of a training step, and loss at equal time.

    python benchmarks/unet_speed.py                      # training steps, paired, in turn
    python benchmarks/unet_speed.py --quality 120        # held-out loss after 120 s each
    pip install denoising_diffusion_pytorch              # to add the third contestant

All contestants run in one process, in turn, again and again, so that a machine whose speed drifts
slows them alike; the ratios are taken round by round. A step is forward, backward, gradient
clipping and AdamW at 64 x 64 pixels. The others train as common courses train them: float32,
contiguous NCHW, plain AdamW. Ours trains as `course_lib.train` does: channels_last, the fused
AdamW, and bfloat16 where the processor has it.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import course_lib as cl

SIZE = 64


@dataclass
class Contestant:
    """A model with the optimiser, memory format and precision it trains with."""

    name: str
    model: nn.Module
    ours: bool = False

    def __post_init__(self) -> None:
        options = {"fused": True} if self.ours else {}
        if self.ours:
            self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, **options)
        self.amp = self.ours and cl.device_report().dtype == torch.bfloat16

    def step(self, x_0: Tensor, schedule: cl.NoiseSchedule, generator: torch.Generator) -> None:
        if self.ours:
            x_0 = x_0.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.amp):
            loss = cl.denoising_loss(self.model, x_0, schedule, generator=generator)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def contestants() -> list[Contestant]:
    """The models of the race; the first is ours."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    usual = UNet2DModel(
        sample_size=SIZE,
        block_out_channels=(32, 64, 128, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    racers = [
        Contestant("SmallUNet", cl.SmallUNet(), ours=True),
        Contestant("SmallUNet, group norm", cl.SmallUNet(norm="group"), ours=True),
        Contestant("SmallUNet, patch 1", cl.SmallUNet(patch=1), ours=True),
        Contestant("diffusers.UNet2DModel", usual),
    ]
    if importlib.util.find_spec("denoising_diffusion_pytorch"):
        from denoising_diffusion_pytorch import Unet

        racers.append(Contestant("denoising_diffusion_pytorch.Unet(dim=40)", Unet(dim=40)))
    return racers


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def machine_peak() -> float:
    """The best of a 3x3 convolution and a matrix product on this machine, in GFLOP/s."""
    a = torch.randn(1024, 1024)
    x = torch.randn(16, 128, 32, 32).to(memory_format=torch.channels_last)
    w = torch.randn(128, 128, 3, 3).to(memory_format=torch.channels_last)
    jobs = [
        (lambda: a @ a, 2 * 1024**3),
        (lambda: torch.conv2d(x, w, padding=1), 2 * 16 * 32 * 32 * 128 * 128 * 9),
    ]
    rates = []
    with torch.no_grad():
        for work, flops in jobs:
            work()
            rates.append(flops / min(seconds(work) for _ in range(10)) / 1e9)
    return max(rates)


def race(rounds: int, batch: int) -> None:
    racers, schedule = contestants(), cl.NoiseSchedule.cosine(1000)
    generator = torch.Generator().manual_seed(0)
    x_0 = cl.PortraitDataset(batch, size=SIZE, seed=0).images()
    times: dict[str, list[float]] = {racer.name: [] for racer in racers}
    peaks = []
    for number in range(rounds + 1):
        peaks.append(machine_peak())
        for racer in racers:
            taken = seconds(lambda racer=racer: racer.step(x_0, schedule, generator))
            if number:  # the first round warms up
                times[racer.name].append(taken)
    peak = statistics.median(peaks)
    print(f"best of convolution and matrix product on this machine: {peak:.0f} GFLOP/s\n")
    print("model | parameters | images/s | ours is faster by | share of the machine's peak")
    print("--- | --- | --- | --- | ---")
    ours = times[racers[0].name]
    for racer in racers:
        mine = times[racer.name]
        with FlopCounterMode(display=False) as counter:
            racer.step(x_0, schedule, generator)
        ratio = statistics.median(b / a for a, b in zip(ours, mine, strict=True))
        median = statistics.median(mine)
        share = counter.get_total_flops() / median / 1e9 / peak
        count = sum(p.numel() for p in racer.model.parameters()) / 1e6
        print(f"{racer.name} | {count:.2f} M | {batch / median:.1f} | {ratio:.2f} | {share:.0%}")


def quality(budget: float, batch: int) -> None:
    """Train each model for `budget` seconds in slices, on the same portraits, and compare."""
    racers = [r for r in contestants() if r.name in ("SmallUNet", "diffusers.UNet2DModel")]
    schedule = cl.NoiseSchedule.cosine(1000)
    images = cl.PortraitDataset(2048, size=SIZE, seed=0).images(workers=2)
    unseen = cl.PortraitDataset(128, size=SIZE, seed=1).images(workers=2)
    generators = [torch.Generator().manual_seed(0) for _ in racers]
    spent, done = [0.0] * len(racers), [0] * len(racers)
    while min(spent) < budget:
        for i, racer in enumerate(racers):
            # Slices of a twelfth: drift of the machine meets both
            until = min(budget, spent[i] + budget / 12)
            while spent[i] < until:
                index = torch.randint(len(images), (batch,), generator=generators[i])
                x_0 = images[index]
                spent[i] += seconds(lambda r=racer, i=i, x=x_0: r.step(x, schedule, generators[i]))
                done[i] += 1
    print(f"model | steps in {budget:.0f} s | held-out loss")
    print("--- | --- | ---")
    for racer, steps in zip(racers, done, strict=True):
        loss = cl.held_out_loss(racer.model, unseen, schedule, batch_size=32)
        print(f"{racer.name} | {steps} | {loss:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--quality", type=float, metavar="SECONDS", help="compare held-out losses")
    options = parser.parse_args()
    if options.quality:
        quality(options.quality, options.batch)
    else:
        race(options.rounds, options.batch)


if __name__ == "__main__":
    main()
