"""The shipped LoRAs and the word of lesson 07: whole, loaded by stock diffusers, and of use."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace

import pytest
import torch

import course_lib as cl
from course_lib.mini import sitter
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import MINI_DATA
from course_lib.mini.data import mini_series
from course_lib.mini.models import noise_schedule
from course_lib.mini.training.losses import DenoisingLoss
from course_lib.pipelines.personalisation.attach import attached
from course_lib.pipelines.registry import SHIPPED
from course_lib.portraits import full_caption
from course_lib.weights import load_tensors

FOLDER = SHIPPED / "lora"
LORAS = ("wilhelmina", "wilhelmina-no-prior", "oil")


@pytest.fixture(scope="module")
def pipe():
    pipe = cl.load_pipeline("mini", verbose=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def classifier():
    return AttributeClassifier.load(SHIPPED / "mini")


def answer(pipe, text="an oil painting of wilhelmina woman"):
    x = torch.randn(1, 64, 16, 16, generator=cl.make_generator(0))
    with torch.no_grad():
        return pipe.unet(x, 500, cl.encode_prompt(pipe, text)[0]).sample


def test_the_files_are_whole_and_small():
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = sorted(FOLDER.glob("*.safetensors"))
    assert [path.name for path in files] == sorted(sums)
    assert {path.stem for path in files} == {*LORAS, "wilhelmina-word", "lcm"}
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sums[path.name]
        assert load_tensors(path)[1]["model"] == "mini"
        assert f"`{path.name}`" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in files) <= 360_000 + 700_000


@pytest.mark.parametrize("name", [*LORAS, "lcm"])
def test_stock_diffusers_loads_what_paint_uses(pipe, name):
    path, base = FOLDER / f"{name}.safetensors", answer(pipe)
    with attached(pipe, [(path, 1.0)]):
        ours = answer(pipe)
    pipe.load_lora_weights(FOLDER, weight_name=path.name, adapter_name="a", local_files_only=True)
    stock = answer(pipe)
    pipe.set_adapters("a", 0.0)
    off = answer(pipe)
    pipe.unload_lora_weights()
    assert torch.allclose(ours, stock, atol=1e-5) and (stock - base).abs().max() > 0.05
    assert torch.allclose(off, base, atol=1e-6) and torch.equal(answer(pipe), base)


@torch.no_grad()
def test_the_style_carries_over_to_people_it_was_not_trained_on(pipe):
    """With the LoRA, oil paintings of others are denoised better, and flat illustrations worse."""
    loss, errors = DenoisingLoss(pipe.unet, noise_schedule()), {}
    for style in ("oil painting", "flat illustration"):
        data = replace(MINI_DATA, only={**MINI_DATA.only, "style": (style,)})
        series = mini_series(16, seed=72, data=data)
        z = pipe.vae.encode(series.images()).latents * pipe.vae.config.scaling_factor
        texts = [full_caption(series.attributes(i)) for i in range(16)]
        for name, loras in (("base", []), ("lora", [(FOLDER / "oil.safetensors", 1.0)])):
            with attached(pipe, loras):
                torch.manual_seed(0)
                t = torch.arange(16) * 60 + 40
                errors[style, name] = loss(z, t, cl.encode_prompt(pipe, texts)[0]).item()
    assert errors["oil painting", "lora"] < 0.98 * errors["oil painting", "base"]
    assert errors["flat illustration", "lora"] > errors["flat illustration", "base"]


@torch.no_grad()
def test_the_sitter_is_painted_and_the_prior_keeps_other_women_from_becoming_her(pipe, classifier):
    scenes = sitter.sitter_scenes(4, seed=1)
    women = replace(MINI_DATA, only={**MINI_DATA.only, "gender": ("woman",)})
    others = classifier.features(mini_series(24, seed=2000, data=women).images())
    hers = classifier.features(sitter.paint_scenes(sitter.sitter_scenes(6)))

    def likeness(who, lora=None):
        texts = [sitter.scene_caption(scene, who) for scene in scenes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images = cl.paint(texts, pipe, lora=lora and FOLDER / f"{lora}.safetensors")
        x = torch.stack([cl.from_pil(image) for image in images])
        return sitter.likeness(classifier.features(x), hers, others).mean().item()

    base = likeness("wilhelmina woman")
    assert likeness("wilhelmina woman", "wilhelmina") > base + 0.3
    assert likeness("<wilhelmina>", "wilhelmina-word") > base + 0.2
    free, kept = likeness("a woman", "wilhelmina-no-prior"), likeness("a woman", "wilhelmina")
    assert kept < free - 0.15


def test_ranks_and_steps_were_compared():
    path = SHIPPED.parent / "experiments" / "lora.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    rows = {(row["rank"], row["steps"]): row for row in table["rows"]}
    assert path.stat().st_size < 40_000
    assert {rank for rank, _ in rows} == {1, 4, 16} and len(rows) == 12
    assert rows[4, 120]["held_out"] < 0.9 * rows[4, 0]["held_out"]
    gaps = [rows[rank, 240]["held_out"] - rows[rank, 240]["training"] for rank in (1, 4, 16)]
    assert gaps == sorted(gaps) and gaps[0] > 0  # the larger the rank, the more is memorised
