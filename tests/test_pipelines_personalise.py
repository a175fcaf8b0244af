"""Training on a folder: peft and diffusers as oracles, resume, early stop, the pipeline kept."""

from __future__ import annotations

import copy
import json
import re
import warnings

import numpy as np
import pytest
import torch
from personalise_models import portraits, small_pipe
from safetensors.torch import save_file

import course_lib as cl
from course_lib.losses import denoising_loss
from course_lib.mini.training.losses import DenoisingLoss
from course_lib.pipelines.personalisation import attached, previews, runs
from course_lib.pipelines.personalisation.attach import as_loras
from course_lib.pipelines.personalisation.denoising import denoising_error, schedule_of
from course_lib.pipelines.personalisation.examples import Examples, batch_of, split, text_conditions
from course_lib.pipelines.personalisation.lora_files import read_file
from course_lib.pipelines.personalisation.tokens import extra_tokens
from course_lib.pipelines.personalisation.weights import TrainedWeights

QUIET = {"progress": False, "verbose": False}


@pytest.fixture(scope="module")
def pipe(tokenizer):
    return small_pipe(tokenizer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return portraits(tmp_path_factory.mktemp("portraits"))


@pytest.fixture(scope="module")
def trained(pipe, folder, tmp_path_factory):
    """Files of the three methods, each trained for some steps."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(out / "cache"))
        return {
            method: cl.personalise(
                folder, name="ink", method=method, model=pipe, steps=12, batch_size=2, lr=2e-2,
                output=out / f"{method}.safetensors", preview_every=8, **QUIET,
            )
            for method in ("lora", "dreambooth", "textual-inversion")
        }  # fmt: skip


def answer(unet, text):
    """What a U-Net says to fixed noise."""
    x_t = torch.randn(1, 24, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return unet(x_t, torch.tensor([500]), text, return_dict=False)[0]


def text_of(pipe):
    return text_conditions(pipe, ["a woman"], 128)["encoder_hidden_states"]


def state_of(pipe):
    """All weights, the names of all layers, the words of the tokenizer."""
    weights = {**pipe.unet.state_dict(), **pipe.text_encoder.state_dict()}
    return {k: v.clone() for k, v in weights.items()}, pipe.tokenizer, len(pipe.tokenizer)


def assert_same_state(before, after):
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], value) for name, value in after[0].items())
    assert before[1] is after[1] and before[2] == after[2]


@pytest.mark.parametrize("method", ["lora", "dreambooth"])
def test_a_lora_is_the_stock_one(pipe, trained, method, tmp_path):
    path, text = trained[method], text_of(pipe)
    stock = copy.copy(pipe)
    stock.unet = copy.deepcopy(pipe.unet)
    stock.load_lora_weights(str(path.parent), weight_name=path.name)
    with attached(pipe, [(path, 1.0)]):
        ours = answer(pipe.unet, text)
    assert torch.equal(ours, answer(stock.unet, text))
    # By hand: W + (alpha / r) B A in every layer
    merged, tensors = copy.deepcopy(pipe.unet), read_file(path).tensors
    assert len(tensors) > 20
    for name in tensors:
        if ".lora_A." in name:
            weight = merged.get_submodule(name.removeprefix("unet.").partition(".lora")[0]).weight
            down, up = (tensors[n].float() for n in (name, name.replace("lora_A", "lora_B")))
            weight.data += (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    assert torch.allclose(ours, answer(merged, text), atol=1e-5)
    assert (ours - answer(pipe.unet, text)).abs().max() > 1e-3  # something was learned
    # Of a file with two kinds of names diffusers alone would load one
    mixed = {
        re.sub(r"(to_\w+|to_out\.0)\.lora_A", r"\1.lora.down", name): value
        for name, value in tensors.items()
    }
    mixed = {re.sub(r"(to_\w+|to_out\.0)\.lora_B", r"\1.lora.up", n): v for n, v in mixed.items()}
    assert {".lora.down." in name for name in mixed} == {True, False}
    save_file(mixed, tmp_path / "mixed.safetensors")
    with attached(pipe, [(tmp_path / "mixed.safetensors", 1.0)]):
        assert torch.equal(answer(pipe.unet, text), ours)


def test_half_the_scale_is_half_the_change_of_the_weights(pipe, trained):
    stock = copy.copy(pipe)
    stock.unet = copy.deepcopy(pipe.unet)
    stock.load_lora_weights(
        str(trained["lora"].parent), weight_name=trained["lora"].name, adapter_name="a"
    )
    stock.set_adapters(["a"], [0.5])
    with attached(pipe, [(trained["lora"], 0.5)]):
        assert torch.equal(answer(pipe.unet, text_of(pipe)), answer(stock.unet, text_of(pipe)))


def test_painting_leaves_the_pipeline_as_it_was(pipe, trained):
    before, state = cl.paint("a woman", pipe)[0], state_of(pipe)
    loras = [(trained["lora"], 0.7), trained["dreambooth"], trained["textual-inversion"]]
    other = cl.paint("a woman, <ink>", pipe, lora=loras)[0]
    assert_same_state(state, state_of(pipe))
    assert not getattr(pipe.unet, "peft_config", None)
    assert cl.paint("a woman", pipe)[0].tobytes() == before.tobytes() != other.tobytes()
    assert cl.paint("a woman", pipe, lora=(trained["lora"], 0))[0].tobytes() == before.tobytes()
    recorded = json.loads(other.info["course"])["loras"]
    assert [(r["file"], r["scale"], r["kind"]) for r in recorded] == [
        ("lora.safetensors", 0.7, "lora"), ("dreambooth.safetensors", 1, "lora"),
        ("textual-inversion.safetensors", 1, "embedding"),
    ]  # fmt: skip
    assert "<lora:lora:0.7> <lora:dreambooth:1>\n" in other.info["parameters"]
    assert f"dreambooth: {recorded[1]['hash']}" in other.info["parameters"]


def test_adapters_of_the_pipelines_own_come_back(pipe, trained, folder, tmp_path):
    own = copy.copy(pipe)
    own.unet = copy.deepcopy(pipe.unet)
    where = {"pretrained_model_name_or_path_or_dict": str(trained["dreambooth"].parent)}
    own.load_lora_weights(**where, weight_name="dreambooth.safetensors", adapter_name="mine")
    own.set_adapters(["mine"], [0.3])
    text = text_of(pipe)
    alone = answer(own.unet, text)
    with attached(own, [(trained["lora"], 0.7)]):
        both = answer(own.unet, text)
    assert torch.equal(answer(own.unet, text), alone)
    with attached(pipe, [(trained["dreambooth"], 0.3), (trained["lora"], 0.7)]):
        assert torch.allclose(answer(pipe.unet, text), both, atol=1e-6)
    with pytest.raises(ValueError, match="unload_lora_weights"):
        cl.personalise(folder, name="x", model=own, output=tmp_path / "x.safetensors", **QUIET)


def test_a_textual_inversion_is_the_stock_one(pipe, trained):
    path = trained["textual-inversion"]
    (rows,) = read_file(path).tensors.values()
    assert rows.shape[0] == 2 and not torch.equal(rows[0], rows[1])
    stock = copy.copy(pipe)
    stock.tokenizer, stock.text_encoder = copy.deepcopy((pipe.tokenizer, pipe.text_encoder))
    stock.load_textual_inversion(str(path.parent), weight_name=path.name, token="<ink>")
    prompt = "a portrait of <ink>, smiling"
    with extra_tokens(pipe, {"<ink>": rows}):
        ours = cl.encode_prompt(pipe, prompt)[0]
    assert torch.equal(ours, cl.encode_prompt(stock, prompt)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not torch.equal(ours, cl.encode_prompt(pipe, prompt)[0])


def test_a_run_that_was_stopped_goes_on_bit_for_bit(pipe, folder, tmp_path, monkeypatch):
    options = {"name": "ink", "model": pipe, "steps": 14, "batch_size": 2, "preview_every": 5}
    whole = cl.personalise(folder, output=tmp_path / "a.safetensors", **options, **QUIET)
    state = state_of(pipe)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "save_preview", stop)
        cl.personalise(folder, output=tmp_path / "b.safetensors", **options, **QUIET)
    assert_same_state(state, state_of(pipe))
    assert (tmp_path / "b.checkpoint.safetensors").is_file()
    with pytest.raises(ValueError, match="belongs to another run: .*lr was"):
        cl.personalise(folder, output=tmp_path / "b.safetensors", lr=1e-3, **options, **QUIET)
    resumed = cl.personalise(folder, output=tmp_path / "b.safetensors", **options, **QUIET)
    one, other = read_file(whole), read_file(resumed)
    assert one.header == other.header  # its entries have no fixed order in the file
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(other.tensors[name], value) for name, value in one.tensors.items())
    made = {path.name for path in tmp_path.iterdir()} | {"b-preview-0005.png"}  # not in time
    assert made == {f"{n}{end}" for n in "ab" for end in
                    (".safetensors", "-preview-0005.png", "-preview-0010.png")}  # fmt: skip


def test_it_stops_early_and_writes_the_best_weights(pipe, folder, tmp_path, monkeypatch, capsys):
    measured = iter([1.0, 0.9, 0.5, 0.6, 0.7, 0.4])  # the first one is that of the untrained model
    monkeypatch.setattr(runs, "mean_error", lambda *_: next(measured))
    kept = {}
    keep = TrainedWeights.keep

    def remember(self, step):
        kept[step] = [p.detach().half() for p in self.live]
        keep(self, step)

    monkeypatch.setattr(TrainedWeights, "keep", remember)
    path = cl.personalise(
        folder, name="ink", model=pipe, steps=16, batch_size=2, patience=2,
        output=tmp_path / "x.safetensors", progress=False,
    )  # fmt: skip
    info = read_file(path).info
    assert (info["steps"], info["best_step"]) == (8, 4)  # measured at every second step
    assert (info["held_out_before"], info["held_out"]) == (1.0, 0.5)
    assert "8 steps (stopped early)" in capsys.readouterr().out
    best = sorted(p.sum().item() for p in kept[4])
    assert best == sorted(t.sum().item() for t in read_file(path).tensors.values())


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
def test_the_loss_is_that_of_what_the_model_predicts(tokenizer, prediction):
    pipe = small_pipe(tokenizer, prediction)
    schedule, unet, text = schedule_of(pipe), pipe.unet, text_of(pipe).repeat(4, 1, 1)
    assert torch.allclose(schedule.alphas_cumprod.float(), pipe.scheduler.alphas_cumprod, atol=1e-6)
    generator = torch.Generator().manual_seed(1)
    x_0, noise = torch.randn(2, 4, 24, 16, 16, generator=generator)
    t = torch.tensor([0, 90, 500, 999])
    kind = {"sample": "x0", "epsilon": "eps", "v_prediction": "v"}[prediction]
    conditions = {"encoder_hidden_states": text}
    ours = denoising_error(unet, schedule, kind, x_0, noise, t, conditions)
    if prediction == "sample":
        torch.manual_seed(2)
        theirs = DenoisingLoss(unet, schedule)(x_0, t, text)
        torch.manual_seed(2)
        drawn = torch.randn_like(x_0)
        ours = denoising_error(unet, schedule, kind, x_0, drawn, t, conditions)
    else:
        told = lambda x_t, t: unet(x_t, t, text)  # noqa: E731
        theirs = denoising_loss(told, x_0, schedule, t=t, noise=noise, prediction=kind)
    assert torch.allclose(ours, theirs, rtol=1e-5)


def test_a_batch_of_dreambooth_is_half_the_classes_pictures(pipe):
    told = torch.ones(5, 2, 3)
    make = lambda value: Examples(  # noqa: E731
        torch.full((5, 1, 2, 2), value), {"text": told * value}, {"text": torch.zeros(1, 2, 3)}
    )
    schedule = schedule_of(pipe)
    draw = batch_of([make(1.0), make(2.0)], [2, 2], schedule, seed=0, drop=0.5)
    rows = [draw(step, torch.Generator().manual_seed(step)) for step in range(40)]
    assert all(x_0[:, 0, 0, 0].tolist() == [1, 1, 2, 2] for x_0, *_ in rows)
    seen = torch.cat([text["text"][:, 0, 0] for *_, text in rows])
    assert 0.35 < (seen == 0).float().mean() < 0.65  # the empty prompt
    inside, held_out = split(11, seed=3)
    assert len(held_out) == 2 and sorted([*inside.tolist(), *held_out.tolist()]) == list(range(11))


def test_class_pictures_are_painted_once(pipe, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    images = previews.paint_prior(pipe, "a portrait of a woman", 3, 128)
    stock = cl.paint("a portrait of a woman", pipe, n=3)
    assert torch.equal(images[1], cl.from_pil(stock[1]))
    monkeypatch.setattr(previews, "paint", lambda *_, **__: pytest.fail("painted again"))
    assert torch.equal(previews.paint_prior(pipe, "a portrait of a woman", 3, 128), images)


def test_the_recipe_finds_the_file_again(pipe, trained, tmp_path, monkeypatch):
    lora = tmp_path / "lora.safetensors"
    lora.write_bytes(trained["lora"].read_bytes())
    picture = tmp_path / "p.png"
    image = cl.paint("a woman", pipe, lora=(lora, 0.5), seed=3)[0]
    image.save(picture)
    assert cl.repaint(picture, pipe)[0].tobytes() == image.tobytes()
    lora.write_bytes(trained["dreambooth"].read_bytes())  # another file of the same name
    with pytest.warns(UserWarning, match=r"lora\.safetensors \(scale 0\.5\).*--lora"):
        again = cl.repaint(picture, pipe)[0]
    assert again.tobytes() == cl.paint("a woman", pipe, seed=3)[0].tobytes()
    recipe = json.loads(image.info["course"])
    for loras in ("x", [{"file": "x"}], [recipe["loras"][0] | {"scale": "much"}]):
        image.info["course"] = json.dumps(recipe | {"loras": loras})
        with pytest.raises(ValueError, match="lora"):
            cl.repaint(image, pipe)


def test_files_and_scales_are_understood():
    assert [scale for _, scale in as_loras(["a", ("b", 0.5)])] == [1.0, 0.5]
    assert as_loras(None) == [] and len(as_loras("a.safetensors")) == 1
    for wrong in (3, ("a", "b", 1), [None]):
        with pytest.raises(TypeError, match="lora must be a file"):
            as_loras(wrong)
    with pytest.raises(ValueError, match="from -10 to 10"):
        as_loras(("a", np.nan))
