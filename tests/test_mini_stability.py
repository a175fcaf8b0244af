"""Stability and diversity: each number where it must react, against closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib.device import make_generator
from course_lib.mini.data import mini_series
from course_lib.mini.evaluation import stability
from course_lib.mini.evaluation.stability import Descriptions, Setting
from course_lib.pipelines import load_pipeline
from course_lib.portraits import parse_caption


@pytest.fixture(scope="module")
def descriptions() -> Descriptions:
    return Descriptions(6, 3)


def test_prompts_state_six_attributes_and_real_portraits_have_them(descriptions):
    assert len(set(descriptions.prompts)) == 6
    assert descriptions.prompts[:2] == Descriptions(2, 2).prompts
    for text in descriptions.prompts:
        said = parse_caption(text)
        assert len(said.keys() - {"framing", "pose", "quality"}) == stability.STATED
        assert "style" in said
    assert descriptions.painted.shape == descriptions.reference.shape == (6, 3, 3, 128, 128)
    # Other people in every place
    real = torch.cat([descriptions.painted, descriptions.reference], dim=1).flatten(0, 1)
    assert len({picture.numpy().tobytes() for picture in real}) == 36
    hits, asked = descriptions.hits(descriptions.features(descriptions.painted))
    assert asked.sum(dim=1).tolist() == [stability.STATED] * 6
    assert hits[asked[:, None].expand_as(hits)].double().mean() > 0.9


def test_real_portraits_are_as_diverse_as_real_ones_and_wrong_ones_fail(descriptions):
    real = descriptions.features(descriptions.painted)
    row = stability.measure(descriptions, real)
    assert row["diversity"] == pytest.approx({"value": 1, "low": 1, "high": 1})
    assert row["adherence"]["value"] > 0.9 and row["recall"]["value"] > 0.8
    wrong = stability.measure(descriptions, real.roll(1, dims=0))  # each under the next prompt
    assert wrong["adherence"]["high"] < row["adherence"]["low"]
    assert wrong["failed"]["value"] > 0.9 > row["failed"]["value"]
    assert wrong["KID"]["value"] == pytest.approx(row["KID"]["value"])  # which sees no prompts
    noise = 1e-3 * torch.randn(6, 4, real.shape[-1], generator=make_generator(0))
    same = stability.measure(descriptions, real[:, :1] + noise)  # one real portrait, four times
    assert same["diversity"]["value"] < 1e-2 and same["recall"]["value"] == 0
    assert same["precision"]["value"] > 0.8
    for estimate in row.values():
        assert estimate["low"] <= estimate["high"]
    with pytest.raises(ValueError, match="prompts"):
        Descriptions(1)


def test_failures_are_counted_by_portrait_and_by_attribute(descriptions):
    features = descriptions.features(descriptions.painted)
    hits, asked = descriptions.hits(features)
    failed = stability.failures(descriptions, features)
    missed = stability.missed_attributes(descriptions, features)
    for p in range(6):
        for s in range(3):
            lost = sum(not hit for hit, said in zip(hits[p, s], asked[p], strict=True) if said)
            assert bool(failed[p, s]) == (lost > 0)
    assert sum(of for _, of in missed.values()) == 6 * 3 * stability.STATED
    share = 1 - sum(lost for lost, _ in missed.values()) / (6 * 3 * stability.STATED)
    assert stability.measure(descriptions, features)["adherence"]["value"] == pytest.approx(share)


def test_distances_are_zero_to_themselves_and_known_for_black_and_white(descriptions):
    images = descriptions.painted
    features = descriptions.features(images)
    own = stability.distances(descriptions, images, features, (images, features))
    assert own["pixels"]["value"] == own["features"]["value"] == 0
    black, white = torch.zeros_like(images), torch.full_like(images, 255)
    # 3 in one of F features is a distance of 3
    moved = features.clone()
    moved[..., 0] += 3
    far = stability.distances(descriptions, black, moved, (white, features))
    assert far["pixels"]["value"] == pytest.approx(2)  # from -1 to 1
    unit = descriptions.real_distances.mean().item()
    assert far["features"]["value"] == pytest.approx(3 / unit)


def test_one_factor_distances_see_their_own_factor_only():
    g = make_generator(0)
    # prompt, seed, feature
    of_prompt = 4 * torch.randn(30, 1, 50, generator=g)
    of_seed = torch.randn(30, 40, 50, generator=g)
    features = of_prompt + of_seed
    real = torch.randn(30, 40, 50, generator=g)  # the unit: sqrt(2 * 50)
    descriptions = SimpleNamespace(painted=real, features=lambda images: images)
    steps = torch.stack([features, features + 2])  # two levels, 2 apart in each of 50 features
    found = stability.one_factor_distances(
        descriptions, features, {"steps": steps, "sampler": torch.stack([features] * 3)}
    )
    assert found["seed"]["value"] == pytest.approx(1, rel=0.03)
    assert found["prompt"]["value"] == pytest.approx(17**0.5, rel=0.05)  # 4 ** 2 + 1 ** 2
    assert found["steps"]["value"] == pytest.approx(2 * 50**0.5 / 100**0.5, rel=0.02)
    assert found["sampler"]["value"] == pytest.approx(0, abs=1e-5)
    for estimate in found.values():
        assert estimate["low"] <= estimate["value"] + 1e-6 <= estimate["high"] + 2e-6


def test_portraits_are_those_of_paint_and_the_unet_works_as_much_as_stated():
    pipe, rows = load_pipeline("mini", "cpu", verbose=False), []
    pipe.unet.register_forward_pre_hook(lambda unet, args: rows.append(len(args[0])))
    setting = Setting("heun", 2)
    images = stability.generate(pipe, ["a man", "a woman"], setting, each=2, seed=5)
    assert images.shape == (2, 2, 3, 128, 128) and images.dtype == torch.uint8
    assert sum(rows) == 4 * setting.unet_passes
    assert Setting(guidance=1.0).unet_passes == Setting().steps
    alone = stability.generate(pipe, ["a woman"], setting, each=1, seed=6)[0, 0]
    assert (images[1, 1].int() - alone.int()).abs().max() <= 3  # up to rounding


def test_descriptions_keep_to_what_the_mini_knows(descriptions):
    from course_lib.mini.config import MINI_PORTRAITS

    person = mini_series(1, seed=stability._SERIES).attributes(0)
    said = parse_caption(descriptions.prompts[0])
    assert said.items() <= {k: getattr(person, k) for k in said}.items()
    assert said["style"] in MINI_PORTRAITS["style"]
    assert np.isfinite(descriptions.real_distances.numpy()).all()
