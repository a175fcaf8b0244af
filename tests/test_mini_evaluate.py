"""The mini's evaluation: each metric where it must react and where it must not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_models import CAPTIONS, smoke_models
from PIL import Image

from course_lib.mini import evaluate
from course_lib.mini.config import SMOKE, training_data
from course_lib.mini.data import HELD_OUT_SEED, TRAINING_SEED, load_portraits, mini_series
from course_lib.mini.evaluation import evaluators, looks, prompts, report
from course_lib.mini.evaluation.generate import EvaluationData, Generator
from course_lib.mini.tokenizer import train_tokenizer
from course_lib.mini.training.checkpoints import save_model
from course_lib.portraits import paint_portrait, parse_caption
from course_lib.portraits.attributes import VOCABULARY, Attributes, visible_attributes

STYLES = ("flat illustration", "pencil sketch", "pixel art")
TOOLS = Path(__file__).resolve().parent.parent / "tools"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny model folder with random weights, of three styles."""
    folder = tmp_path_factory.mktemp("models") / "mini"
    tokenizer = train_tokenizer(CAPTIONS, SMOKE.vocabulary)
    save_model(folder, smoke_models(tokenizer), tokenizer, training_data(STYLES))
    return folder


def config(model: Path, *more: str):
    return evaluate.parse_arguments(["--model", str(model), "--smoke", *more])[0]


@pytest.fixture
def data(model) -> EvaluationData:
    return EvaluationData(config(model))


# --- looks


def test_dyed_beards_are_seen_by_their_hue():
    def share(color: str) -> float:
        people = [
            Attributes(gender="man", facial_hair="beard", hair_color=color, style=style, skin=skin)
            for style in ("flat illustration", "watercolor", "oil painting", "pastel")
            for skin in ("pale", "tan", "dark")
        ]
        images = np.stack([paint_portrait(p, i, 128, 0.3) for i, p in enumerate(people)])
        images = torch.from_numpy(images).permute(0, 3, 1, 2)
        return (looks.dyed_share(images, looks.BEARD_BOX) > looks.DYED_SHARE).float().mean()

    assert share("blue") >= 0.9 and share("pink") >= 0.9
    for natural in ("brown", "blond", "red", "gray", "white"):
        assert share(natural) <= 0.1, natural
    violet = torch.tensor([140, 60, 200], dtype=torch.uint8)[None, :, None, None]
    assert looks.dyed_share(violet.expand(1, 3, 128, 128), looks.BEARD_BOX).item() == 1


# --- prompts


def test_prompts_of_held_out_people_are_long_true_and_always_the_same():
    series = mini_series(100, seed=HELD_OUT_SEED)
    people = [series.attributes(i) for i in range(100)]
    texts = [prompts.held_out_prompt(p, i, HELD_OUT_SEED) for i, p in enumerate(people)]
    for person, text in zip(people, texts, strict=True):
        said = parse_caption(text)
        assert len(said) >= prompts.LONG
        assert said.items() <= {k: getattr(person, k) for k in visible_attributes(person)}.items()
    assert texts == [prompts.held_out_prompt(p, i, HELD_OUT_SEED) for i, p in enumerate(people)]
    assert not set(texts) & set(mini_series(2000, seed=TRAINING_SEED).captions())


def test_paraphrases_are_unlike_captions_and_ask_for_every_value():
    pairs = prompts.paraphrases()
    assert len(pairs) >= 60
    used = {name: set() for name in VOCABULARY}
    for sentence, plain in pairs:
        said = parse_caption(plain)
        assert len(said) >= 3, plain
        for name, value in said.items():
            used[name].add(value)
        # Other words, in another order: no run of five words is the plain caption's
        words, others = sentence.lower().split(), plain.lower()
        runs = [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]
        assert not any(run in others for run in runs), sentence
    for name in evaluators.ADHERENCE:
        missing = set(VOCABULARY[name]) - used[name] - {"none", "gradient"}
        assert not missing, f"no sentence asks for {name} {missing}"
    known = prompts.known_paraphrases({"style": ["mosaic"], "pose": ["frontal"]})
    assert 0 < len(known) < len(pairs)
    assert all(parse_caption(plain).get("style", "mosaic") == "mosaic" for _, plain in known)


def test_prompts_with_open_colors_state_no_color():
    texts = prompts.bearded_man_prompts(STYLES, 4)
    assert [parse_caption(text)["style"] for text in texts] == [*STYLES, STYLES[0]]
    assert all("hair_color" not in parse_caption(text) for text in texts)


# --- generation


def test_images_are_those_of_the_stock_pipeline_whatever_the_batch(model):
    from diffusers import StableDiffusionPipeline

    texts = ["a woman", "an old man, pop art", "a woman"]
    ours = Generator(model, steps=2, guidance=3.0, batch_size=2).generate(texts, [4, 5, 6])
    assert ours.dtype == torch.uint8
    assert ours.shape == (3, 3, 128, 128)
    pipe = StableDiffusionPipeline.from_pretrained(
        model, safety_checker=None, requires_safety_checker=False
    )
    for i, (text, seed) in enumerate(zip(texts, (4, 5, 6), strict=True)):
        stock = pipe(
            text, num_inference_steps=2, guidance_scale=3.0, output_type="np",
            generator=torch.Generator().manual_seed(seed),
        ).images[0]  # fmt: skip
        # One step of 255 is what rounding may turn a float's last digits into
        assert np.abs(ours[i].permute(1, 2, 0).numpy() - 255 * stock).max() <= 1.01
    assert not torch.equal(ours[0], ours[2])


def test_samplers_and_their_steps_can_be_chosen(model):
    ddim = Generator(model, steps=4, guidance=1.0, scheduler="ddim")
    assert type(ddim.pipe.scheduler).__name__ == "DDIMScheduler"
    assert not torch.equal(
        ddim.generate(["a man"], [0]),
        Generator(model, steps=2, guidance=1.0, scheduler="ddim").generate(["a man"], [0]),
    )


# --- the whole evaluation


def test_everything_is_measured_and_every_number_can_be_written(model, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert evaluate.main(["--model", str(model), "--smoke", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    results = json.loads(path.read_text(encoding="utf-8"))
    assert set(results) == {"settings", "thresholds", *evaluators.EVALUATORS}
    assert results["settings"]["styles"] == list(STYLES)
    assert set(results["sharpness"]["sharpness"]) == set(STYLES)
    assert {row["name"] for row in results["thresholds"]} >= {
        "attributes: mean of the nine, generated", "attributes: expression, generated",
        "two_sample: radial spectra, generated", "kid: generated, multiple of the floor",
        "grain: flat illustration, generated / real", "memorization: generated, count",
        "sharpness: pencil sketch, generated / real", "autoencoder: all, SSIM",
    }  # fmt: skip
    for row in results["thresholds"]:
        assert f"{'met   ' if row['met'] else 'missed'}  {row['name']}" in printed
    found = results["memorization"]["near-duplicates"]["generated"]
    assert found["of training"] == evaluate.SMOKE["training_images"]
    again = evaluate.evaluate(config(model, "--parts", "attributes", "kid"))
    assert evaluate._plain(again["kid"]) == results["kid"]
    assert evaluate._plain(again["attributes"]) == results["attributes"]


def test_a_perfect_model_reaches_the_ceiling_and_the_floor(data):
    data.generated = data.real  # as if the model generated just what the painter paints
    for name in ("attributes", "kid", "sharpness", "grain"):
        for table in evaluators.EVALUATORS[name](data).values():
            for row in table.values():
                if {"generated", "real"} <= set(row):
                    assert row["generated"] == row["real"]
                if "generated / real" in row:
                    assert row["generated / real"]["value"] == pytest.approx(1)
    rows = looks.kid(data)["kernel distance"]
    assert rows["generated"] == rows["real"]
    multiple = rows["real"]["multiple of the floor"]
    assert multiple["low"] < 1 < multiple["high"]
    assert evaluators.memorization(data)["near-duplicates"]["generated"]["count"] == 0


def test_a_model_that_copies_is_found_out(data):
    wanted = torch.arange(7, 7 + len(data.people))
    data.generated = load_portraits(48, seed=TRAINING_SEED, data=data.training_data).pixels[wanted]
    result = evaluators.memorization(data)
    assert result["near-duplicates"]["generated"]["count"] == len(data.people)
    pairs = {f"thumbnails: prompt {i}, training portrait {7 + i}" for i in range(len(data.people))}
    assert len(pairs & set(result["closest"])) == 5


def test_only_what_the_prompt_states_counts(data):
    half = len(data.people) // 2
    data.prompts = ["a sad man"] * half + ["a picture with glasses"] * half
    data.generated_features = torch.zeros(2 * half, 2 * SMOKE.classifier_channels[-1])
    sad = VOCABULARY["expression"].index("sad")
    head = data.classifier.heads["expression"]
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.eye(len(VOCABULARY["expression"]))[sad]
    rows = evaluators.attributes(data)["prompted attributes found"]
    found = rows["expression"]["generated"]
    assert (found["n"], found["value"]) == (half, 1.0)
    assert (rows["eyewear"]["generated"]["n"], rows["style"]["generated"]["n"]) == (half, 0)


def test_thresholds_are_where_the_course_set_them():
    def met(each: float, mean: float, told: float, kid: float, sharp: float, grain: float):
        rows = {k: {"generated": {"value": each}} for k in evaluators.ADHERENCE}
        rows["mean of the nine"] = {"generated": {"value": mean}}
        results = {
            "attributes": {"prompted attributes found": rows},
            "two_sample": {"told apart from real images": {"s": {"generated": {"value": told}}}},
            "kid": {"kernel distance":
                    {"generated": {"multiple of the floor": {"value": kid}}}},
            "sharpness": {"sharpness": {"pastel": {"generated / real": {"value": sharp}}}},
            "grain": {"grain in flat parts":
                      {"flat illustration": {"generated / real": {"value": grain}}}},
        }  # fmt: skip
        return {row["name"]: row["met"] for row in report.check_thresholds(results)}

    assert all(met(0.88, 0.95, 0.80, 3.0, 0.85, 2.0).values())
    assert not any(met(0.879, 0.949, 0.801, 3.01, 0.849, 2.01).values())
    too_sharp = met(1, 1, 0.5, -1, 1.151, 0.5)
    assert [name for name, passed in too_sharp.items() if not passed] == [
        "sharpness: pastel, generated / real"
    ]


def test_wrong_use_is_one_sentence(model, tmp_path, capsys, monkeypatch):
    only_data = tmp_path / "unfinished"
    only_data.mkdir()
    training_data().write(only_data)
    for arguments, message in (
        (["--model", str(tmp_path)], "training_data.json"),
        (["--model", str(only_data)], "No weights at"),
        (["--model", str(only_data), "--classifier", str(model)], "No model at"),
        (["--classifier", str(model / "model_index.json")], "not a readable safetensors file"),
    ):
        assert evaluate.main(["--smoke", "--parts", "attributes", *arguments]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main(["--scheduler", "eular"])
    assert "euler" in capsys.readouterr().err

    def interrupted(data):
        raise KeyboardInterrupt

    monkeypatch.setitem(evaluators.EVALUATORS, "kid", interrupted)
    assert evaluate.main(["--model", str(model), "--smoke", "--parts", "kid"]) == 130
    assert "stopped" in capsys.readouterr().err


# --- sheets


def test_sheets_put_models_beside_the_same_real_people(model, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("mini_sheets", TOOLS / "mini_sheets.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    path = tmp_path / "compare.png"
    arguments = ["--compare", str(model), str(model), "--people", "3", "--steps", "1"]
    assert tool.main([*arguments, "--across", "1", "--scale", "2", "--out", str(path)]) == 0
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    real, first, second = (pixels[6:262, 6 + 256 * k : 262 + 256 * k] for k in range(3))
    assert np.array_equal(first, second) and not np.array_equal(real, first)
    _, painted = tool.held_out_people(training_data(STYLES), 3)
    wanted = painted[0].permute(1, 2, 0).repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()
    assert np.abs(real - wanted).mean() < 6  # a palette of 256 colours
    texts = tool.styles_prompts(STYLES)
    assert {parse_caption(text)["style"] for text in texts} == set(STYLES)
    assert all("hair_color" not in parse_caption(t) for t in texts if "pencil" in t)
    assert tool.main(["--model", str(tmp_path), "--out", str(path)]) == 1
    assert "training_data.json" in capsys.readouterr().err
