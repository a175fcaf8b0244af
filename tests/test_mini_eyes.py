"""The critics of pictures: where they look, what they learn, and what they teach."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mini_models import stub

from course_lib.mini.config import IMAGE_SIZE, MINI_VARIETY, SMOKE
from course_lib.mini.data import UNSEEN, mini_series
from course_lib.mini.eyes import (
    OF_THE_FACE,
    SIDE,
    FaceCritic,
    PictureMarks,
    StyleCritic,
    grained,
)
from course_lib.mini.parts import noise_schedule
from course_lib.mini.recipe import EYES_REACH, RECIPES, eyes_stage
from course_lib.mini.rollout import RolloutTask
from course_lib.mini.stages import run_stage
from course_lib.portraits import paint_portrait
from course_lib.portraits.attributes import VOCABULARY

SHAPE = (SMOKE.latent_channels, 16, 16)


class Watched(FaceCritic):
    """Keeps what its tower is shown."""

    def __init__(self, sizes):
        super().__init__(sizes)
        self.shown = []
        self.tower.register_forward_pre_hook(lambda _, given: self.shown.append(given[0]))


def decoder(decode, scaling_factor):
    """An autoencoder as far as the marks need one."""
    return SimpleNamespace(
        config=SimpleNamespace(scaling_factor=scaling_factor),
        decode=lambda z: SimpleNamespace(sample=decode(z)),
    )


def test_what_an_expression_changes_lies_in_the_face():
    """The same people with another expression differ there, however the picture is moved about."""
    series, critic = mini_series(6, seed=5), Watched(SMOKE)
    for index in range(6):
        person = series.attributes(index)
        pictures = [
            paint_portrait(replace(person, expression=mood), index, IMAGE_SIZE, MINI_VARIETY)
            for mood in ("neutral", "angry", "laughing")
        ]
        pictures = torch.stack([torch.from_numpy(p).permute(2, 0, 1).float() for p in pictures])
        changed = (pictures[1:] - pictures[:1]).square()
        critic(changed.roll((EYES_REACH, -EYES_REACH), dims=(2, 3)))
        (inside,) = critic.shown
        critic.shown.clear()
        assert inside.shape == (2, 3, SIDE, SIDE)
        assert (inside.sum(dim=(1, 2, 3)) > 0.95 * changed.sum(dim=(1, 2, 3))).all()


def learned(kind, pixels, labels, folder):
    """The critic after 80 steps of its stage, and the scores that it then gives."""
    recipe = replace(RECIPES["smoke"], face_steps=80, style_steps=80, clip_batch=32, clip_lr=5e-3)
    torch.manual_seed(0)
    stage = eyes_stage(recipe, kind(SMOKE), pixels, labels)
    *_, step = run_stage(stage, folder)
    with torch.no_grad():
        return step.average.critic(pixels.float() / 127.5 - 1)


@pytest.fixture(scope="module")
def coins():
    """Noise in which a mouth and, above the face, fine stripes come as two coins fall."""
    generator = torch.Generator().manual_seed(0)
    size = (128, 3, IMAGE_SIZE, IMAGE_SIZE)
    pixels = torch.randint(128, size, generator=generator, dtype=torch.uint8)
    lit, striped = torch.randint(2, (2, len(pixels)), generator=generator)
    for index in striped.nonzero().flatten().tolist():
        top = int(torch.randint(8, (), generator=generator))
        pixels[index, :, top:36:4] = 255
    pixels[lit == 1, :, 76:92, 52:76] = 255
    labels = {name: torch.full((len(pixels),), UNSEEN) for name in VOCABULARY}
    return pixels, labels, lit, striped


def test_the_critic_of_faces_learns_to_name_by_the_face_alone(tmp_path, coins):
    """Stripes above the face tell it nothing."""
    pixels, labels, lit, striped = coins
    scores = learned(FaceCritic, pixels, labels | {"gender": lit, "age": striped}, tmp_path)
    assert set(scores) == set(OF_THE_FACE)
    assert (scores["gender"].argmax(dim=1) == lit).float().mean() > 0.95
    assert (scores["age"].argmax(dim=1) == striped).float().mean() < 0.8


def test_the_critic_of_styles_sees_a_brush_wherever_it_was(tmp_path, coins):
    pixels, labels, _, striped = coins
    scores = learned(StyleCritic, pixels, labels | {"style": striped}, tmp_path)
    assert set(scores) == {"style"}
    assert (scores["style"].argmax(dim=1) == striped).float().mean() > 0.95


def test_to_the_critic_of_styles_all_places_are_alike():
    """A picture moved round by whole cells differs at the edges alone."""
    torch.manual_seed(0)
    critic = StyleCritic(SMOKE)
    pictures = F.interpolate(torch.randn(4, 3, 16, 16), scale_factor=8)
    with torch.no_grad():
        scores, moved = (critic(x)["style"] for x in (pictures, pictures.roll(64, dims=3)))
    assert (scores - moved).abs().mean() < 0.05 * scores.std()


def test_the_critics_mark_the_decoded_picture_and_teach_the_latent_alone():
    """A decoder that only enlarges, so that every number of the face is known but for the grain."""
    torch.manual_seed(0)

    def enlarged(z):
        return F.interpolate(z[:, :3], scale_factor=8)

    vae = decoder(enlarged, scaling_factor=0.25)
    critics = [kind(SMOKE).requires_grad_(False) for kind in (Watched, StyleCritic)]
    before = copy.deepcopy([critic.state_dict() for critic in critics])
    latents = torch.randn(16, *SHAPE, requires_grad=True)
    stated = {name: torch.zeros(16, dtype=torch.long) for name in VOCABULARY}
    loss = PictureMarks(critics, vae)(latents, stated)
    (faces,) = critics[0].shown
    assert faces.shape == (16, 3, SIDE, SIDE)
    expected = enlarged(latents / 0.25)[:, :, 36:100, 32:96]
    grain = (faces - expected).std(dim=(1, 2, 3))
    assert 0.1 < grain.max() < 0.151, "its deviation is at most 0.15"

    loss.backward()
    assert (latents.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    for critic, state in zip(critics, before, strict=True):
        assert all(p.grad is None for p in critic.parameters())
        assert all(torch.equal(tensor, state[k]) for k, tensor in critic.state_dict().items())


def test_marks_add_up_by_their_weights():
    class Says(SimpleNamespace):
        def __call__(self, pictures):
            return self.answer

        def loss(self, scores, stated):
            return scores

    critics = [
        Says(answer=3.0, weight=0.1, asked_noise=0),
        Says(answer=8.0, weight=0.05, asked_noise=0),
    ]
    vae = decoder(lambda z: z, scaling_factor=1.0)
    assert PictureMarks(critics, vae)(torch.zeros(1, *SHAPE), {}) == pytest.approx(0.7)


def test_grain_differs_from_picture_to_picture_and_keeps_below_its_bound():
    torch.manual_seed(0)
    deviations = grained(torch.zeros(200, 3, 32, 32), 0.2).std(dim=(1, 2, 3))
    # 3,072 numbers tell a deviation to 1.3 %; of 200 even draws the outer ones lie within 0.02
    assert deviations.max() == pytest.approx(0.2, abs=0.02)
    assert deviations.min() < 0.02


def test_a_rollout_shows_it_the_last_picture_and_one_on_the_way():
    """The U-Net says v = 0, so each belief is a multiple of the latent."""
    unet = stub(lambda x_t, *_: SimpleNamespace(sample=torch.zeros_like(x_t)))
    calls = []

    def marks(latents, stated):
        calls.append((latents, stated))
        return torch.tensor(7.0)

    schedule = noise_schedule()
    torch.manual_seed(0)
    x_0, t, text = torch.randn(2, *SHAPE), torch.tensor([300, 800]), torch.ones(2, 77, 16)
    start, g = torch.randn(2, *SHAPE), torch.full((2, 1, 1, 1), 2.0)
    stated = {"expression": torch.tensor([1, 2])}
    given = (x_0, t, torch.randn_like(x_0), text, start, text, text, stated, g, torch.tensor(5))

    beliefs = []
    task = RolloutTask(unet, schedule, torch.ones(SHAPE), eyes=marks)
    alone = RolloutTask(unet, schedule, torch.ones(SHAPE))(*given)
    task.guided, guided = lambda *a: beliefs.append(guided(*a)) or beliefs[-1], task.guided
    seen_on_the_way = set()
    for _ in range(30):
        calls.clear(), beliefs.clear()
        loss = task(*given)
        # Whether one picture is looked at or two, together they weigh the same
        assert loss.item() - alone.item() == pytest.approx(7, rel=1e-4)
        assert len(beliefs) == 5
        places = [[b is latents for b in beliefs].index(True) for latents, _ in calls]
        assert all(labels is stated for _, labels in calls)
        assert places[-1] == 4
        assert len(places) <= 2
        seen_on_the_way.update(places)
    assert seen_on_the_way == {1, 2, 3, 4}
