"""Tree-Ring: the noise stays normal, the key's rings are found again, and p-values are true."""

from __future__ import annotations

import functools
import math
import warnings

import pytest
import torch

import course_lib as cl
from course_lib.provenance import detect_tree_ring, ring_scores, tree_ring_noise
from course_lib.provenance.changes import CHANGES, repainted
from course_lib.tensors import to_pil

SHAPE = (4, 64, 16, 16)
KEY = 1234


@functools.cache
def pipe():
    return cl.load_pipeline("mini", "cpu", verbose=False)


@functools.cache
def painted(marked):
    noise = tree_ring_noise(SHAPE, KEY) if marked else torch.cat(
        [torch.randn(1, *SHAPE[1:], generator=cl.make_generator(k)) for k in range(SHAPE[0])]
    )  # fmt: skip
    *_, last = cl.paint_steps(pipe(), ["a man", "a woman with red hair"] * 2, noise=noise)
    return cl.decode_latents(pipe(), last.latents_next)


def score(image, key=KEY):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a crop is resized
        return detect_tree_ring(to_pil(image), key, model=pipe()).score


def test_the_rings_hold_the_key_and_nothing_else_changes():
    plain = torch.cat([torch.randn(1, *SHAPE[1:], generator=cl.make_generator(5 + k))
                       for k in range(4)])  # fmt: skip
    noise = tree_ring_noise(SHAPE, KEY, seed=5, channels=3, radius=4)
    assert torch.equal(noise[:, 3:], plain[:, 3:])
    before, after = (torch.fft.fft2(x[:, :3].double(), norm="ortho") for x in (plain, noise))
    rows = torch.fft.fftfreq(16, 1 / 16)
    ring = torch.hypot(rows[:, None], rows).round()
    outside = (ring == 0) | (ring > 4)
    torch.testing.assert_close(after[..., outside], before[..., outside], atol=1e-5, rtol=0)
    for r in range(1, 5):
        on_ring = after[..., ring == r]  # (4, 3, n): one real value for all pictures
        torch.testing.assert_close(on_ring, on_ring[:1, :, :1].real.expand_as(on_ring) + 0j,
                                   atol=1e-5, rtol=0)  # fmt: skip
    values = torch.randn(3, 4, generator=cl.make_generator(KEY), dtype=torch.float64)
    found = torch.stack([after[0, :, ring == r].real.mean(dim=1) for r in range(1, 5)], dim=1)
    torch.testing.assert_close(found, values, atol=1e-5, rtol=0)


def test_over_keys_the_noise_keeps_its_variance():
    noise = torch.cat([tree_ring_noise((1, *SHAPE[1:]), key, seed=key) for key in range(60)])
    # 60 keys of 7 rings in each of 16 channels, the largest of 44 frequencies: some 3 % of chance
    assert noise[:, :16].square().mean().item() == pytest.approx(1, abs=0.1)
    assert abs(noise[:, :16].mean().item()) < 0.05


def test_a_score_is_standard_normal_over_keys_for_any_picture():
    inverted = torch.cat([cl.ddim_inversion(to_pil(x), model=pipe(), steps=2).noise
                          for x in painted(False)[:2]])  # fmt: skip
    for noise in (inverted, torch.ones(1, *SHAPE[1:]).cumsum(2)):
        scores = torch.stack([ring_scores(noise, key) for key in range(400)])
        assert abs(scores.mean().item()) < 4 / math.sqrt(400)
        assert abs(scores.std().item() - 1) < 4 / math.sqrt(2 * 400)


def test_the_score_does_not_mind_the_strength_of_a_channel():
    noise = tree_ring_noise(SHAPE, KEY)
    scaled = noise * torch.logspace(-3, 3, 64)[:, None, None]
    torch.testing.assert_close(ring_scores(scaled, KEY), ring_scores(noise, KEY),
                               atol=1e-4, rtol=0)  # fmt: skip
    assert ring_scores(noise, KEY).min() > 8


def test_it_is_found_in_the_picture_and_not_in_others():
    assert min(score(x) for x in painted(True)) > 4.8  # p < 1e-6
    assert max(score(x) for x in painted(False)) < 4
    assert max(score(x, KEY + 1) for x in painted(True)) < 4
    reading = detect_tree_ring(to_pil(painted(True)[0]), KEY, model=pipe())
    assert reading.found() and not reading.found(level=reading.p_value / 2)
    assert reading.p_value == pytest.approx(
        1 - torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(reading.score).double()).item(),
        abs=1e-12,
    )


def test_what_it_survives_and_what_it_does_not():
    mean = {name: sum(score(CHANGES[name](x)) for x in painted(True)) / 4
            for name in ("JPEG of quality 50", "blur", "crop to 7/8")}  # fmt: skip
    assert mean["JPEG of quality 50"] > 5 and mean["blur"] > 5
    assert mean["crop to 7/8"] < 2.5
    again = repainted(painted(True)[0], "a man", strength=0.2, model=pipe())
    assert again.shape == (3, 128, 128) and score(again) > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"channels": 65}, "channels"), ({"radius": 8}, "radius"), ({"radius": 0}, "radius")],
)
def test_bad_input_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        tree_ring_noise(SHAPE, KEY, **options)
    with pytest.raises(ValueError, match="shape of latents|latents"):
        tree_ring_noise(SHAPE[1:], KEY)


def test_changes_are_what_their_names_say():
    image = painted(False)[0]
    for name, change in CHANGES.items():
        assert change(image).shape == ((3, 112, 112) if name == "crop to 7/8" else image.shape)
        assert change(image).abs().max() <= 1 + 1e-6
    from torchvision.transforms.functional import gaussian_blur

    torch.testing.assert_close(CHANGES["blur"](image)[:, 4:-4, 4:-4],
                               gaussian_blur(image, 7, 1.0)[:, 4:-4, 4:-4])  # fmt: skip
