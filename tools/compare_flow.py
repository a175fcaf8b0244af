"""Flow matching against eps and x0: one U-Net, equal training, 1 to 20 steps, one rectification.

    python tools/compare_flow.py          # writes data/experiments/flow.json

One thread, about 12 minutes of processor time. The file is written after every seed, and the same
command goes on where it was. All networks see the same portraits, batches, noise and noise levels;
they differ in what they predict. The portraits and the measurements are those of `equal_time.py`.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from equal_time import (
    BATCH_SIZE,
    DATA,
    EMA,
    LR,
    NETWORK,
    SAMPLES,
    denoiser_loop,
    distances,
    resumed,
    run_command,
    write,
)
from torch import Tensor, nn

import course_lib as cl
from course_lib.flow import straightness
from course_lib.training import TrainingOptions, TrainingRun, training_loop

STEPS = 300  # training steps
SAMPLING_STEPS = (1, 2, 4, 8, 20)
# Rectification trains a flow for as long again; the last one shows what training alone does
RUNS = {
    "eps": ("eps", STEPS),
    "x0": ("x0", STEPS),
    "flow": ("flow", STEPS),
    "flow, twice the steps": ("flow", 2 * STEPS),
}
PAIRS = 1024  # of noise and the portrait that it became, to rectify with
SCHEDULE = cl.NoiseSchedule.flow(1000)
PATHS = 64  # of which the straightness is measured
# Euler steps of the ODE, in equal steps of the noise level; for eps and x0 they are called DDIM
SAMPLER = {"method": "ddim", "spacing": "trailing"}


def path(model: nn.Module, noise: Tensor, steps: int, prediction: str, clip=None) -> Tensor:
    """From noise to portraits in flow coordinates, (steps + 1, B, 3, 32, 32)."""
    points = []
    for step in cl.sample(
        model, noise, SCHEDULE, steps=steps, prediction=prediction, clip=clip, **SAMPLER
    ):
        bar_a = SCHEDULE.alphas_cumprod[step.t].item()
        points.append(step.x_t / (bar_a**0.5 + (1 - bar_a) ** 0.5))
    return torch.stack([*points, step.x_prev])


def generate(model: nn.Module, noise: Tensor, steps: int, prediction: str) -> Tensor:
    parts = [path(model, part, steps, prediction, clip=1.0)[-1] for part in noise.split(64)]
    return torch.cat(parts).clamp(-1, 1)


def noise_of(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, DATA["size"], DATA["size"], generator=cl.make_generator(seed))


def measured(model: nn.Module, prediction: str) -> dict:
    """Kernel distances by the number of steps, from the same noise for every model."""
    noise = noise_of(SAMPLES, 0)
    found = {n: distances(generate(model, noise, n, prediction)) for n in SAMPLING_STEPS}
    paths = path(model, noise[:PATHS], max(SAMPLING_STEPS), prediction)
    by_steps = {
        key: {str(n): round(found[n][key], 2) for n in found} for key in next(iter(found.values()))
    }
    return by_steps | {"straightness": round(straightness(paths).item(), 4)}


def rectify(model: nn.Module, seed: int) -> nn.Module:
    """Train a flow again, on pairs of noise and the portrait that it made of it."""
    noise = noise_of(PAIRS, 1000 + seed)
    images = generate(model, noise, max(SAMPLING_STEPS), "flow")
    network = cl.SmallUNet(**NETWORK)
    network.load_state_dict(model.state_dict())
    options = TrainingOptions(
        steps=STEPS, batch_size=BATCH_SIZE, lr=LR, ema_decay=EMA, seed=seed, device="cpu"
    )

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        chosen = torch.randint(PAIRS, (BATCH_SIZE,), generator=generator)
        t = torch.randint(SCHEDULE.num_timesteps, (BATCH_SIZE,), generator=generator)
        return images[chosen], t, noise[chosen]

    def loss(module: nn.Module, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return cl.denoising_loss(module, x_0, SCHEDULE, t=t, noise=eps, prediction="flow")

    for step in training_loop(TrainingRun(network, options, loss=loss), batch, progress=False):
        ema = step.ema
    return ema.model.eval()


def runs_of(seed: int) -> dict[str, dict]:
    """Train and measure everything for one seed."""
    rows, models = {}, {}
    for name, (prediction, steps) in RUNS.items():
        torch.manual_seed(seed)
        network, started = cl.SmallUNet(**NETWORK), time.process_time()
        options = {"schedule": "flow", "prediction": prediction}
        for step in denoiser_loop(network, seed, steps, **options):
            ema = step.ema
        models[name] = ema.model.eval()
        seconds = round(time.process_time() - started, 1)
        rows[name] = {"seed": seed, "cpu_seconds": seconds} | measured(models[name], prediction)
        print(name, rows[name], flush=True)
    name, started = "flow, rectified", time.process_time()
    model = rectify(models["flow"], seed)
    # On top of the flow's own training
    seconds = round(time.process_time() - started + rows["flow"]["cpu_seconds"], 1)
    rows[name] = {"seed": seed, "cpu_seconds": seconds} | measured(model, "flow")
    print(name, rows[name], flush=True)
    return rows


def compare_flow(output: Path, seeds: tuple[int, ...]) -> None:
    """Train and measure what is missing in `output`, seed by seed."""
    own = {"steps": STEPS, "sampler": SAMPLER, "sampling_steps": SAMPLING_STEPS, "pairs": PAIRS}
    loop = partial(denoiser_loop, cl.SmallUNet(**NETWORK))
    table = resumed(output, own, {"U-Net": loop})
    for seed in seeds:
        if any(run["seed"] == seed for run in table["runs"].get("flow", [])):
            continue
        for name, row in runs_of(seed).items():
            table["runs"].setdefault(name, []).append(row)
        write(output, table)


if __name__ == "__main__":
    run_command(compare_flow, __doc__, "flow.json")
