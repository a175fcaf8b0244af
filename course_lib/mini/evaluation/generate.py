"""The images that the evaluation compares: of held-out people, real (painted) and generated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from course_lib.device import get_device
from course_lib.metrics.intervals import Estimate
from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits
from course_lib.mini.config import TrainingData
from course_lib.mini.data import (
    HELD_OUT_SEED,
    Labels,
    mini_series,
    signed_batches,
    value_indices,
)  # fmt: skip
from course_lib.mini.evaluation.prompts import held_out_prompt
from course_lib.mini.tokenizer import token_ids
from course_lib.pipelines.allowed_classes import check_classes
from course_lib.pipelines.registry import make_scheduler
from course_lib.pipelines.tuning import quiet
from course_lib.portraits import Attributes, PortraitDataset, parse_caption

Table = dict[str, dict[str, float | Estimate]]  # row -> column -> cell


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, and how images are generated.

    Attributes
    ----------
    model : Path
        A diffusers folder with ``training_data.json``.
    classifier : Path
        A model folder, or the file of an attribute classifier.
    parts : tuple of str
        Names of `course_lib.mini.evaluation.evaluators.EVALUATORS`.
    prompts : int
        Held-out people to generate; as many others are painted for the floors.
    steps, guidance, scheduler, seed, batch_size
        As `Generator` takes them; image i has seed `seed` + i.
    training_images : int
        Training portraits that near-duplicates are searched among.
    diversity_prompts, diversity_seeds : int
        Prompts, and images of each, whose distances are measured.
    paraphrases, paraphrase_seeds : int
        Sentences in free language at most, and images of each.
    color_prompts : int
        Bearded men whose hair color the prompt leaves open.
    cache : Path, optional
        Folder for painted portraits.
    """

    model: Path
    classifier: Path
    parts: tuple[str, ...]
    prompts: int = 1000
    steps: int = 5
    guidance: float = 2.5
    scheduler: str = "own"
    seed: int = 0
    batch_size: int = 16
    training_images: int = 64_000
    diversity_prompts: int = 24
    diversity_seeds: int = 8
    paraphrases: int = 100
    paraphrase_seeds: int = 4
    color_prompts: int = 240
    cache: Path | None = None


class EvaluationData:
    """Held-out people, their prompts, and real and generated images; each is made on first use."""

    def __init__(self, config: EvaluationConfig):
        self.config = config
        self.training_data = TrainingData.read(config.model)
        self.classifier = AttributeClassifier.load(config.classifier)
        self.classifier.to(get_device(), memory_format=torch.channels_last)
        self.series = self.portraits(2 * config.prompts, HELD_OUT_SEED)

    @cached_property
    def generator(self) -> Generator:
        c = self.config
        return Generator(
            c.model, steps=c.steps, guidance=c.guidance, scheduler=c.scheduler,
            batch_size=c.batch_size,
        )  # fmt: skip

    @cached_property
    def people(self) -> list[Attributes]:
        return [self.series.attributes(i) for i in range(self.config.prompts)]

    @cached_property
    def prompts(self) -> list[str]:
        return [held_out_prompt(p, i, HELD_OUT_SEED) for i, p in enumerate(self.people)]

    @cached_property
    def stated(self) -> Labels:
        """What the prompts state: for each attribute, value indices (N,), -1 for nothing."""
        return value_indices([parse_caption(text) for text in self.prompts])

    @cached_property
    def real(self) -> Tensor:
        """The people of the prompts, painted: (N, 3, 128, 128), uint8."""
        return portrait_images(self.series, range(self.config.prompts))

    @cached_property
    def others(self) -> Tensor:
        """As many other people, painted: what the floors are measured with."""
        count = self.config.prompts
        return portrait_images(self.series, range(count, 2 * count))

    @cached_property
    def generated(self) -> Tensor:
        """What the model makes of the prompts: (N, 3, 128, 128), uint8."""
        return self.generate(self.prompts, "held-out prompts")

    @cached_property
    def real_features(self) -> Tensor:
        return self.classifier.all_features(self.real)

    @cached_property
    def other_features(self) -> Tensor:
        return self.classifier.all_features(self.others)

    @cached_property
    def generated_features(self) -> Tensor:
        return self.classifier.all_features(self.generated)

    def by_style(self) -> Iterator[tuple[str, Tensor]]:
        """Each style that occurs among the people, and a mask (N,) of who has it."""
        for style in self.training_data.only["style"]:
            mask = torch.tensor([person.style == style for person in self.people])
            if mask.any():
                yield style, mask

    def portraits(self, count: int, seed: int, **only: Sequence[str]) -> PortraitDataset:
        """`count` people of the model's training distribution, `only` some of them."""
        known = self.training_data
        data = TrainingData({**known.only, **only}, known.variety, known.size)
        return mini_series(count, seed=seed, cache=self.config.cache, data=data)

    def generate(self, prompts: Sequence[str], label: str, *, seeds=None) -> Tensor:
        """Images of prompts, (N, 3, 128, 128), uint8; `seeds` count from the configured one."""
        seeds = range(len(prompts)) if seeds is None else seeds
        return self.generator.generate(prompts, [self.config.seed + s for s in seeds], label)

    @torch.inference_mode()
    def predict(self, features: Tensor) -> Labels:
        """For each attribute the index of its most probable value, (N,)."""
        logits = head_logits(self.classifier.heads, features.to(get_device()))
        return {name: values.argmax(dim=1).cpu() for name, values in logits.items()}


def portrait_images(series: PortraitDataset, indices: Iterable[int]) -> Tensor:
    """Some portraits of a series, (N, 3, H, W), uint8."""
    pixels = torch.from_numpy(series.pixels(indices, workers=2))
    return pixels.permute(0, 3, 1, 2).contiguous()  # (N, H, W, C) -> (N, C, H, W)


class Generator:
    """A stock `StableDiffusionPipeline` that generates lists of prompts in batches.

    Each text is encoded once. Image i starts from the noise of a CPU generator with seed i, as the
    pipeline itself would draw it, so the batch size changes nothing but speed.

    Parameters
    ----------
    folder : Path
        A diffusers folder.
    steps, guidance : int, float
        As in the pipeline's call.
    scheduler : str
        A name of `course_lib.pipelines.registry.SCHEDULERS`, or "own" for the folder's.
    batch_size : int
        Images at a time.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    """

    def __init__(
        self, folder: Path, *, steps: int, guidance: float, scheduler: str = "own",
        batch_size: int = 16,
    ):  # fmt: skip
        from diffusers import StableDiffusionPipeline

        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(
                f"No model at {folder}. Train one:  python -m course_lib.mini.train --folder runs"
            )
        check_classes(folder)
        with quiet():
            self.pipe = StableDiffusionPipeline.from_pretrained(
                folder,
                safety_checker=None,
                requires_safety_checker=False,
                local_files_only=True,
                use_safetensors=True,
            ).to(get_device())
        self.pipe.scheduler = make_scheduler(scheduler, self.pipe.scheduler)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.unet.to(memory_format=torch.channels_last)
        self.pipe.vae.to(memory_format=torch.channels_last)
        self.steps, self.guidance, self.batch_size = steps, guidance, batch_size

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], label: str | None = "images"
    ) -> Tensor:
        """One image for each prompt and seed, (N, 3, H, W), uint8, on the CPU.

        `label` is what the progress bar is called; with None there is none.
        """
        from tqdm.auto import tqdm

        distinct = list(dict.fromkeys(prompts))
        number = {text: i for i, text in enumerate(distinct)}
        states = torch.cat([self.encode(part) for part in batches(distinct, 64)])
        empty = self.encode([""])
        images = []
        options = {"unit": "image", "mininterval": 2, "disable": label is None}
        with tqdm(total=len(prompts), desc=label, **options) as bar:
            for chosen in batches(range(len(prompts)), self.batch_size):
                text = states[[number[prompts[i]] for i in chosen]]
                generators = [torch.Generator().manual_seed(seeds[i]) for i in chosen]
                output = self.pipe(
                    prompt_embeds=text,
                    negative_prompt_embeds=empty.expand_as(text),
                    num_inference_steps=self.steps,
                    guidance_scale=self.guidance,
                    generator=generators,
                    output_type="pt",  # (B, 3, H, W) in [0, 1]
                ).images
                images.append(output.float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu())
                bar.update(len(chosen))
        return torch.cat(images)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Hidden states of the text encoder, (B, 77, width)."""
        ids = token_ids(self.pipe.tokenizer, prompts).to(self.pipe.device)
        return self.pipe.text_encoder(ids)[0]

    @torch.inference_mode()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Through the autoencoder and back: (N, 3, H, W) uint8 -> floats in [-1, 1]."""
        vae, parts = self.pipe.vae, []
        for x in signed_batches(images, self.batch_size, vae.device):
            parts.append(vae.decode(vae.encode(x).latents).sample.clamp(-1, 1).float().cpu())
        return torch.cat(parts)


def batches(items: Sequence, size: int) -> list[Sequence]:
    """Consecutive slices of at most `size` items."""
    return [items[i : i + size] for i in range(0, len(items), size)]
