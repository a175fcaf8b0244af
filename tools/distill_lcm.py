"""Distil the mini into a LoRA that paints in one to four steps, and measure it (lesson 10).

    OMP_NUM_THREADS=1 python tools/distill_lcm.py              # 8 minutes of one CPU core
    OMP_NUM_THREADS=1 python tools/distill_lcm.py --measure    # 2 more

The first writes data/models/lora/lcm.safetensors. A run that was stopped goes on from its
checkpoint in --work, where the encoded training portraits are kept, too. The second writes
data/experiments/lcm.json: the LoRA with 1, 2 and 4 steps beside the mini without it, all from the
same prompts and the same noise, with 95 % intervals over prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from few_steps import compare  # noqa: E402
from measure_stability import rounded  # noqa: E402

from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.mini.data import TRAINING_SEED, load_portraits  # noqa: E402
from course_lib.mini.distillation import Distillation, consistency_loss  # noqa: E402
from course_lib.mini.preference.adapters import reference  # noqa: E402
from course_lib.mini.tokenizer import token_ids  # noqa: E402
from course_lib.pipelines import load_pipeline  # noqa: E402
from course_lib.pipelines.personalisation import methods  # noqa: E402
from course_lib.pipelines.personalisation.denoising import schedule_of  # noqa: E402
from course_lib.pipelines.personalisation.examples import encode_images  # noqa: E402
from course_lib.pipelines.personalisation.lora_files import architecture, write_file  # noqa: E402
from course_lib.pipelines.personalisation.settings import Recipe  # noqa: E402
from course_lib.tensors import uint8_to_signed  # noqa: E402
from course_lib.training_loop import training_loop  # noqa: E402
from course_lib.training_options import TrainingOptions  # noqa: E402
from course_lib.training_run import TrainingRun, batch_indices  # noqa: E402
from course_lib.weights import load_tensors, save_tensors  # noqa: E402

# Every layer that sees the picture or the timestep: the student's task at t = 999 is a new one.
# Rank 4 makes 290,000 numbers, 0.6 MB in float16
TARGETS = (
    "to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_shortcut", "conv_in", "conv_out",
    "time_emb_proj",
)  # fmt: skip
RECIPE = Recipe(steps=373, lr=5e-4, batch_size=8, rank=4, targets=TARGETS)
SETTINGS = Distillation()


def training_latents(pipe, count: int, work: Path) -> tuple[Tensor, list[list[str]]]:
    """Latents of painted portraits (N, 64, 16, 16), and captions of each; kept in `work`."""
    path = work / f"latents-{count}.safetensors"
    if not path.exists():
        data = load_portraits(count, seed=TRAINING_SEED)
        parts = [encode_images(pipe, uint8_to_signed(x)) for x in data.pixels.split(64)]
        save_tensors(path, {"latents": torch.cat(parts)}, {"captions": data.captions.tolist()})
    tensors, info = load_tensors(path)
    return tensors["latents"], info["captions"]


def distil(options: argparse.Namespace) -> Path:
    """Train the LoRA and write its file."""
    pipe = load_pipeline("mini", verbose=False)
    schedule, unet = schedule_of(pipe), pipe.unet
    latents, captions = training_latents(pipe, options.portraits, options.work)

    def hidden(texts: list[str]) -> Tensor:
        with torch.no_grad():
            return pipe.text_encoder(token_ids(pipe.tokenizer, texts))[0]

    empty = hidden([""])

    def student(x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return unet(x_t, t, text).sample

    def teacher(x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        with reference(pipe):
            return unet(x_t, t, text).sample

    def draw(step: int, generator: torch.Generator):
        rows = batch_indices(step, len(latents), RECIPE.batch_size, seed=0)
        which = torch.randint(len(captions[0]), (len(rows),), generator=generator)
        texts = [captions[i][j] for i, j in zip(rows.tolist(), which.tolist(), strict=True)]
        noise = torch.randn(latents[rows].shape, generator=generator)
        t = torch.randint(1, schedule.num_timesteps, (len(rows),), generator=generator)
        return latents[rows], noise, t, hidden(texts)

    def loss(weights, *batch) -> Tensor:
        return consistency_loss(student, teacher, schedule, SETTINGS, *batch, empty)

    size = unet.config.sample_size * pipe.vae_scale_factor
    with methods.frozen(pipe), methods.lora(pipe, RECIPE, size, seed=0) as trained:
        plan = TrainingOptions(
            steps=options.steps, minutes=options.minutes, batch_size=RECIPE.batch_size,
            lr=RECIPE.lr, warmup=20, weight_decay=0.0, ema_decay=0.99, device="cpu",
            checkpoint=options.work / "lcm-checkpoint.safetensors", checkpoint_every=10,
        )  # fmt: skip
        run = TrainingRun(trained.weights, plan, loss=loss, identity={"skip": SETTINGS.skip})
        recent: deque[float] = deque(maxlen=10)
        for step in training_loop(run, draw, progress=False):
            recent.append(step.loss)
            if step.step % 10 == 0:
                mean = sum(recent) / len(recent)
                print(f"{step.step}: loss {mean:.4f}, {step.seconds:.0f} s", flush=True)
        for own, average in zip(trained.weights.live, run.ema.model.live, strict=True):
            own.data.copy_(average)
        tensors, header = trained.file("diffusers")
    info = {
        "method": "latent consistency distillation", "name": "lcm", "model": "mini",
        "architecture": architecture(unet), "rank": RECIPE.rank, "steps": run.done,
        "lr": RECIPE.lr, "batch_size": RECIPE.batch_size, "pictures": len(latents),
        "guidance": SETTINGS.guidance, "skip": SETTINGS.skip,
    }  # fmt: skip
    return write_file(options.output, tensors, header, info)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    if options.measure:
        table = rounded(compare(options.output, options.prompts, options.seeds, options.work))
        path = write_atomically(options.table, (json.dumps(table) + "\n").encode())
    else:
        path = distil(options)
    print(f"{path.name}: {time.process_time() - began:.0f} s of CPU", flush=True)
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = ROOT / "data"
    parser.add_argument("--output", type=Path, default=data / "models/lora/lcm.safetensors")
    parser.add_argument("--work", type=Path, default=ROOT / "distillation", help="folder")
    parser.add_argument("--portraits", type=int, default=1536, help="to train on (1536)")
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="of the training")
    parser.add_argument("--minutes", type=float, help="a limit besides")
    parser.add_argument("--measure", action="store_true", help="measure the LoRA of --output")
    parser.add_argument("--table", type=Path, default=data / "experiments/lcm.json")
    parser.add_argument("--prompts", type=int, default=12, help="to measure with (12)")
    parser.add_argument("--seeds", type=int, default=2, help="portraits of each prompt (2)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
