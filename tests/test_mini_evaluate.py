"""The evaluation of the mini: its measures, its prompts, and its verdict on a perfect model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_models import CAPTIONS, smoke_models

from course_lib.mini import easel, evaluate, exam, measures, probes, verdict
from course_lib.mini.config import MINI_DATA, SMOKE
from course_lib.mini.data import HELD_OUT_SEED, TRAINING_SEED, load_portraits, mini_series
from course_lib.mini.paraphrases import PARAPHRASES, stated
from course_lib.mini.tokenizer import train_tokenizer
from course_lib.mini.training.checkpoints import save_model
from course_lib.portraits import parse_caption
from course_lib.portraits.attributes import (
    COLORED_BACKGROUNDS,
    MONOCHROME_STYLES,
    VOCABULARY,
    visible_attributes,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny model folder with random weights."""
    folder = tmp_path_factory.mktemp("models") / "mini"
    tokenizer = train_tokenizer(CAPTIONS, SMOKE.vocabulary)
    save_model(folder, smoke_models(tokenizer), tokenizer, MINI_DATA)
    return folder


def options(model: Path, *more: str):
    return evaluate._options(["--model", str(model), "--smoke", *more])


# --- measures


def features(n: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(seed)) + shift


def test_kid_is_torchmetrics_unbiased_kernel_distance():
    from torchmetrics.image.kid import poly_mmd

    for shift in (0.0, 0.3, 2.0):
        x, y = features(40), features(40, shift, seed=1)
        # poly_mmd sums over both triangles without the diagonals: the same unbiased estimate
        assert measures.kid(x, y) == pytest.approx(poly_mmd(x.double(), y.double()).item())


def test_kid_in_closed_form():
    # Both sets constant: k(a, a) + k(b, b) - 2 k(a, b) with one dimension, a = 1, b = 0
    x, y = torch.ones(5, 1), torch.zeros(7, 1)
    assert measures.kid(x, y) == pytest.approx(2**3 + 1 - 2)
    # Unbiased: over many draws of one distribution the mean is zero within three standard errors
    draws = torch.tensor([measures.kid(features(9, 0, 2 * i), features(9, 0, 2 * i + 1))
                          for i in range(300)])  # fmt: skip
    assert abs(draws.mean()) < 3 * draws.std() / 300**0.5
    with pytest.raises(ValueError, match="two pictures"):
        measures.kid(x[:1], y)


def test_wilson_intervals_agree_with_published_values():
    assert measures.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert measures.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert measures.wilson(98, 100) == pytest.approx((0.9300, 0.9945), abs=1e-4)
    assert measures.wilson(0, 0) == (0, 1)


def test_distances():
    corners = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert measures.mean_pairwise(corners) == pytest.approx(10 / 3)
    x, y = features(20), features(300, seed=1)
    search = measures.Nearest(x)
    for part in y.split(64):
        search.offer(part)
    assert torch.equal(search.index, torch.cdist(x, y).argmin(dim=1))
    torch.testing.assert_close(search.distance, (x - y[search.index]).norm(dim=1))
    flat = torch.full((2, 3, 128, 128), 255, dtype=torch.uint8)
    assert torch.equal(measures.low_resolution(flat), torch.ones(2, 768))


# --- prompts


def test_prompts_of_held_out_people_are_long_true_and_always_the_same():
    series = mini_series(200, seed=HELD_OUT_SEED)
    people = [series.attributes(i) for i in range(200)]
    prompts = [easel.long_prompt(p, i, HELD_OUT_SEED) for i, p in enumerate(people)]
    for person, prompt in zip(people, prompts, strict=True):
        said = parse_caption(prompt)
        assert len(said) >= easel.LONG
        assert said.items() <= {k: getattr(person, k) for k in visible_attributes(person)}.items()
    assert prompts == [easel.long_prompt(p, i, HELD_OUT_SEED) for i, p in enumerate(people)]
    assert len(set(prompts)) == 200
    trained_on = set(mini_series(2000, seed=TRAINING_SEED).captions())
    assert not trained_on & set(prompts)


def test_paraphrases_are_many_unlike_captions_and_say_what_can_be_seen():
    assert len(PARAPHRASES) >= 60
    assert len({sentence for sentence, _ in PARAPHRASES}) == len(PARAPHRASES)
    used = {name: set() for name in VOCABULARY}
    for number, (sentence, plain) in enumerate(PARAPHRASES):
        said = stated(number)
        assert len(said) >= 3, plain
        for name, value in said.items():
            used[name].add(value)
        if said.get("style") in MONOCHROME_STYLES:
            assert not {"hair_color", "skin", "clothing_color", "background_color"} & set(said)
        if "background_color" in said:
            assert said.get("background", "plain") in COLORED_BACKGROUNDS
        # Other words, in another order: no run of five words is the plain caption's
        words, others = sentence.lower().split(), plain.lower()
        runs = [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]
        assert not any(run in others for run in runs), sentence
    for name in exam.BARRED:
        missing = set(VOCABULARY[name]) - used[name] - {"none", "gradient"}
        assert not missing, f"no sentence asks for {name} {missing}"


# --- painting


def test_pictures_are_those_of_the_stock_pipeline_whatever_the_batch(model):
    from diffusers import StableDiffusionPipeline

    prompts = ["a woman", "an old man, pop art", "a woman"]
    settings = {"steps": 2, "guidance": 3.0, "scheduler": "own"}
    ours = easel.Easel(model, batch=2, **settings).paint(prompts, [4, 5, 6], "test")
    assert ours.dtype == torch.uint8
    assert ours.shape == (3, 3, 128, 128)
    pipe = StableDiffusionPipeline.from_pretrained(
        model, safety_checker=None, requires_safety_checker=False
    )
    for i, (prompt, seed) in enumerate(zip(prompts, (4, 5, 6), strict=True)):
        stock = pipe(
            prompt, num_inference_steps=2, guidance_scale=3.0, output_type="np",
            generator=torch.Generator().manual_seed(seed),
        ).images[0]  # fmt: skip
        # One step of 255 is what rounding may turn a float's last digits into
        difference = ours[i].permute(1, 2, 0).numpy() - 255 * stock
        assert np.abs(difference).max() <= 1.01
    assert not torch.equal(ours[0], ours[2])


# --- verdicts


def test_everything_is_measured_and_every_number_can_be_written(model, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert evaluate.main(["--model", str(model), "--smoke", "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    results = json.loads(report.read_text(encoding="utf-8"))
    assert set(results) == {"settings", "bars", *evaluate.PARTS} - {"judge"}
    assert {bar["name"] for bar in results["bars"]} >= {*exam.BARRED, "PSNR, dB", "SSIM"}
    for bar in results["bars"]:
        if not bar["met"]:
            assert f"missed: {bar['name']} is" in printed
    assert results["memory"]["training"] == evaluate.SMOKE["training"]
    again = evaluate.evaluate(options(model, "--parts", "attributes", "kid"))
    assert again["kid"] == results["kid"]
    assert evaluate._plain(again["attributes"]) == results["attributes"]


def test_a_perfect_model_reaches_the_ceiling_and_the_floor(model):
    session = exam.Exam(options(model))
    session.pictures = session.paintings  # as if the model painted just what the painter did
    result = exam.attributes(session)
    assert result["generated"] == result["painted"] == exam.ceiling(session)["accuracy"]
    kernel = exam.kernel(session)
    assert kernel["kid"] == kernel["floor"]
    assert probes.memory(session)["copied"] == 0
    bars = {bar["name"]: bar for bar in verdict.bars({"attributes": result})}
    assert all(bars[name]["met"] for name in exam.BARRED if name != "style")


def test_a_model_that_copies_is_found_out(model):
    session = exam.Exam(options(model))
    trained = load_portraits(48, seed=TRAINING_SEED).pixels
    wanted = torch.arange(7, 7 + len(session.people))
    session.pictures = trained[wanted]
    result = probes.memory(session)
    assert result["copied"] == len(session.people)
    pairs = {(p["prompt"], p["training"]) for p in result["pixels"]["closest"]}
    assert pairs <= set(enumerate(wanted.tolist()))


def test_only_what_the_prompt_states_counts(model):
    session = exam.Exam(options(model))
    session.prompts = ["a sad man"] * 6 + ["a picture with glasses"] * 6
    session.made = torch.zeros(12, 2 * SMOKE.tower_channels[-1])
    sad = VOCABULARY["expression"].index("sad")
    head = session.jury.judge.heads["expression"]
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.eye(len(VOCABULARY["expression"]))[sad]
    result = exam.attributes(session)["generated"]
    assert (result["expression"]["n"], result["expression"]["share"]) == (6, 1.0)
    assert (result["eyewear"]["n"], result["style"]["n"]) == (6, 0)


def test_bars_are_where_the_course_set_them():
    def row(share):
        return {"n": 1000, "share": share, "low": share, "high": share}

    def met(share, ceiling, name="skin"):
        rows = {k: row(0.99) for k in exam.BARRED} | {name: row(share)}
        tops = {k: row(0.99) for k in exam.BARRED} | {name: row(ceiling)}
        found = verdict.bars({"attributes": {"generated": rows, "painted": tops}})
        return {bar["name"]: bar["met"] for bar in found}[name]

    assert met(0.92, 0.99) and not met(0.919, 0.99)
    assert met(0.88, 0.90) and not met(0.86, 0.90)  # within three points of a weak judge
    assert met(0.98, 1.0, "style") and not met(0.979, 0.98, "style")


def test_wrong_use_is_one_sentence(model, tmp_path, capsys, monkeypatch):
    judge = str(model / "attribute_classifier" / "model.safetensors")
    for arguments, message in (
        (["--model", str(tmp_path)], "No judge at"),
        (["--model", str(tmp_path), "--judge", judge], "No model at"),
        (["--judge", str(model / "model_index.json")], "not a judge's safetensors"),
    ):
        assert evaluate.main(["--smoke", "--parts", "attributes", *arguments]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main(["--scheduler", "eular"])
    assert "euler" in capsys.readouterr().err

    def interrupted(session):
        raise KeyboardInterrupt

    monkeypatch.setitem(evaluate.PARTS, "kid", interrupted)
    assert evaluate.main(["--model", str(model), "--smoke", "--parts", "kid"]) == 130
    assert "stopped" in capsys.readouterr().err
