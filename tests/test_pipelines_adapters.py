"""Adapters: a sketch steers the mini, an image speaks as a prompt, and nothing of them stays."""

from __future__ import annotations

import importlib.util
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import course_lib as cl
from course_lib.device import make_generator
from course_lib.mini.data import HELD_OUT_SEED, mini_series
from course_lib.mini.image_prompt import _classifier, image_embeds, paint_like
from course_lib.pipelines.adapters import (
    ADAPTERS,
    edge_lines,
    ip_adapter,
    line_agreement,
    load_image_prompt,
    load_sketch_adapter,
    paint_with_sketch,
    sketch_of,
)
from course_lib.pipelines.tuning import dtype_keyword
from course_lib.tensors import from_pil, to_pil

PROMPT = "a portrait, flat illustration"


@pytest.fixture(scope="module")
def pipe():
    pipe = cl.load_pipeline("mini", "cpu", verbose=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def people():
    """Portraits of people that neither the mini nor an adapter was trained on."""
    series = mini_series(6, seed=HELD_OUT_SEED)
    return [to_pil(series[i][0]) for i in range(len(series))]


def pixels(image):
    return np.asarray(image).astype(int)


def same(one, other):
    return np.array_equal(pixels(one), pixels(other))


def disc(size=64, radius=20):
    """A gray disc on white, and a map of its distance from the circle."""
    image = Image.new("RGB", (size, size), "white")
    middle = (size - 1) / 2
    rows, columns = np.mgrid[:size, :size]
    far = np.hypot(rows - middle, columns - middle)
    image.putdata([(90, 90, 90) if d < radius else (255, 255, 255) for d in far.ravel()])
    return image, np.abs(far - radius)


def test_lines_lie_on_edges_and_are_thin():
    image, distance = disc()
    lines = pixels(sketch_of(image)) > 0
    assert distance[lines].max() < 1.5
    assert 0.8 < lines.sum() / (2 * np.pi * 20) < 1.3  # as many pixels as the circle is long
    assert line_agreement(image, sketch_of(image)) == 1
    assert line_agreement(Image.new("RGB", (64, 64)), sketch_of(image)) == 0


def test_slow_changes_of_color_are_no_lines():
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    assert not edge_lines(ramp).any()


def test_agreement_falls_with_distance():
    image, _ = disc()
    sketch = sketch_of(image)
    moved = Image.fromarray(np.roll(np.asarray(sketch), 2, axis=1))
    far = Image.fromarray(np.roll(np.asarray(sketch), 9, axis=1))
    assert line_agreement(image, moved) > 0.95
    assert line_agreement(image, far) < 0.5


def test_a_new_controlnet_changes_nothing(pipe):
    from diffusers import ControlNetModel

    unet = pipe.unet
    net = ControlNetModel.from_unet(unet, conditioning_channels=1).eval()
    x = torch.randn(2, 64, 16, 16, generator=make_generator(0))
    text, t = torch.randn(2, 77, 192, generator=make_generator(1)), torch.tensor([900, 300])
    lines = torch.rand(2, 1, 128, 128, generator=make_generator(2))
    with torch.no_grad():
        down, mid = net(x, t, text, lines, return_dict=False)
        given = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        assert torch.equal(unet(x, t, text, **given).sample, unet(x, t, text).sample)


def test_scale_0_is_the_picture_without_adapter(pipe, people):
    plain = cl.paint(PROMPT, pipe, n=2)
    sketch = sketch_of(people[0])
    steered = paint_with_sketch(PROMPT, sketch, pipe, n=2, adapter_conditioning_scale=0)
    assert all(same(a, b) for a, b in zip(plain, steered, strict=True))
    like = paint_like(people[0], PROMPT, n=2, ip_adapter_scale=0)
    assert all(same(a, b) for a, b in zip(plain, like, strict=True))


def test_the_stock_pipeline_loads_the_adapter_and_paints_the_same(pipe, people):
    from diffusers import StableDiffusionAdapterPipeline, T2IAdapter

    adapter = T2IAdapter.from_pretrained(ADAPTERS / "sketch", **{dtype_keyword(): torch.float32})
    parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
    stock = StableDiffusionAdapterPipeline(**parts, adapter=adapter, requires_safety_checker=False)
    stock.set_progress_bar_config(disable=True)
    sketch = sketch_of(people[1])
    lines = from_pil(sketch)[None, :1] / 2 + 0.5
    theirs = stock(
        PROMPT, lines, num_inference_steps=5, guidance_scale=2.5, generator=make_generator(3),
        adapter_conditioning_scale=0.8,
    ).images[0]  # fmt: skip
    ours = paint_with_sketch(PROMPT, sketch, pipe, seed=3, adapter_conditioning_scale=0.8)[0]
    assert np.abs(pixels(theirs) - pixels(ours)).max() <= 1  # rounding to bytes


def test_pictures_follow_their_own_sketch_more_than_another(pipe, people):
    sketches = [sketch_of(person) for person in people]
    agreement = {}
    for scale in (0, 1):
        options = {"adapter_conditioning_scale": scale}
        painted = [
            paint_with_sketch("a portrait", sketch, pipe, seed=i, **options)[0]
            for i, sketch in enumerate(sketches)
        ]
        table = np.array([[line_agreement(p, s) for s in sketches] for p in painted])
        own = table.diagonal().mean()
        other = (table.sum() - table.trace()) / (table.size - len(table))
        agreement[scale] = own, own - other
    assert agreement[1][1] > 0.1 > 2 * abs(agreement[0][1])
    assert agreement[1][0] > agreement[0][0] + 0.1


def test_pictures_resemble_the_image_that_is_their_prompt(pipe, people):
    painted = [paint_like(person)[0] for person in people]
    given = image_embeds(_classifier(), torch.stack([from_pil(p) for p in people]))
    found = image_embeds(_classifier(), torch.stack([from_pil(p) for p in painted]))
    cosines = found @ given.T / given.shape[-1]  # embeddings have the length sqrt(E)
    others = ~torch.eye(len(people), dtype=torch.bool)
    assert cosines.diagonal().mean() > cosines[others].mean() + 0.1


def test_an_image_prompt_leaves_nothing_behind(people):
    pipe = cl.pipelines.painting.pipeline_of("mini")
    before, processors = cl.paint(PROMPT)[0], dict(pipe.unet.attn_processors)
    image = paint_like(people[2], PROMPT)[0]
    assert not same(image, before) and same(cl.paint(PROMPT)[0], before)
    assert pipe.unet.attn_processors == processors and pipe.unet.encoder_hid_proj is None
    assert pipe.feature_extractor is None


def test_the_stock_call_with_an_image_prompt_paints_the_same(pipe, people):
    embeds = image_embeds(_classifier(), from_pil(people[3])[None])[:, None]
    with ip_adapter(pipe, load_image_prompt(), 0.7):
        theirs = pipe(
            "a portrait", ip_adapter_image_embeds=[torch.cat([0 * embeds, embeds])],
            num_inference_steps=5, guidance_scale=2.5, generator=make_generator(0),
        ).images[0]  # fmt: skip
    ours = paint_like(people[3], ip_adapter_scale=0.7)[0]
    assert np.abs(pixels(theirs) - pixels(ours)).max() <= 1


def test_the_recipe_says_that_a_sketch_was_used(pipe, people):
    image = paint_with_sketch(PROMPT, sketch_of(people[0]), pipe, adapter_conditioning_scale=0.5)[0]
    recipe = cl.load_settings(image)
    assert recipe["adapter_conditioning_scale"] == 0.5 and recipe["prompt"] == PROMPT
    with pytest.raises(ValueError, match="give that again, to paint_with_sketch"):
        cl.repaint(image)


def test_damaged_weights_are_refused(tmp_path):
    for name, load in (("sketch", load_sketch_adapter), ("image_prompt", load_image_prompt)):
        folder = shutil.copytree(ADAPTERS / name, tmp_path / name)
        weights = next(folder.glob("*.safetensors"))
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            load(folder)
        (folder / "SHA256SUMS").unlink()
        with pytest.raises(FileNotFoundError, match="SHA256SUMS is missing"):
            load(folder)


@pytest.mark.parametrize(
    ("sketch", "message"),
    [
        (Image.new("L", (128, 120)), "128 x 120"),
        (Image.new("RGB", (128, 128)), "mode RGB"),
        (Image.new("L", (128, 128), 255), "mostly white"),
        ("sketch.png", "not str"),
    ],
)
def test_a_wrong_sketch_is_named(pipe, sketch, message):
    with pytest.raises((TypeError, ValueError), match=message):
        paint_with_sketch(PROMPT, sketch, pipe)


def test_wrong_scales_images_and_adapters_are_named(pipe, people):
    from diffusers import T2IAdapter

    sketch = sketch_of(people[0])
    with pytest.raises(ValueError, match="adapter_conditioning_scale"):
        paint_with_sketch(PROMPT, sketch, pipe, adapter_conditioning_scale=float("nan"))
    with pytest.raises(ValueError, match="ip_adapter_scale"):
        paint_like(people[0], ip_adapter_scale=99)
    with pytest.raises(TypeError, match="PIL image"):
        paint_like("portrait.png")
    large = T2IAdapter(1, [32], 0, 16)
    with pytest.raises(ValueError, match="32 channels"):
        paint_with_sketch(PROMPT, sketch, pipe, adapter=large)
    drawn = Image.new("L", (128, 128))
    ImageDraw.Draw(drawn).ellipse((40, 30, 88, 90), outline=255)
    assert paint_with_sketch(PROMPT, drawn, pipe)[0].size == (128, 128)


@pytest.mark.parametrize("kind", ["sketch", "image-prompt"])
def test_the_tool_trains_an_adapter_of_the_shipped_size(kind, tmp_path, monkeypatch):
    script = ADAPTERS.parents[2] / "tools" / "train_adapters.py"
    spec = importlib.util.spec_from_file_location("train_adapters", script)
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, tool)  # its dataclass looks for its module
    spec.loader.exec_module(tool)
    output = tmp_path / "adapter"
    small = ["--steps", "2", "--portraits", "6", "--held-out", "2", "--batch-size", "2"]
    monkeypatch.setattr(sys, "argv", ["train_adapters.py", kind, *small, "--output", str(output)])
    tool.main()
    shipped = ADAPTERS / kind.replace("-", "_")
    assert {p.name for p in output.iterdir()} | {"README.md"} == {p.name for p in shipped.iterdir()}
    weights, known = (next(folder.glob("*.safetensors")) for folder in (output, shipped))
    assert weights.stat().st_size == pytest.approx(known.stat().st_size, rel=0.01)
    if kind == "sketch":
        load_sketch_adapter(output)
    else:
        load_image_prompt(output)
