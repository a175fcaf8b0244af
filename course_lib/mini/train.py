"""Train the mini Stable Diffusion.

    python -m course_lib.mini.train --folder runs/mini --minutes 9 --device cuda
    python -m course_lib.mini.train --folder runs/mini --minutes 600   # two CPU cores, overnight
    python -m course_lib.mini.train --folder runs/mini                 # a fixed number of steps
    python -m course_lib.mini.train --folder runs/smoke --smoke        # the same code in seconds
    accelerate launch -m course_lib.mini.train --folder runs/mini      # one or several GPUs

The stages are ``decoder`` (the autoencoder's decoder; its encoder is computed in closed form),
``clip`` (attribute classifier and text encoder), ``text`` (text attribute pretraining) and
``unet``. ``--minutes`` is divided among them, and each ends with a learning rate of zero. Portraits
are painted in the background while the first stages train. At the end of each stage the whole model
is written to ``FOLDER/model`` as a diffusers folder, and ``FOLDER/training_report.json`` says what
was done. A run that was stopped goes on with the same command. ``--start-from`` trains an existing
model further.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from course_lib.mini.config import ALL_STYLES
from course_lib.mini.training.stages import STAGES
from course_lib.mini.training.trainer import Trainer, TrainingSettings
from course_lib.training_run import TrainingDiverged


def main(arguments: list[str] | None = None) -> int:
    """Run the stages that were asked for and return the exit code."""
    options = _parser().parse_args(arguments)
    before = os.environ.get("COURSE_DEVICE")
    try:
        if options.device:
            os.environ["COURSE_DEVICE"] = options.device
        given = {k: v for k, v in vars(options).items() if k != "device"}
        Trainer(TrainingSettings(**given)).run()
    except (TrainingDiverged, RuntimeError, ValueError, OSError) as error:
        print(f"course_lib.mini.train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("course_lib.mini.train: stopped; the same command goes on.", file=sys.stderr)
        return 130
    finally:
        if before is None:
            os.environ.pop("COURSE_DEVICE", None)
        else:
            os.environ["COURSE_DEVICE"] = before
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.mini.train", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="for checkpoints, the model and the report")
    add("--minutes", type=float, help="divide so much time among the stages")
    add("--device", help="cuda, cpu, mps or xpu; default: the best that is there")
    add("--start-from", type=Path, help="a model folder to train further")
    add("--styles", nargs="+", default=ALL_STYLES, metavar="STYLE", help="default: all ten")
    add("--portraits", type=int, help="how many training portraits")
    add("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE")
    add("--smoke", action="store_true", help="tiny networks, a few steps")
    add("--compile", action="store_true", help="use torch.compile")
    add("--seed", type=int, default=0, help="of batches, noise and dropout")
    add("--cache", type=Path, help="folder for painted portraits; default: FOLDER/portraits")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
