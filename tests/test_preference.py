"""DDPO and Diffusion-DPO: densities and losses against libraries and hand-computed cases."""

from __future__ import annotations

import math

import pytest
import torch
from mini_models import smoke_pipeline

from course_lib.device import make_generator
from course_lib.mini.models import noise_schedule
from course_lib.mini.preference import ddpo, dpo, rewards
from course_lib.mini.preference.adapters import reference, trainable_lora
from course_lib.mini.preference.measures import brightness_answers
from course_lib.mini.preference.smile_classifier import SmileClassifier
from course_lib.sampler_grids import time_grid
from course_lib.sampler_steps import ddpm_step

PROMPTS = ("watercolor of a man", "pastel of a woman")


@pytest.fixture(scope="module")
def pipe(tokenizer):
    return smoke_pipeline(tokenizer)


def test_step_and_density_are_those_of_diffusers_and_of_torch():
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear", clip_sample=False,
        prediction_type="sample", timestep_spacing="trailing", steps_offset=1,
    )  # fmt: skip
    scheduler.set_timesteps(8)
    grid = time_grid(noise_schedule(), method="ddpm", steps=8, spacing="trailing")
    assert [node.t for node in grid] == scheduler.timesteps.tolist()
    x_t, x_0_hat, noise = torch.randn(3, 2, 4, 5, 5, generator=make_generator(0))
    for node in grid[:-1]:
        mean, sigma = ddpo.step_distribution(x_t, x_0_hat, node)
        theirs = scheduler.step(x_0_hat, node.t, x_t, eta=1.0, variance_noise=noise).prev_sample
        torch.testing.assert_close(mean + sigma * noise, theirs, atol=2e-5, rtol=1e-4)
        ancestral = ddpm_step(x_t, x_0_hat, node.bar_a, node.bar_a_prev)
        torch.testing.assert_close(mean, ancestral, atol=2e-5, rtol=1e-4)
        x = mean + 1.5 * sigma * noise
        density = torch.distributions.Normal(mean, sigma).log_prob(x).flatten(1).mean(dim=1)
        torch.testing.assert_close(ddpo.log_prob(x, mean, sigma), density)
    assert ddpo.step_distribution(x_t, x_0_hat, grid[-1])[1] == 0


def test_advantages_have_mean_0_and_deviation_1_for_each_prompt():
    given = ddpo.advantages(torch.tensor([1.0, 2, 3, 30, 10, 20, 7]), list("aaabbbc"))
    deviation = 1.5**0.5
    expected = [-deviation, 0, deviation, deviation, -deviation, 0, 0]
    torch.testing.assert_close(given, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_ppo_clip_by_hand():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    new = ratio.log().requires_grad_()
    loss = ddpo.clipped_loss(new, torch.zeros(4), advantage, 0.2)
    assert loss.item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)
    loss.backward()
    torch.testing.assert_close(new.grad, torch.tensor([0, 1.5, -0.5, 0]) / 4)


def test_dpo_loss_is_the_papers_and_its_gradient_has_the_right_signs():
    w, x, w_ref, x_ref = torch.rand(4, 6, generator=make_generator(1)).requires_grad_()
    inside = [
        -2500 / 2 * ((a - b) - (c - d))
        for a, b, c, d in zip(*(v.tolist() for v in (w, w_ref, x, x_ref)), strict=True)
    ]
    truth = sum(max(-i, 0) + math.log1p(math.exp(-abs(i))) for i in inside) / 6
    assert dpo.dpo_loss(w, x, w_ref, x_ref).item() == pytest.approx(truth, rel=1e-4)
    slopes = torch.autograd.grad(dpo.dpo_loss(w, x, w_ref, x_ref, beta=1.0), (w, x, w_ref, x_ref))
    assert [bool((s > 0).all()) for s in slopes] == [True, False, False, True]


def test_answers_of_the_comparison_widget_become_pairs():
    bright, dark = (
        torch.full((2, 1, 3, 4, 4), 0.0) + torch.tensor([0.5, -0.5])[:, None, None, None, None]
    )
    answers = brightness_answers({"x": bright, "y": dark})
    assert dpo.pairs_of_answers(answers) == [("x/0", "y/0")]
    assert dpo.pairs_of_answers(brightness_answers({"x": dark, "y": bright})) == [("y/0", "x/0")]
    assert dpo.pairs_of_answers(brightness_answers({"x": dark, "y": dark})) == []
    with pytest.raises(ValueError, match="Answer 1 must have"):
        dpo.pairs_of_answers([{"a": "x/0", "winner": "a"}])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            torch.tensor([1.0, float("nan")]),
            r"'unkind' of picture 1 \('pastel of a woman'\) is nan",
        ),
        (torch.ones(2, 1), r"'unkind' gave numbers of shape \(2, 1\) for 2 pictures"),
    ],
)
def test_a_reward_that_is_none_is_refused(values, message):
    def unkind(images, prompts):
        return values

    with pytest.raises(ValueError, match=message):
        rewards.checked_reward(unkind, torch.zeros(2, 3, 4, 4), PROMPTS)


def test_training_starts_on_policy_and_leaves_the_model_as_it_was(pipe):
    before = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    with trainable_lora(pipe, rank=2) as parameters:
        found = ddpo.sample(pipe, PROMPTS, make_generator(0), steps=3)
        assert found.latents.shape[:2] == (4, 2) and found.log_probs.shape == (2, 2)
        rows = torch.arange(2)
        # The same policy gives the same densities: ratio 1, so the loss is minus the mean advantage
        given = ddpo._loss(pipe, found, 1, rows, torch.tensor([1.0, 3.0]), 1e-4, 1.0)
        assert given[0].item() == pytest.approx(-2.0, abs=1e-4) and given[1:] == (0.0, 0.0)
        rounds = list(
            ddpo.train(
                pipe, parameters, rewards.brightness, PROMPTS, iterations=2, each=2, steps=3,
                kl_weight=0.1, seed=1,
            )
        )  # fmt: skip
        assert [r.number for r in rounds] == [0, 1] and rounds[1].kl > 0
        x_t = found.latents[0]
        tuned = ddpo.predict(pipe, x_t, found.nodes[0], found.text)
        with reference(pipe):
            again = ddpo.predict(pipe, x_t, found.nodes[0], found.text)
        assert not torch.equal(tuned, again)
    untouched = ddpo.predict(pipe, x_t, found.nodes[0], found.text)
    torch.testing.assert_close(untouched, again)
    after = pipe.unet.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_dpo_learns_its_own_pairs(pipe):
    images = torch.rand(2, 4, 3, 128, 128, generator=make_generator(2)) * 2 - 1
    pairs = dpo.Pairs(pipe, images[0] * 0.2 + 0.5, images[1] * 0.2 - 0.5, PROMPTS * 2)
    with trainable_lora(pipe, rank=2) as parameters:
        assert dpo.implicit_accuracy(pipe, pairs, repeats=1) == 0.5  # all margins are 0
        steps = list(dpo.train(pipe, parameters, pairs, steps=12, batch_size=4, lr=1e-2))
        assert steps[0][0] == pytest.approx(math.log(2), abs=1e-4)
        assert dpo.implicit_accuracy(pipe, pairs, repeats=4) > 0.8


def test_the_second_classifier_sees_the_mouth_alone_and_keeps_its_answers(tmp_path):
    classifier = SmileClassifier(4)
    images = torch.rand(2, 3, 128, 128, generator=make_generator(3)) * 2 - 1
    odds = classifier(images)
    loaded = SmileClassifier.load(classifier.save(tmp_path / "smile.safetensors"))
    torch.testing.assert_close(loaded(images), odds, atol=2e-2, rtol=2e-2)  # float16
    images[:, :, :50] = 0
    assert torch.equal(classifier(images), odds)
    images[:, :, 70:90, 50:70] = 0
    assert not torch.equal(classifier(images), odds)
