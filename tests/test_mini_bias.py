"""Shares, corrections and weights, against closed forms and against captions that are drawn."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from course_lib.device import make_generator
from course_lib.metrics.intervals import proportion
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.data import TRAINING_SEED, attribute_labels, mini_series
from course_lib.mini.evaluation import bias
from course_lib.mini.evaluation.bias import (
    amplification,
    attribute_shares,
    caption_probability,
    corrected_share,
    found_attributes,
    sampling_weights,
    training_shares,
)
from course_lib.pipelines.registry import SHIPPED
from course_lib.portraits import Attributes, caption
from course_lib.portraits.captions import writer

SETTING = ("quality", "framing", "pose")


@pytest.fixture(scope="module")
def people() -> list[Attributes]:
    series = mini_series(3000, seed=TRAINING_SEED)
    return [series.attributes(i) for i in range(3000)]


@pytest.mark.parametrize(
    ("person", "stated"),
    [
        (Attributes(eyewear="glasses", headwear="cap"), {"eyewear": "glasses"}),
        (Attributes(age="child"), {"age": "child", "gender": "woman"}),
        (Attributes(gender="man", hair_style="bald", facial_hair="beard"), {}),
        (Attributes(headwear="headscarf"), {}),
    ],
)
def test_the_chance_of_a_caption_is_that_of_drawn_captions(person, stated, monkeypatch):
    drawn: list[dict] = []
    for name in ("_write_sentence", "_write_tags"):  # what a caption would say, without the words
        monkeypatch.setattr(writer, name, lambda said, *rest: drawn.append(said) or "")
    levels = ((0.7, 0.15), (0.3, 0.1))  # briefer captions than usual, so there is more to count
    for module in (writer, bias):
        monkeypatch.setattr(module, "CAPTION_LEVELS", levels)
    rng = np.random.default_rng(0)
    for _ in range(12_000):
        caption(person, rng)
    wanted = {**stated, "style": person.style}
    hits = sum({k: v for k, v in said.items() if k not in SETTING} == wanted for said in drawn)
    truth = caption_probability(person, stated)
    assert hits > 15 and hits / 12e3 == pytest.approx(truth, abs=3 * (truth / 12e3) ** 0.5)


def test_captions_that_say_something_else_have_no_chance():
    assert caption_probability(Attributes(), {"gender": "man"}) == 0
    assert caption_probability(Attributes(), {"eyewear": "none"}) == 0  # nobody says that
    assert caption_probability(Attributes(age="child"), {"gender": "woman"}) == 0  # a girl
    one, two = Attributes(), Attributes(eyewear="glasses")
    assert caption_probability(one, {}) > caption_probability(two, {}) > 0
    # Of a bald man the hair colour is not said without the beard: as if he had just something else
    bald = {"gender": "man", "hair_style": "bald"}
    bearded, glasses = (
        Attributes(**bald, facial_hair="beard"),
        Attributes(**bald, eyewear="glasses"),
    )
    assert caption_probability(bearded, {}) == caption_probability(glasses, {})


def test_silence_about_glasses_makes_them_rarer(people):
    shares = training_shares(people, {}, ["gender", "eyewear"])
    drawn = Counter(one.eyewear for one in people)
    # By hand for the briefest captions, which are nearly all of those: glasses go unsaid in 85 %
    half = drawn["none"] / len(people)
    assert shares["eyewear"]["none"] == pytest.approx(half / (half + 0.85 * (1 - half)), abs=0.02)
    assert shares["gender"]["man"] == pytest.approx(0.5, abs=0.04)
    assert sum(shares["eyewear"].values()) == pytest.approx(1)
    women = training_shares(people, {"gender": "woman"}, ["age", "facial_hair"])
    assert women["age"]["child"] == 0 and women["facial_hair"]["none"] == 1
    with pytest.raises(ValueError, match="No caption of these people"):
        training_shares(people[:50], {"gender": "woman", "facial_hair": "beard"}, ["age"])


def test_the_classifier_counts_painted_portraits_right():
    series = mini_series(48, seed=77)
    pixels = torch.from_numpy(series.pixels()).permute(0, 3, 1, 2).contiguous()
    found = found_attributes(AttributeClassifier.load(SHIPPED / "mini"), pixels)
    truth = attribute_labels(series.attributes(i) for i in range(48))
    shown, seen = attribute_shares(truth, ["hair_color"]), attribute_shares(found, ["gender"])
    assert shown["hair_color"]["black"]["n"] == int((truth["hair_color"] >= 0).sum()) < 48
    women = sum(series.attributes(i).gender == "woman" for i in range(48))
    assert abs(seen["gender"]["woman"]["value"] * 48 - women) <= 4
    assert seen["gender"]["woman"] == proportion(found["gender"] == 0)


def test_the_correction_solves_for_the_share_and_covers_it():
    def sample(ones: int, zeros: int) -> torch.Tensor:
        return torch.cat([torch.ones(ones), torch.zeros(zeros)])

    given = corrected_share(sample(34, 66), sample(80, 20), sample(10, 90))
    assert given["value"] == pytest.approx((0.34 - 0.1) / (0.8 - 0.1))
    assert given["low"] < given["value"] < given["high"]
    plain = proportion(sample(34, 66))
    assert given["high"] - given["low"] > plain["high"] - plain["low"]  # it knows less
    assert corrected_share(sample(1, 99), sample(80, 20), sample(10, 90))["value"] == 0
    perfect = corrected_share(sample(34, 66), sample(50, 0), sample(0, 50))
    assert perfect["value"] == pytest.approx(0.34)
    # In simulations the interval contains the true share about 95 times of 100
    generator, covered = make_generator(0), 0
    for _ in range(100):
        p, se, sp = 0.3, 0.85, 0.9
        chances = (p * se + (1 - p) * (1 - sp), se, 1 - sp)
        draws = [
            torch.rand(n, generator=generator) < q
            for n, q in zip((200, 150, 150), chances, strict=True)
        ]
        one = corrected_share(*draws)
        covered += one["low"] <= p <= one["high"]
    assert 88 <= covered <= 100
    with pytest.raises(ValueError, match="no more often"):
        corrected_share(sample(3, 3), sample(1, 9), sample(2, 8))
    with pytest.raises(ValueError, match="a portrait or more"):
        corrected_share(sample(3, 3), sample(1, 9), torch.zeros(0))


def test_amplification_is_a_ratio_of_odds():
    same = amplification({"value": 0.3, "low": 0.2, "high": 0.4}, 0.3)
    assert same["value"] == pytest.approx(1) and same["low"] < 1 < same["high"]
    assert amplification({"value": 0.9, "low": 0.8, "high": 1}, 0.75) == pytest.approx(
        {"value": 3, "low": 4 / 3, "high": math.inf}
    )
    with pytest.raises(ValueError, match="odds"):
        amplification(same, 1)


def test_weights_draw_classes_with_the_wanted_shares():
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    weights = sampling_weights(labels, [0.5, 0.3, 0.2])
    assert weights.sum().item() == pytest.approx(1) and weights[0] == pytest.approx(0.5 / 90)
    drawn = torch.multinomial(weights, 20_000, replacement=True, generator=make_generator(0))
    shares = torch.bincount(labels[drawn]).double() / 20_000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.015)
    with pytest.raises(ValueError, match="no weights draw it"):
        sampling_weights(torch.tensor([0, 0, 2]), [0.4, 0.3, 0.3])
    with pytest.raises(ValueError, match="add up to 1"):
        sampling_weights(labels, [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="one for each"):
        sampling_weights(labels, [0.5, 0.5])
