"""The U-Net's training on pictures that it samples itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mini_models import CAPTIONS, smoke_parts, stub

from course_lib.mini.config import MAX_TOKENS, SMOKE
from course_lib.mini.data import UNSEEN, said_in
from course_lib.mini.denoising import Texts, rollout_stage
from course_lib.mini.parts import build_scheduler, build_unet, noise_schedule
from course_lib.mini.recipe import RECIPES, token_ids
from course_lib.mini.rollout import GUIDANCE, STEPS, RolloutTask
from course_lib.mini.tasks import CRITIC_WEIGHT
from course_lib.portraits import parse_caption
from course_lib.portraits.attributes import VOCABULARY

SHAPE = (SMOKE.latent_channels, 16, 16)


def by_the_pipeline(parts, tokenizer, start, states, empty, guidance, steps):
    """The latents after each step of a stock pipeline."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline(
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        tokenizer=tokenizer,
        unet=parts["unet"],
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    met = []
    pipe(
        prompt_embeds=states,
        negative_prompt_embeds=empty,
        latents=start,
        guidance_scale=guidance,
        num_inference_steps=steps,
        output_type="latent",
        callback_on_step_end=lambda pipe, i, t, given: met.append(given["latents"]) or {},
    )
    return met


def test_a_rollout_meets_the_latents_that_the_pipeline_meets(tokenizer):
    """Its last picture, too, is what the critic is shown, but for the light noise."""
    torch.manual_seed(0)
    parts = smoke_parts(tokenizer)
    start, states, empty = torch.randn(2, *SHAPE), torch.randn(2, 77, 16), torch.randn(2, 77, 16)
    expected = by_the_pipeline(parts, tokenizer, start, states, empty, 2.5, 5)

    asked, shown = [], []
    unet = parts["unet"]
    unet.register_forward_pre_hook(lambda module, given: asked.append(given))

    def critic(latents):
        shown.append(latents.detach())
        return {"expression": latents.mean(dim=(1, 2, 3))[:, None].expand(-1, 6)}

    task = RolloutTask(unet, noise_schedule(), torch.ones(SHAPE), stub(critic))
    x_0, t = torch.randn(4, *SHAPE), torch.tensor([1, 300, 600, 999])
    stated, g = {"expression": torch.tensor([0, 1])}, torch.full((2, 1, 1, 1), 2.5)
    given = (x_0, t, torch.randn_like(x_0), torch.randn(4, 77, 16), start, states, empty, stated, g)
    task(*given, torch.tensor(5))

    (noised, *_), *walk = asked
    assert len(noised) == 4, "first the squared error, on the noised portraits"
    assert [call[1].unique().item() for call in walk[::2]] == [999, 799, 599, 399, 199]
    met = [start, *expected[:-1]]
    for without, with_prompt, latents in zip(walk[::2], walk[1::2], met, strict=True):
        assert without[2] is empty
        assert with_prompt[2] is states
        for call in (without, with_prompt):
            torch.testing.assert_close(call[0], latents, atol=1e-4, rtol=1e-4)
    assert len(shown) == 5
    for picture, latents in zip(shown[-1], expected[-1], strict=True):
        both = torch.stack([picture.flatten(), latents.flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.6  # unrelated ones: 0 +- 0.01


def test_marks_teach_each_step_by_its_prompted_prediction_alone():
    """Every prediction is a parameter of its own here, so each gradient can be read off.

    This critic scores "smiling" by a latent's mean, and that is what both prompts state. The clean
    latent falls with v, and with guidance g by g times as much.
    """
    predictions = {True: [], False: []}

    def unet(x_t, t, text):
        v = torch.zeros_like(x_t, requires_grad=True)
        predictions[bool(text.any())].append(v)
        return SimpleNamespace(sample=1 * v)

    def critic(latents):
        means = latents.mean(dim=(1, 2, 3))
        return {"expression": torch.stack([torch.zeros_like(means), means], dim=1)}

    schedule = noise_schedule()
    task = RolloutTask(stub(unet), schedule, torch.ones(SHAPE), stub(critic))
    torch.manual_seed(0)
    x_0, t = torch.randn(2, *SHAPE), torch.tensor([200, 700])
    prompt, nothing, noise = torch.ones(2, 77, 16), torch.zeros(2, 77, 16), torch.randn_like(x_0)
    smiling, g = {"expression": torch.tensor([1, 1])}, torch.tensor([1.5, 3.0])[:, None, None, None]
    start = torch.randn(2, *SHAPE)
    given = (x_0, t, noise, nothing, start, prompt, nothing, smiling, g)
    loss = task(*given, torch.tensor(4))
    alone, _ = task.denoise(x_0, t, noise, nothing)
    # Beliefs have a mean near 0, where two scores that are alike cost log 2: as one of the person's
    # attributes, the only one that this critic names, and again a third of it as the expression
    marks = CRITIC_WEIGHT * 0.6931 * (1 + 1 / 3)
    assert loss.item() - alone.item() == pytest.approx(marks, rel=0.05)

    loss.backward()
    *walked, _ = predictions[False][1:]  # without the two calls for the squared error
    assert len(walked) == len(predictions[True]) == 4
    assert all(v.grad is None for v in walked)
    sizes = torch.stack([v.grad.mean(dim=(1, 2, 3)) for v in predictions[True]])
    assert (sizes > 0).all(), "down, so that the clean latent becomes brighter"
    # Twice the guidance; the light noise leaves each between 0.71 and 1 of its belief
    ratio = sizes[:, 1] / sizes[:, 0]
    assert ((ratio > 2 * 0.71) & (ratio < 2 / 0.71)).all()


def test_a_batch_states_what_its_captions_say_and_no_more(tokenizer):
    """No caption is dropped among those that are painted, though a tenth of the others is."""
    count, captions = 200, CAPTIONS[:400]
    ids = token_ids(tokenizer, captions).reshape(count, 2, MAX_TOKENS)
    said = {name: numbers.reshape(count, 2) for name, numbers in said_in(captions).items()}
    empty = token_ids(tokenizer, [""])[0]
    latents = torch.randn(count, *SHAPE)

    class Echo(torch.nn.Module):
        """Its hidden states are the tokens."""

        def __init__(self):
            super().__init__()
            self.here = torch.nn.Parameter(torch.zeros(()))

        def forward(self, tokens):
            return (tokens[:, :, None].float(),)

    task = RolloutTask(build_unet(SMOKE), noise_schedule(), torch.ones(SHAPE))
    recipe = RECIPES["smoke"]
    stage = rollout_stage(recipe, task, latents, said, Texts(ids, Echo(), empty))
    whole = {tuple(row.tolist()): parse_caption(text) for row, text in zip(
        token_ids(tokenizer, captions), captions, strict=True)}  # fmt: skip
    left_open = dropped = 0
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        indices = torch.randperm(count, generator=generator)[:8]
        batch = stage.batch(indices, generator, step)
        x_0, _, _, text, start, prompt, nothing, stated, guidance, steps = batch
        assert torch.equal(x_0, latents[indices])
        assert start.shape == x_0[: recipe.rollouts].shape
        assert (nothing[..., 0] == empty).all()
        assert GUIDANCE[0] <= guidance.min() <= guidance.max() <= GUIDANCE[1]
        assert steps == STEPS[step % len(STEPS)]
        dropped += (text[..., 0] == empty).all(dim=1).sum().item()
        for row, tokens in enumerate(prompt[..., 0].long()):
            said_of_it = whole[tuple(tokens.tolist())]
            for name, values in VOCABULARY.items():
                label = stated[name][row].item()
                assert said_of_it.get(name) == (None if label == UNSEEN else values[label])
                left_open += label == UNSEEN
    assert 0 < dropped < 0.2 * 60 * 8
    assert left_open
