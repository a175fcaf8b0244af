"""Train the LoRAs and the word that lesson 07 loads, and compare ranks and steps.

    OMP_NUM_THREADS=1 python tools/train_personal_models.py

writes into data/models/lora a style, one person with and without prior preservation, and the same
person as a word, and into data/experiments/lora.json the held-out loss for several ranks and steps.
All are trained on portraits that the course paints, in about ten minutes of one CPU core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.device import make_generator  # noqa: E402
from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.mini.config import MINI_DATA  # noqa: E402
from course_lib.mini.data import mini_series  # noqa: E402
from course_lib.mini.sitter import paint_scenes, scene_caption, sitter_scenes  # noqa: E402
from course_lib.pipelines import load_pipeline, paint  # noqa: E402
from course_lib.pipelines.personalisation import methods  # noqa: E402
from course_lib.pipelines.personalisation.denoising import schedule_of  # noqa: E402
from course_lib.pipelines.personalisation.examples import (  # noqa: E402
    Examples,
    batch_of,
    encode_images,
)
from course_lib.pipelines.personalisation.lora_files import architecture, write_file  # noqa: E402
from course_lib.pipelines.personalisation.settings import RECIPES, Recipe  # noqa: E402
from course_lib.portraits import full_caption  # noqa: E402
from course_lib.tensors import from_pil  # noqa: E402

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# A word acts where the prompt enters: in the attention, and in the vector that it is pooled into
PROMPT = (*ATTENTION, "add_embedding.proj", "k_proj", "v_proj")
# The class's pictures have the person's captions but for who it is, so that only the word tells
# them apart. With "a portrait of a woman" for all of them any woman in a longer prompt became the
# person; with other scenes the scene decided instead of the word
CLASS = "a woman"
STYLES = {"live": ("pop art", 70), "shipped": ("oil painting", 70)}  # style, series of people
HELD_OUT_SERIES, TIMES = 71, (60, 200, 400, 600, 800, 940)
RANKS, RANK_STEPS = (1, 4, 16), (40, 120, 240)


@dataclass(frozen=True)
class Model:
    """What is trained under one file name.

    Attributes
    ----------
    recipe : Recipe
        Its `batch_size` counts pictures of the folder alone, its `prior` pictures of the class.
    subject : str
        What stands for it in prompts.
    says : str
        For the model card.
    """

    method: str
    recipe: Recipe
    subject: str
    says: str


_LORA = replace(RECIPES["mini", "lora"], lr=3e-3)
_PERSON = Recipe(steps=150, lr=4e-3, batch_size=2, rank=2, targets=PROMPT)
MODELS = {
    "oil": Model("lora", replace(_LORA, steps=150, rank=1), "oil painting",
                 "the style of twelve oil paintings"),
    "wilhelmina": Model("dreambooth", replace(_PERSON, prior=24), "wilhelmina woman",
                  "one woman in six pictures, with prior preservation"),
    "wilhelmina-no-prior": Model("dreambooth", _PERSON, "wilhelmina woman",
                           "the same without prior preservation"),
    "wilhelmina-word": Model("textual-inversion", Recipe(150, 2e-2, 4, 2), "<wilhelmina>",
                       "the same woman as a word of two tokens"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    pipe = load_pipeline("mini", verbose=False)
    pipe.set_progress_bar_config(disable=True)
    for name in options.only:
        began = time.process_time()
        path = train_model(pipe, name, options.output, options.steps)
        print(f"{path}: {time.process_time() - began:.0f} s of CPU", flush=True)
    if set(options.only) == set(MODELS):
        write_sums(options.output)
    if options.table:
        began = time.process_time()
        text = json.dumps(compare_ranks(pipe, options.steps), indent=1)
        write_atomically(options.table, (text + "\n").encode())
        print(f"{options.table}: {time.process_time() - began:.0f} s of CPU", flush=True)
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = ROOT / "data"
    parser.add_argument("--output", type=Path, default=data / "models" / "lora", help="folder")
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--table", type=Path, default=data / "experiments" / "lora.json")
    parser.add_argument("--no-table", dest="table", action="store_const", const=None)
    parser.add_argument("--steps", type=int, help="of every training; default: the recipes'")
    return parser.parse_args(arguments)


def style_pictures(style: str, count: int, seed: int) -> tuple[Tensor, list[str]]:
    """Portraits of a style (N, 3, 128, 128) in [-1, 1], and full captions."""
    data = replace(MINI_DATA, only={**MINI_DATA.only, "style": (style,)})
    series = mini_series(count, seed=seed, data=data)
    return series.images(), [full_caption(series.attributes(i)) for i in range(count)]


def pictures_of(name: str) -> tuple[Tensor, list[str]]:
    """What a model is trained on: twelve portraits of a style, or six of the sitter."""
    model = MODELS[name]
    if model.method == "lora":
        return style_pictures(*(STYLES["shipped"][0], 12, STYLES["shipped"][1]))
    scenes = sitter_scenes(6)
    return paint_scenes(scenes), [scene_caption(scene, model.subject) for scene in scenes]


def train_model(pipe, name: str, folder: Path, steps: int | None) -> Path:
    """Train one of `MODELS` and write its file."""
    model = MODELS[name]
    recipe = replace(model.recipe, steps=steps or model.recipe.steps)
    images, captions = pictures_of(name)
    with methods.frozen(pipe):
        if recipe.prior:
            scenes = sitter_scenes(6) * (recipe.prior // 6)
            prompts = [scene_caption(scene, CLASS) for scene in scenes]
            images = torch.cat([images, paint_class(pipe, prompts)])
            captions += prompts
        latents = encode_images(pipe, images)
        with method_of(pipe, model, recipe) as trained:
            fit(pipe, trained, examples_of(trained, latents, captions), recipe)
            tensors, header = trained.file("diffusers")
    info = {
        "method": model.method, "name": name, "subject": model.subject, "model": "mini",
        "architecture": architecture(pipe.unet), "rank": recipe.rank, "steps": recipe.steps,
        "lr": recipe.lr, "batch_size": recipe.batch_size, "prior": recipe.prior,
        "pictures": len(images) - recipe.prior,
        "consent": {"needed": False, "reason": "the pictures are painted by this course"},
    }  # fmt: skip
    return write_file(folder / f"{name}.safetensors", tensors, header, info)


def method_of(pipe, model: Model, recipe: Recipe):
    """The context in which the adapter is trained."""
    if model.method == "textual-inversion":
        return methods.textual_inversion(pipe, recipe, model.subject, "woman")
    return methods.lora(pipe, recipe, images_size(pipe), seed=0)


def images_size(pipe) -> int:
    return pipe.unet.config.sample_size * pipe.vae_scale_factor


def paint_class(pipe, prompts: Sequence[str]) -> Tensor:
    """Pictures of the class that the model paints itself, one a prompt, from seeds 1000 on."""
    images = [paint(text, pipe, seed=1000 + k)[0] for k, text in enumerate(prompts)]
    return torch.stack([from_pil(image) for image in images])


def examples_of(trained, latents: Tensor, captions: list[str]) -> Examples:
    told = trained.conditions([*captions, ""])
    own = {name: rows[:-1] for name, rows in told.items()}
    return Examples(latents, own, {name: rows[-1:] for name, rows in told.items()})


def fit(pipe, trained, examples: Examples, recipe: Recipe, *, at=None) -> None:
    """AdamW with a constant learning rate after ten steps; `at(step)` is called before each.

    With prior preservation every batch holds as many pictures of the class besides, whose loss
    counts as much (arXiv:2208.12242, equation 2 with lambda = 1).
    """
    count = len(examples) - recipe.prior
    parts, sizes = [examples.rows(torch.arange(count))], [recipe.batch_size]
    if recipe.prior:
        parts.append(examples.rows(torch.arange(count, len(examples))))
        sizes *= 2
    draw = batch_of(parts, sizes, schedule_of(pipe), seed=0, drop=recipe.drop)
    optimizer = torch.optim.AdamW(trained.weights.live, lr=recipe.lr, weight_decay=0.0)
    generator = make_generator(0)
    for step in range(recipe.steps):
        if at:
            at(step)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * min(1.0, (step + 1) / 10)
        loss = trained.loss(*draw(step, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if at:
        at(recipe.steps)


def compare_ranks(pipe, steps: int | None) -> dict:
    """Loss on the twelve training pictures and on held-out ones, by rank and steps."""
    style, seed = STYLES["live"]
    own, other = style_pictures(style, 12, seed), style_pictures(style, 24, HELD_OUT_SERIES)
    latents = [encode_images(pipe, images) for images, _ in (own, other)]
    wanted = (steps,) if steps else RANK_STEPS
    rows = []
    for rank in RANKS:
        recipe = replace(_LORA, rank=rank, steps=max(wanted))
        with methods.frozen(pipe), methods.lora(pipe, recipe, images_size(pipe), 0) as trained:
            examples = [
                examples_of(trained, z, captions)
                for z, (_, captions) in zip(latents, (own, other), strict=True)
            ]

            def measure(step: int, rank=rank, trained=trained, examples=examples) -> None:
                if step in (0, *wanted):
                    values = [fixed_loss(pipe, trained, part) for part in examples]
                    size = sum(p.numel() for p in trained.weights.live)
                    names = ("rank", "steps", "numbers", "training", "held_out")
                    rows.append(dict(zip(names, (rank, step, size, *values), strict=True)))

            fit(pipe, trained, examples[0], recipe, at=measure)
    return {
        "style": style, "pictures": 12, "held_out": 24, "lr": _LORA.lr, "batch_size": 4,
        "times": TIMES, "targets": _LORA.targets, "rows": rows,
    }  # fmt: skip


@torch.no_grad()
def fixed_loss(pipe, trained, examples: Examples) -> float:
    """The loss at six fixed timesteps of every picture, with noise from seed 1."""
    generator, total = make_generator(1), 0.0
    for t in TIMES:
        noise = torch.randn(examples.latents.shape, generator=generator)
        times = torch.full((len(examples),), t)
        total += trained.loss(examples.latents, noise, times, examples.conditions).item()
    return round(total / len(TIMES), 4)


def write_sums(folder: Path) -> Path:
    """SHA256SUMS over the weights, as sha256sum writes it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.glob("*.safetensors"))
    ]
    return write_atomically(folder / "SHA256SUMS", "".join(lines).encode())


if __name__ == "__main__":
    sys.exit(main())
