"""Race our default path against the stock pipeline's defaults: seconds a portrait, by parts.

    python benchmarks/mini_speed.py                      # the mini, two threads, paired rounds
    python benchmarks/mini_speed.py --rounds 20 --threads 2
    python benchmarks/mini_speed.py --gpu                # SD 1.5's size at 512 pixels, on a GPU

Both contestants paint one 128 x 128 portrait of the same prompt in turn, again and again, in one
process, so that a machine whose speed drifts slows them alike; the ratio is taken round by round.
The stock pipeline is what `StableDiffusionPipeline.from_pretrained` gives and its call's defaults:
float32, PNDM, 50 steps, guidance 7.5. Ours is `course_lib.pipelines.paint` with its defaults.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager

import torch

from course_lib.device import make_generator
from course_lib.pipelines import load_pipeline, paint
from course_lib.pipelines.registry import SHIPPED
from course_lib.pipelines.tuning import quiet

PROMPT = "a smiling woman with red hair and round glasses, oil painting"
PARTS = {"text": "text_encoder", "UNet": "unet", "VAE": "vae.decoder"}


def stock_mini():
    """The shipped folder as a course without us would load it, with SD 1.x's own scheduler."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    with quiet():
        pipe = StableDiffusionPipeline.from_pretrained(SHIPPED / "mini")
    config = {key: pipe.scheduler.config[key] for key in (
        "beta_start", "beta_end", "beta_schedule", "prediction_type", "num_train_timesteps",
    )}  # fmt: skip
    pipe.scheduler = PNDMScheduler(**config, skip_prk_steps=True, steps_offset=1)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Callable[[], object]) -> float:
    synchronise()
    started = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - started


@contextmanager
def clock(pipe, spent: dict[str, float]):
    """Add up the seconds inside each network; what is left is scheduler, Python and PIL."""
    handles, begun = [], {}
    for label, path in PARTS.items():
        module = pipe
        for name in path.split("."):
            module = getattr(module, name)

        def before(module, args, label=label):
            synchronise()
            begun[label] = time.perf_counter()

        def after(module, args, output, label=label):
            synchronise()
            spent[label] += time.perf_counter() - begun[label]

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def race(contestants: dict[str, tuple[object, Callable]], rounds: int) -> None:
    """Paint in turn and print medians, the ratio of each round, and where the time goes."""
    times = defaultdict(list)
    parts = {name: defaultdict(float) for name in contestants}
    for number in range(rounds + 1):
        for name, (_, work) in contestants.items():
            taken = seconds(work)
            if number:  # the first round warms up
                times[name].append(taken)
    for name, (pipe, work) in contestants.items():  # apart, since clocks cost time themselves
        with clock(pipe, parts[name]):
            total = seconds(work)
        parts[name]["rest"] = total - sum(parts[name].values())
    stock, ours = list(contestants)
    ratios = sorted(a / b for a, b in zip(times[stock], times[ours], strict=True))
    print("way | seconds, median | text ms | UNet ms | VAE ms | rest ms")
    print("--- | --- | --- | --- | --- | ---")
    for name in contestants:
        share = " | ".join(f"{1000 * parts[name][part]:.0f}" for part in (*PARTS, "rest"))
        print(f"{name} | {statistics.median(times[name]):.3f} | {share}")
    print(f"\nours is faster by {statistics.median(ratios):.1f} (median of {rounds} rounds, from "
          f"{ratios[0]:.1f} to {ratios[-1]:.1f})")  # fmt: skip


def race_mini(rounds: int) -> None:
    stock = stock_mini()
    ours = load_pipeline("mini", "cpu")
    print()
    race({
        "stock defaults": (stock, lambda: stock(PROMPT, generator=make_generator(0))),
        "ours": (ours, lambda: paint(PROMPT, ours)),
    }, rounds)  # fmt: skip


def sd15_sized(device: torch.device, dtype: torch.dtype):
    """A pipeline with SD 1.5's shapes and random weights: the time does not depend on them."""
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(SHIPPED / "mini" / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with device:
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        text_encoder = CLIPTextModel(config)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
        steps_offset=1,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    for part in (vae, unet, text_encoder):
        part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device, dtype)


def race_gpu(rounds: int) -> None:
    """The plain recipe (float32, PNDM, 50 steps), the usual float16, and ours."""
    if not torch.cuda.is_available():
        raise SystemExit("--gpu needs a CUDA device, and PyTorch sees none.")
    device = torch.device("cuda")
    ours = load_pipeline(sd15_sized(device, torch.float16), device, like="sd15")
    for label, dtype in (("plain float32", torch.float32), ("plain float16", torch.float16)):
        stock = sd15_sized(device, dtype)
        print()
        race({
            label: (stock, lambda pipe=stock: pipe(PROMPT, generator=make_generator(0))),
            "ours": (ours, lambda: paint(PROMPT, ours)),
        }, rounds)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="SD 1.5's size on the GPU instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    if options.gpu:
        race_gpu(options.rounds)
    else:
        race_mini(options.rounds)


if __name__ == "__main__":
    main()
