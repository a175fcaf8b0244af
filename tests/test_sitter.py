"""The sitter of lesson 07 and the measures of likeness."""

from __future__ import annotations

import torch
from torchmetrics.functional.classification import binary_auroc

from course_lib.device import make_generator
from course_lib.mini import sitter
from course_lib.mini.config import MINI_STYLES
from course_lib.portraits import parse_caption


def test_scenes_differ_and_captions_tell_everything_but_her_look():
    for seed in (0, 1):
        scenes = sitter.sitter_scenes(6, seed)
        for a, b in zip(scenes, scenes[1:], strict=False):
            assert not any(getattr(a, name) == getattr(b, name) for name in sitter._SCENE)
        for scene in scenes:
            said = parse_caption(sitter.scene_caption(scene, "wilhelmina woman"))
            assert {name: said[name] for name in sitter._SCENE if name in said} == {
                name: getattr(scene, name) for name in sitter._SCENE if name in said
            }
            assert not set(sitter.LOOK) & set(said) and said["gender"] == "woman"
            assert scene.style in MINI_STYLES
            assert all(getattr(scene, k) == getattr(sitter.SITTER, k) for k in sitter.LOOK)
    assert sitter.sitter_scenes(6) == sitter.sitter_scenes(9)[:6]


def test_pictures_are_of_one_person_and_another_seed_is_another():
    scenes = sitter.sitter_scenes(2)
    images = sitter.paint_scenes(scenes)
    assert images.shape == (2, 3, 128, 128) and images.min() >= -1 and images.max() <= 1
    assert torch.equal(images[1:], sitter.paint_scenes(scenes[1:]))
    assert not torch.equal(images, sitter.paint_scenes(scenes, seed=1))


def test_likeness_is_a_cosine_about_the_others():
    generator = make_generator(0)
    others = torch.randn(5, 7, generator=generator) + 3
    hers = torch.randn(2, 7, generator=generator)
    center, mean = others.mean(0), hers.mean(0)
    x = torch.stack([center + 2 * (mean - center), center - (mean - center)])
    assert torch.allclose(sitter.likeness(x, hers, others), torch.tensor([1.0, -1.0]), atol=1e-5)
    own = torch.randn(4, 7, generator=generator)
    a, b = own - center, mean - center
    expected = (a @ b) / (a.norm(dim=1) * b.norm())
    assert torch.allclose(sitter.likeness(own, hers, others), expected, atol=1e-5)


def test_the_area_is_that_of_torchmetrics():
    scores = torch.randint(0, 9, (40,), generator=make_generator(1)) / 9  # with ties
    truth = torch.arange(40) % 3 == 0
    ours = sitter.area_under_roc(scores[truth], scores[~truth])
    assert abs(ours - binary_auroc(scores, truth.long()).item()) < 1e-6
    assert sitter.area_under_roc(torch.tensor([2.0]), torch.tensor([1.0])) == 1
