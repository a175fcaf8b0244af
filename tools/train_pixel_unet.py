"""Train the pixel U-Net that lessons 03 and 04 load: the lesson's own training, only longer.

    python tools/train_pixel_unet.py --steps 1600

It can be stopped at any time and started again with the same command: it goes on from its
checkpoint. At the end, and every `--export-every` steps, the averaged weights are written as
float16 to ``data/models/pixel_unet/model.safetensors``.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch

import course_lib as cl
from course_lib.portraits.attributes import COLORED_BACKGROUNDS
from course_lib.weights import save_tensors

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "data" / "models" / "pixel_unet" / "model.safetensors"
# One style with large shapes: what 64 pixels show well, and what minutes on a CPU can learn
STYLES = ("flat illustration",)
HELD_OUT = 128
# Squared error in the picture itself asks for the layout first, where eps and v ask for fine noise
PREDICTION = "x0"
# Patches of 4 x 4 pixels: the network works on a grid of 16 x 16
NETWORK = {"channels": (64, 128, 192), "patch": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--export-every", type=int, default=200)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints/pixel.safetensors")
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()

    torch.manual_seed(0)
    pixels = frontal_portraits(options.images, seed=1)
    unseen = frontal_portraits(HELD_OUT, seed=2)  # another seed: other people
    print(f"{len(pixels)} portraits painted, {len(unseen)} held out", flush=True)
    schedule = cl.NoiseSchedule.cosine(1000)
    for step in cl.train(
        cl.SmallUNet(**NETWORK),
        pixels,
        schedule,
        steps=options.steps,
        batch_size=options.batch_size,
        lr=options.lr,
        prediction=PREDICTION,
        ema_decay=0.995,
        mirror=False,  # "turned left" and the light's side mean something
        held_out=unseen,
        eval_every=options.export_every,
        checkpoint=options.checkpoint,
        checkpoint_every=options.export_every,
    ):
        if step.held_out is not None:
            print(
                f"step {step.step}: loss {step.loss:.4f}, held out {step.held_out:.4f}, "
                f"{step.seconds / 60:.1f} min",
                flush=True,
            )
            export(step.ema.model, options.target)


def frontal_portraits(count: int, *, seed: int) -> torch.Tensor:
    """`count` portraits that look at us, head and shoulders, as uint8 (N, 3, 64, 64)."""
    series = cl.PortraitDataset(20 * count, size=64, seed=seed, styles=STYLES)
    fits = (i for i in range(len(series)) if suits(series.attributes(i)))
    pixels = series.pixels(list(itertools.islice(fits, count)), workers=2)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def suits(attributes: cl.Attributes) -> bool:
    """Small pictures show large faces before a quiet background best."""
    quiet = attributes.background in COLORED_BACKGROUNDS
    return quiet and attributes.pose == "frontal" and attributes.framing != "half-length"


def export(model: cl.SmallUNet, path: Path) -> None:
    """Write the weights in half precision: the pictures do not change, the file halves."""
    half = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save_tensors(path, half, {"config": model.config, "prediction": PREDICTION})


if __name__ == "__main__":
    main()
