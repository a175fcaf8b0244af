"""What `personalise` refuses, what it writes, and the command line."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import shutil
import stat

import numpy as np
import pytest
import torch
from personalise_models import portraits, small_pipe
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from test_pipelines_models import scheduler, small_xl, text_config

import course_lib as cl
from course_lib.__main__ import main
from course_lib.pipelines.personalisation import attached, lora_files, methods, settings
from course_lib.pipelines.personalisation.commands import lora_argument
from course_lib.pipelines.personalisation.consent import WORDING, is_painted
from course_lib.pipelines.personalisation.lora_files import read_file
from course_lib.pipelines.personalisation.pictures import read_pictures
from course_lib.pipelines.personalisation.settings import RECIPES, recipe_for

QUIET = {"progress": False, "verbose": False}
LORA = {"method": "lora", "subject": "ink", "caption": None}


@pytest.fixture(scope="module")
def pipe(tokenizer):
    return small_pipe(tokenizer)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return portraits(tmp_path_factory.mktemp("portraits"))


@pytest.fixture
def folder(originals, tmp_path):
    shutil.copytree(originals, tmp_path / "mine")
    return tmp_path / "mine"


def without_marks(folder):
    """The same pictures, as a camera would leave them: nothing says who painted them."""
    (folder / "metadata.jsonl").unlink()
    return folder


def keep(folder, count):
    for path in sorted(folder.glob("*.png"))[count:]:
        path.unlink()
    return without_marks(folder)


def copies(folder):
    without_marks(folder)
    first, *rest = sorted(folder.glob("*.png"))
    for number, path in enumerate(rest):
        image = np.asarray(Image.open(first)).astype(int)
        Image.fromarray((image + number % 2).clip(0, 255).astype(np.uint8)).save(path)
    return folder


def broken(folder):
    without_marks(folder)
    for path in sorted(folder.glob("*.png"))[2:]:
        path.write_bytes(path.read_bytes()[:300])
    return folder


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (lambda f: f / "nowhere", {}, "There is no folder"),
        (lambda f: f / "0000.png", {}, "is a file; give the folder"),
        (lambda f: keep(f, 0), {}, "no picture in"),
        (lambda f: keep(f, 3), {}, "3 usable pictures, and lora needs at least 4"),
        (lambda f: keep(f, 2), {"method": "dreambooth"}, "dreambooth needs at least 3"),
        (lambda f: keep(f, 1), {"method": "textual-inversion"}, "1 usable picture, and"),
        (copies, {}, "6 pictures, but only 1 of them differ"),
        (broken, {}, "2 usable pictures"),
        (without_marks, {}, "may show real people.*consent=True"),
        (without_marks, {"consent": "no"}, "may show real people"),
        (lambda f: f, {"method": "lorra"}, "Unknown method 'lorra'. Did you mean 'lora'"),
        (lambda f: f, {"model": "mimi"}, "Unknown model 'mimi'. Did you mean 'mini'"),
        (lambda f: f, {"format": "ckpt"}, "Unknown format"),
        (lambda f: f, {"format": "kohya"}, "no such program loads the mini"),
        (lambda f: f, {"name": "two words"}, "name must be one word"),
        (lambda f: f, {"name": "a/b"}, "name must be one word"),
        (lambda f: f, {"output": "x.ckpt"}, "must end in .safetensors"),
        (lambda f: f, {"output": "mine/x.safetensors"}, "lies in the folder of the pictures"),
        (lambda f: f, {"output": "mine/0000.png/x.safetensors"}, "cannot write to"),
        (lambda f: f, {"caption": "a person"}, "must contain 'ink'"),
        (lambda f: f, {"steps": 0}, "steps must be a whole number"),
        (lambda f: f, {"lr": 2.0}, "lr must be a number"),
        (lambda f: f, {"minutes": 0}, "minutes must be a positive number"),
        (lambda f: f, {"patience": 0}, "patience must be"),
        (lambda f: f, {"preview_every": -1}, "preview_every must be"),
        (lambda f: f, {"seed": -1}, "seed must be"),
        (lambda f: f, {"method": "dreambooth", "batch_size": 3}, "batch_size must be even"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:In '.*skipped")
def test_what_cannot_be_trained_is_one_sentence(
    pipe, folder, tmp_path, monkeypatch, spoil, options, words
):
    monkeypatch.chdir(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        cl.personalise(spoil(folder), **({"name": "ink", "model": pipe} | QUIET | options))
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == there  # nothing was written
    assert not getattr(pipe.unet, "peft_config", None)


def test_an_output_that_exists_is_kept(pipe, folder, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"precious")
    options = {"name": "ink", "model": pipe, "output": path, "steps": 1, "batch_size": 1} | QUIET
    with pytest.raises(ValueError, match="exists already.*--overwrite"):
        cl.personalise(folder, **options)
    assert path.read_bytes() == b"precious"
    assert read_file(cl.personalise(folder, overwrite=True, **options)).info["method"] == "lora"


def test_a_full_disk_loses_nothing(pipe, folder, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"precious")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    options = {"name": "ink", "model": pipe, "steps": 1, "batch_size": 1, "overwrite": True}
    with pytest.raises(OSError, match="cannot write .*No space left.*are free"):
        cl.personalise(folder, output=path, **options, **QUIET)
    assert path.read_bytes() == b"precious"
    assert not getattr(pipe.unet, "peft_config", None)


def test_what_is_said_of_a_folder(folder):
    found = read_pictures(folder, 128, **LORA)
    assert len(found.notes) == 1 and found.notes[0].startswith("Captions from the folder")
    Image.open(folder / "0000.png").resize((90, 200)).save(folder / "0000.png")
    without_marks(folder)
    (folder / "0001.txt").write_text("a smiling man", encoding="utf-8")
    with pytest.warns(UserWarning, match="5 of 6 pictures are without a caption"):
        found = read_pictures(folder, 64, **LORA)
    assert found.images.shape == (6, 3, 64, 64)
    assert "2 different sizes, with edges from 90 to 200 pixels" in found.notes[0]
    assert "5 of 6 pictures have no caption" in found.notes[1]
    assert found.captions[:2] == ["a portrait in the style of ink", "a smiling man"]
    with pytest.warns(UserWarning, match="without a caption"):
        one = read_pictures(folder, 64, method="dreambooth", subject="anna woman", caption=None)
    assert one.captions[0] == "a portrait of anna woman"
    assert one.captions[1] == "a portrait of anna woman, a smiling man"
    with pytest.warns(UserWarning, match="without a caption"):
        given = read_pictures(folder, 64, **LORA | {"caption": "an ink portrait"})
    assert given.captions == ["an ink portrait"] * 6


def test_consent_is_asked_for_and_kept(pipe, folder, tmp_path):
    options = {"name": "ink", "model": pipe, "steps": 1, "batch_size": 1} | QUIET
    path = cl.personalise(folder, output=tmp_path / "a.safetensors", **options)
    assert read_file(path).info["consent"]["needed"] is False
    without_marks(folder)
    with pytest.warns(UserWarning, match="without a caption"):
        path = cl.personalise(folder, output=tmp_path / "b.safetensors", consent=True, **options)
    kept = read_file(path).info
    today = datetime.date.today().isoformat()
    assert kept["consent"] == {"needed": True, "given": True, "date": today, "wording": WORDING}
    assert kept["pictures"] == 6 and str(folder) not in json.dumps(kept)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_counts_as_painted_by_the_course(pipe, folder, tmp_path):
    pictures = sorted(folder.glob("*.png"))
    assert is_painted(folder, pictures)
    shutil.copy(pictures[0], folder / "photo.png")
    assert not is_painted(folder, [*pictures, folder / "photo.png"])
    image = cl.paint("a woman", pipe)[0]
    recipe, bare = json.loads(image.info["course"]), Image.fromarray(np.asarray(image))
    for changes, expected in (
        ({"model": "mini"}, True), ({"model": "sd15"}, False),
        ({"model": "mini", "loras": [{"name": "anna"}]}, False),
        ({"model": "mini", "init_image": "photo"}, False),
    ):  # fmt: skip
        chunk = PngInfo()
        chunk.add_text("course", json.dumps(recipe | changes))
        bare.save(tmp_path / "p.png", pnginfo=chunk)
        assert is_painted(tmp_path, [tmp_path / "p.png"]) is expected
    (folder / "metadata.jsonl").write_text('{"file_name": "0000.png", "attributes": {"age": "x"}}')
    assert not is_painted(folder, pictures[:1])


@pytest.fixture(scope="module")
def small_sd(tokenizer):
    """Stable Diffusion 1's structure, with channels for tests."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    config = text_config(tokenizer, 32, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2)  # fmt: skip
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=2, sample_size=8, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=4,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=32,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(16,) * 4, layers_per_block=1, norm_num_groups=8, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(config), tokenizer=tokenizer, unet=unet,
        scheduler=scheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    return cl.load_pipeline(pipe, "cpu", verbose=False)


@pytest.mark.parametrize("format", settings.FORMATS)
def test_stable_diffusion_in_both_formats(small_sd, folder, tmp_path, format):
    """SD 1's key names; rank and alpha survive stock loading; another model's file is refused."""
    path = cl.personalise(
        folder, name="ink", model=small_sd, steps=3, batch_size=1, lr=0.05, format=format,
        output=tmp_path / "x.safetensors", **QUIET,
    )  # fmt: skip
    found = read_file(path)
    block = "down_blocks{0}0{0}attentions{0}0{0}transformer_blocks{0}0{0}attn2{0}to_k"
    if format == "kohya":
        place = "lora_unet_" + block.format("_")
        ends = {".lora_down.weight", ".lora_up.weight", ".alpha"}
        assert {k.removeprefix(place) for k in found.tensors if k.startswith(place)} == ends
        assert found.tensors[place + ".alpha"] == 16 and found.header["ss_network_alpha"] == "16"
    else:
        assert any(key.startswith("unet." + block.format(".")) for key in found.tensors)
    text = torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(1))
    x_t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def answer():
        with torch.no_grad():
            return small_sd.unet(x_t, torch.tensor([500]), text, return_dict=False)[0]

    alone = answer()
    with attached(small_sd, [(path, 1.0)]):
        ours = answer()
    assert torch.equal(answer(), alone) and (ours - alone).abs().max() > 1e-4
    small_sd.load_lora_weights(str(tmp_path), weight_name=path.name)
    stock = answer()
    small_sd.unload_lora_weights()
    assert torch.equal(stock, ours)


@pytest.mark.parametrize("rank, alpha", [(4, 8), (4, 2)])
@pytest.mark.parametrize("format", settings.FORMATS)
def test_alpha_survives_where_it_is_not_the_rank(small_sd, tmp_path, format, rank, alpha):
    from peft import LoraConfig

    unet = small_sd.unet
    torch.manual_seed(0)
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights=False, target_modules=["to_k"]),
        adapter_name=lora_files.ADAPTER,
    )
    tensors, header = lora_files.lora_tensors(unet, format)
    unet.unload_lora()
    path = lora_files.write_file(tmp_path / "x.safetensors", tensors, header, {})
    with attached(small_sd, [(path, 1.0)]):
        layers = [m for m in unet.modules() if getattr(m, "scaling", None)]
        assert layers and all(m.scaling == {"course_0": alpha / rank} for m in layers)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sdxl_is_told_sizes_and_pooled_text(tokenizer, folder, tmp_path):
    xl = cl.load_pipeline(small_xl(tokenizer), "cpu", verbose=False)
    options = {"name": "ink", "model": xl, "steps": 1, "batch_size": 1} | QUIET
    path = cl.personalise(folder, output=tmp_path / "x.safetensors", **options)
    assert read_file(path).info["architecture"]["cross_attention_dim"] == 64
    with pytest.raises(ValueError, match="not offered for SDXL"):
        cl.personalise(folder, method="textual-inversion", output=tmp_path / "y.safetensors",
                       **options)  # fmt: skip


def refused(pipe, path, words):
    state = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        cl.paint("a woman", pipe, lora=path)
    assert state.keys() == pipe.unet.state_dict().keys()  # nothing was changed


def test_files_that_cannot_be_used_are_refused_before_anything_changes(
    pipe, small_sd, folder, tmp_path
):
    options = {"name": "ink", "model": small_sd, "steps": 1, "batch_size": 1} | QUIET
    path = cl.personalise(folder, output=tmp_path / "x.safetensors", **options)
    refused(pipe, path, "was made for 'own', and the U-Net of")
    found = read_file(path)
    save_file(found.tensors, tmp_path / "other.safetensors")  # of another program: no such note
    refused(
        pipe, tmp_path / "other.safetensors", "was made for another model: it changes the layer"
    )
    (tmp_path / "x.pt").write_bytes(pickle.dumps({}))
    refused(pipe, tmp_path / "x.pt", "can run any code")
    (tmp_path / "p.safetensors").write_bytes(pickle.dumps({"a": 1}))
    refused(pipe, tmp_path / "p.safetensors", "no readable safetensors file")
    refused(pipe, tmp_path / "none.safetensors", "There is no file")
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "w.safetensors")
    refused(pipe, tmp_path / "w.safetensors", "neither a LoRA nor a textual inversion")
    save_file({"<x>": torch.zeros(1, 99)}, tmp_path / "t.safetensors")
    refused(pipe, tmp_path / "t.safetensors", "its embeddings have 99 numbers.*reads 16")
    save_file({"<x>": torch.zeros(1, 16)}, tmp_path / "s.safetensors")
    refused(pipe, (tmp_path / "s.safetensors", 0.5), "which has no scale")
    save_file({"a": torch.zeros(1, 16)}, tmp_path / "a.safetensors")
    refused(pipe, tmp_path / "a.safetensors", "has the word 'a' already")


def test_recipes_fit_their_layers(pipe, small_sd):
    for kind, network in (("mini", pipe), ("sd", small_sd)):
        targets = RECIPES[kind, "lora"].targets
        names = [name for name, _ in network.unet.named_modules()]
        assert all(any(name.endswith(f".{end}") for name in names) for end in targets)
    assert recipe_for("sd", "lora", steps=5, lr=None).steps == 5
    with methods.frozen(pipe):
        assert not any(p.requires_grad for p in pipe.unet.parameters())
    assert all(p.requires_grad for p in pipe.unet.parameters())


def test_the_command_trains_the_mini_and_paints_with_it(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["personalise", str(folder), "--name", "ink", "--steps", "2", "--batch-size", "1"]
    assert main([*arguments, "--preview-every", "2", "--preview-prompt", "a woman"]) == 0
    said = capsys.readouterr().out
    assert "1 held out" in said and "2 steps, held-out loss" in said
    assert Image.open("ink-preview-0002.png").size == (384, 128)
    assert read_file("ink.safetensors").info["model"] == "mini"
    assert main(["paint", "a woman", "--lora", "ink.safetensors:0.5", "--steps", "2"]) == 0
    recipe = cl.load_settings("portrait.png")
    assert recipe["loras"][0] | {"hash": ""} == {
        "name": "ink", "file": "ink.safetensors", "hash": "", "scale": 0.5, "kind": "lora"
    }  # fmt: skip
    assert main(["paint", "--from-image", "portrait.png", "-o", "again.png"]) == 0
    assert Image.open("again.png").tobytes() == Image.open("portrait.png").tobytes()
    capsys.readouterr()
    assert main(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    without_marks(folder)
    assert main([*arguments, "-o", "b.safetensors"]) == 1
    assert "--i-have-consent" in capsys.readouterr().err


def test_a_scale_follows_the_last_colon():
    assert [str(part) for part in lora_argument("a.safetensors:0.7")] == ["a.safetensors", "0.7"]
    assert [str(part) for part in lora_argument("C:x.safetensors")] == ["C:x.safetensors", "1.0"]
    assert lora_argument("a.safetensors")[1] == 1.0
