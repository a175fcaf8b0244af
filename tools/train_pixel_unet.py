"""Train the pixel U-Net that lessons 03 and 04 load, for as many minutes as it is given.

    python tools/train_pixel_unet.py --minutes 65                # on a CPU
    python tools/train_pixel_unet.py --minutes 2 --device cuda   # on a GPU

The learning rate reaches zero when the time is up. A run that is killed goes on from its checkpoint
when the same command is given again. Every `--export-every` steps and at the end the averaged
weights are written as float16 to ``model.safetensors`` in the folder `--output`.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import course_lib as cl
from course_lib.losses import min_snr_weight, pixels
from course_lib.portraits.attributes import COLORED_BACKGROUNDS
from course_lib.training import TrainingOptions, TrainingRun, held_out_loss, training_loop
from course_lib.training_run import batch_indices
from course_lib.weights import save_tensors

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "data" / "models" / "pixel_unet"
# Large faces, because an eye must be a few pixels wide, before quiet backgrounds
ONLY = {
    "style": ["flat illustration"],
    "pose": ["frontal"],
    "framing": ["close-up"],
    "quality": ["good"],
    "background": list(COLORED_BACKGROUNDS),
}
VARIETY = 0.1  # faces lie nearly where other faces lie, so features become sharp much sooner
HELD_OUT = 128
PREDICTION = "x0"
# Patches of 4 x 4 pixels: the network works on grids of 16 x 16, 8 x 8 and 4 x 4. Below t = 8 the
# input counts more than the network; with a later change-over some grain stays in the samples
NETWORK = {"channels": (64, 96, 112), "patch": 4, "skip_timestep": 8.0}
SNR_CAP = 20.0  # Min-SNR (arXiv:2303.09556) has 5, less than at the last steps of a sampler
SCHEDULE = cl.NoiseSchedule.cosine(1000)


def main() -> None:
    options = parse_arguments()
    images, unseen = portraits(options.images, seed=1), portraits(HELD_OUT, seed=2)
    print(f"{len(images)} portraits to train on, {len(unseen)} held out", flush=True)
    torch.manual_seed(0)
    run = TrainingRun(
        cl.SmallUNet(**NETWORK),
        TrainingOptions(
            minutes=options.minutes,
            batch_size=options.batch_size,
            lr=options.lr,
            checkpoint=options.checkpoint or options.output / "checkpoint.safetensors",
            checkpoint_every=options.export_every,
            device=options.device,
        ),
        loss=weighted_loss,
        identity={"network": str(NETWORK), "images": len(images), "variety": VARIETY},
    )
    print(f"starting at step {run.done}", flush=True)
    evaluate = partial(held_out_loss, images=unseen, schedule=SCHEDULE, prediction=PREDICTION)
    batch = partial(draw_batch, images, options.batch_size)
    if run.clock() >= 1:
        print("The time is up: give more --minutes to go on, or remove the checkpoint.")
    for step in training_loop(
        run, batch, evaluate=evaluate, evaluate_every=options.export_every, progress=False
    ):
        if step.held_out is not None:
            minutes = step.seconds / 60
            print(f"step {step.step}: held out {step.held_out:.4f}, {minutes:.1f} min", flush=True)
            export(step.ema.model, options.output / "model.safetensors")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=65, help="of training, painting apart")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; default: the best here")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the weights")
    parser.add_argument("--checkpoint", type=Path, default=None, help="default: in --output")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=None, help="default: 16, on CUDA 256")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--export-every", type=int, default=200, help="steps")
    options = parser.parse_args()
    options.device = torch.device(options.device or cl.get_device())
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device was found. Leave --device out to use the CPU.")
    if options.batch_size is None:
        options.batch_size = 256 if options.device.type == "cuda" else 16
    return options


def portraits(count: int, *, seed: int) -> Tensor:
    """`count` frontal portraits as uint8 (N, 3, 64, 64); another seed gives other people."""
    series = cl.PortraitDataset(count, size=64, seed=seed, only=ONLY, variety=VARIETY, cache=True)
    # (N, H, W, C) -> (N, C, H, W)
    return (
        torch.from_numpy(series.pixels(workers=os.cpu_count() or 1))
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def draw_batch(images: Tensor, count: int, step: int, generator: torch.Generator) -> tuple:
    """Clean images, timesteps and noise; not mirrored, as the side of the light means something."""
    x_0 = pixels(images, batch_indices(step, len(images), count, seed=0), images.device)
    t = torch.randint(SCHEDULE.num_timesteps, (count,), generator=generator)
    return x_0, t, torch.randn(x_0.shape, generator=generator)


def weighted_loss(model: nn.Module, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Squared error of x_0 with the weight min(SNR, 20) + 1: that of v, with a cap."""
    x_t = cl.q_sample(x_0, t, SCHEDULE, noise)
    error = (model(x_t, t).float() - x_0).square().mean(dim=(1, 2, 3))
    weight = min_snr_weight(SCHEDULE.snr[t.cpu()].to(error), cap=SNR_CAP, offset=1.0)
    return (weight * error).mean()


def export(model: cl.SmallUNet, path: Path) -> None:
    """Write the weights in half precision: the images do not change, the file halves."""
    half = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save_tensors(path, half, {"config": model.config, "prediction": PREDICTION})


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # their messages say what to do
        raise SystemExit(f"error: {error}") from None
