"""Recorded activations, probes and concept sliders, on a small random mini."""

from __future__ import annotations

import pytest
import torch
from personalise_models import small_pipe

from course_lib.device import make_generator
from course_lib.mini.directions import concept_direction, shifted
from course_lib.mini.probes import (
    denoising_features,
    majority_share,
    probe_accuracy,
    recorded,
)
from course_lib.pipelines import paint_steps


@pytest.fixture(scope="module")
def pipe(tokenizer):
    return small_pipe(tokenizer)


def test_features_are_those_of_the_steps_whatever_the_batch(pipe):
    times, features, latents = denoising_features(pipe, "a woman", range(18), steps=3)
    assert {name: x.shape[:2] for name, x in features.items()} == dict.fromkeys(features, (3, 18))
    steps = list(paint_steps(pipe, "a woman", seed=17, steps=3, guidance=1.0))
    assert times == [step.t for step in steps]
    cells = steps[1].latents.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(4, 5))  # 16 x 16 -> 4 x 4
    torch.testing.assert_close(features["x_t"][1, 17], cells.flatten(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents[17:], steps[-1].latents_next, atol=1e-4, rtol=1e-4)
    assert features["mid_block"].shape[2] == 16 * pipe.unet.config.block_out_channels[-1]
    assert not pipe.unet.mid_block._forward_hooks


def test_a_probe_finds_what_is_there_and_the_majority_what_is_frequent():
    x = torch.randn(300, 5, generator=make_generator(0))
    labels = (x[:, 0] > 0.8).long()
    assert probe_accuracy(x, labels, 200, penalties=(0.1,))["value"] > 0.85
    assert majority_share(labels, 200)["value"] == pytest.approx(
        (labels[200:] == 0).double().mean()
    )
    found = probe_accuracy(x, labels, 200, penalties=(1e6, 0.1))
    assert found["n"] == 100 and found["value"] > 0.85  # chosen by what the rows say


def test_a_direction_is_the_difference_of_means_and_turns_one_into_the_other(pipe):
    yes, no = ["a smiling woman", "a smiling man"], ["a sad woman", "a sad man"]
    options = {"layer": "mid_block", "n": 2, "steps": 2, "guidance": 2.5}
    direction = concept_direction(pipe, yes, no, **options)
    assert direction.shape == (2, pipe.unet.config.block_out_channels[-1], 4, 4)
    back = concept_direction(pipe, no, yes, **options)
    torch.testing.assert_close(direction, -back)

    def last(strength, along=direction):
        with shifted(pipe, along, strength, layer="mid_block"):
            return [*paint_steps(pipe, "a man", seed=3, steps=2)][-1].latents_next

    plain = [*paint_steps(pipe, "a man", seed=3, steps=2)][-1].latents_next
    assert torch.equal(last(0.0), plain)
    assert not torch.allclose(last(2.0), plain)
    torch.testing.assert_close(last(2.0), last(-1.0, -2 * direction))
    # The pooled prompt of a description, moved by the difference to another one, is that one's
    pooled = concept_direction(pipe, ["a woman"], ["a man"], steps=2)
    with recorded(pipe.unet.add_embedding) as as_woman:
        [*paint_steps(pipe, "a woman", steps=2)]
    with shifted(pipe, pooled, 1.0), recorded(pipe.unet.add_embedding) as moved:
        [*paint_steps(pipe, "a man", steps=2)]
    torch.testing.assert_close(moved[0], as_woman[0], atol=1e-5, rtol=1e-4)
    # Step by step: the second step's direction alone leaves the first step as it was
    second = torch.stack([torch.zeros_like(direction[0]), direction[1]])
    with shifted(pipe, second, 5.0, layer="mid_block"):
        first, last_one = paint_steps(pipe, "a man", seed=3, steps=2)
    before, after = paint_steps(pipe, "a man", seed=3, steps=2)
    assert torch.equal(first.latents_next, before.latents_next)
    assert not torch.allclose(last_one.latents_next, after.latents_next)
    assert not pipe.unet.mid_block._forward_hooks


def test_bad_input_is_named(pipe):
    with pytest.raises(ValueError, match="consecutive"):
        denoising_features(pipe, "a man", [1, 3], steps=2)
    with pytest.raises(ValueError, match="layer"):
        denoising_features(pipe, "a man", [1], steps=2, layers=["middle_block"])
    with pytest.raises(ValueError, match="pairs of prompts"):
        concept_direction(pipe, ["a man"], [])
    with pytest.raises(ValueError, match="strength"):
        shifted(pipe, torch.zeros(2, 1, 1, 1), 11).__enter__()
