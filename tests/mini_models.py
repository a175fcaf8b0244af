"""Tiny models for the tests of the mini Stable Diffusion, and how to look into a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from course_lib.mini.config import SMOKE
from course_lib.mini.models import build_scheduler
from course_lib.mini.training.checkpoints import new_models
from course_lib.portraits import PortraitDataset

CAPTIONS = PortraitDataset(600, seed=3).captions()


def load(folder: Path):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paint(pipe, prompt: str, seed: int = 0) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return pipe(prompt, num_inference_steps=2, generator=generator, output_type="np").images[0]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def smoke_models(tokenizer, seed: int = 0) -> dict[str, torch.nn.Module]:
    return new_models(SMOKE, tokenizer, seed=seed)


def smoke_pipeline(tokenizer, prediction: str = "sample"):
    """Stable Diffusion's stock pipeline around the tiny models."""
    from diffusers import StableDiffusionPipeline

    models = smoke_models(tokenizer)
    pipe = StableDiffusionPipeline(
        vae=models["vae"], text_encoder=models["text_encoder"], tokenizer=tokenizer,
        unet=models["unet"], scheduler=build_scheduler(prediction), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe
