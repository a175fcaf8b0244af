"""Many portraits for the evaluation: prompts of held-out people, painted by a stock pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.device import get_device
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import FULL, SMOKE
from course_lib.mini.data import signed_batches
from course_lib.mini.tokenizer import token_ids
from course_lib.pipelines.registry import make_scheduler
from course_lib.pipelines.tuning import quiet
from course_lib.portraits import Attributes, caption, full_caption, parse_caption

LONG = 8  # a prompt names at least so many attributes
_DRAWS = 200  # until a caption is that long; four in ten are


def long_prompt(attributes: Attributes, number: int, seed: int) -> str:
    """A prompt for held-out person `number`: the full caption, or one of many long wordings."""
    if number % 2 == 0:
        return full_caption(attributes)
    rng = np.random.default_rng([seed, number, 1])
    drawn = (caption(attributes, rng) for _ in range(_DRAWS))
    return next((text for text in drawn if len(parse_caption(text)) >= LONG), None) or (
        full_caption(attributes)
    )


class Easel:
    """A stock `StableDiffusionPipeline` that paints lists of prompts in batches.

    Every prompt's text is encoded once, with or without guidance; picture i starts from noise of a
    CPU generator with seed i, as the pipeline itself would make it, so the batch size changes
    nothing but speed.

    Parameters
    ----------
    folder : Path
        A diffusers folder.
    steps, guidance : int, float
        As in the pipeline's call.
    scheduler : str
        A name of `course_lib.pipelines.SCHEDULERS`, or "own" for the folder's.
    batch : int
        Pictures at a time.
    """

    def __init__(self, folder: Path, *, steps: int, guidance: float, scheduler: str, batch: int):
        from diffusers import StableDiffusionPipeline

        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(
                f"No model at {folder}. Train one:  python -m course_lib.mini.train --folder runs"
            )
        with quiet():
            self.pipe = StableDiffusionPipeline.from_pretrained(
                folder, safety_checker=None, requires_safety_checker=False, local_files_only=True
            ).to(get_device())
        self.pipe.scheduler = make_scheduler(scheduler, self.pipe.scheduler)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.unet.to(memory_format=torch.channels_last)
        self.pipe.vae.to(memory_format=torch.channels_last)
        self.steps, self.guidance, self.batch = steps, guidance, batch

    @torch.inference_mode()
    def paint(self, prompts: Sequence[str], seeds: Sequence[int], label: str) -> Tensor:
        """One picture for each prompt and seed: (N, 3, H, W), uint8, on the CPU."""
        from tqdm.auto import tqdm

        distinct = list(dict.fromkeys(prompts))
        number = {text: i for i, text in enumerate(distinct)}
        states = torch.cat([self.encode(part) for part in _parts(distinct, 64)])
        empty = self.encode([""])
        pictures = []
        with tqdm(total=len(prompts), desc=label, unit="picture", mininterval=2) as bar:
            for chosen in _parts(range(len(prompts)), self.batch):
                text = states[[number[prompts[i]] for i in chosen]]
                generators = [torch.Generator().manual_seed(seeds[i]) for i in chosen]
                pictures.append(self._call(text, empty.expand_as(text), generators))
                bar.update(len(chosen))
        return torch.cat(pictures)

    def _call(self, text: Tensor, negative: Tensor, generators: list) -> Tensor:
        images = self.pipe(
            prompt_embeds=text,
            negative_prompt_embeds=negative,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=generators,
            output_type="pt",  # in [0, 1]
        ).images
        return images.float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu()

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """(B, 77, width) hidden states, what the U-Net looks at."""
        ids = token_ids(self.pipe.tokenizer, prompts).to(self.pipe.device)
        return self.pipe.text_encoder(ids)[0]

    @torch.inference_mode()
    def rebuild(self, pixels: Tensor) -> Tensor:
        """Through the autoencoder and back: (N, 3, H, W) uint8 -> floats in [-1, 1]."""
        vae, parts = self.pipe.vae, []
        for x in signed_batches(pixels, self.batch, vae.device):
            parts.append(vae.decode(vae.encode(x).latents).sample.clamp(-1, 1).float().cpu())
        return torch.cat(parts)


class Jury:
    """The judge, and the text encoder that it was trained with.

    Parameters
    ----------
    path : Path
        ``judge.safetensors`` in a model's folder ``judge``.
    """

    def __init__(self, path: Path):
        self.device = get_device()
        self.judge = load_judge(path).to(self.device, memory_format=torch.channels_last)
        self.folder = path.parent.parent

    def features(self, pixels: Tensor) -> Tensor:
        """(N, 3, 128, 128) uint8 -> (N, F)."""
        return self.judge.all_features(pixels)

    @torch.inference_mode()
    def names(self, features: Tensor) -> dict[str, Tensor]:
        """For each attribute the number of its most probable value, (N,)."""
        x = features.to(self.device)
        return {name: head(x).argmax(dim=1).cpu() for name, head in self.judge.heads.items()}

    @torch.inference_mode()
    def matches(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """Cosine of each picture with its prompt, (N,)."""
        from transformers import CLIPTextModel, CLIPTokenizer

        with quiet():
            tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer")
            encoder = CLIPTextModel.from_pretrained(self.folder / "text_encoder").to(self.device)
        images = self.judge.image_embedding(features.to(self.device))
        texts = torch.cat(
            [
                self.judge.text_embedding(
                    encoder(token_ids(tokenizer, part).to(self.device)).pooler_output.float()
                )
                for part in _parts(prompts, 64)
            ]
        )
        return (images * texts).sum(dim=1).cpu()


def load_judge(path: Path) -> AttributeClassifier:
    """Read a judge of the full or of the smoke size, whichever it is."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(
            f"No judge at {path}; give --judge MODEL/attribute_classifier/model.safetensors."
        )
    try:
        with safe_open(path, framework="pt") as file:
            width = file.get_slice("tower.0.weight").get_shape()[0]
    except SafetensorError as error:
        raise ValueError(f"{path} is not a judge's safetensors file: {error}.") from error
    return AttributeClassifier.load(path, SMOKE if width == SMOKE.classifier_channels[0] else FULL)


def _parts(items, size: int):
    return [items[i : i + size] for i in range(0, len(items), size)]
