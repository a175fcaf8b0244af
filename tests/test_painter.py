"""The painter: deterministic, one person at every size, and every attribute to be seen."""

from dataclasses import replace

import numpy as np
import pytest

from course_lib.portraits.attributes import (
    MONOCHROME_STYLES,
    STYLES,
    VOCABULARY,
    Attributes,
    sample_attributes,
)
from course_lib.portraits.drawing.identity import make_identity
from course_lib.portraits.painter import paint_portrait, portrait_svg

# Regions of a frontal bust at 64 px, as (rows, columns), read off the drawing's proportions.
ALL = (slice(0, 64), slice(0, 64))
EYES = (slice(22, 32), slice(20, 44))
MOUTH = (slice(34, 43), slice(25, 39))
HEAD = (slice(4, 46), slice(14, 50))
CROWN = (slice(2, 24), slice(14, 50))
CHEST = (slice(47, 64), slice(8, 56))
RIM = (slice(0, 30), slice(0, 8))
EXPECTED = {
    "age": HEAD,
    "gender": ALL,
    "skin": HEAD,
    "hair_color": CROWN,
    "hair_style": HEAD,
    "eyewear": EYES,
    "facial_hair": MOUTH,
    "headwear": CROWN,
    "expression": MOUTH,
    "clothing": CHEST,
    "clothing_color": CHEST,
    "background": RIM,
    "background_color": RIM,
    "framing": ALL,
    "pose": HEAD,
    "light": ALL,
    "style": ALL,
    "quality": ALL,
}


def difference(a: np.ndarray, b: np.ndarray, region=ALL) -> float:
    """Mean absolute difference of two pictures in a region, in grey levels."""
    return float(np.abs(a[region].astype(float) - b[region].astype(float)).mean())


def test_same_input_same_pixels():
    rng = np.random.default_rng(0)
    for style in STYLES:
        attributes = sample_attributes(rng, styles=[style])
        once, again = (paint_portrait(attributes, 5, 48) for _ in range(2))
        assert np.array_equal(once, again)
        assert portrait_svg(attributes, 5) == portrait_svg(attributes, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in VOCABULARY.items() for value in values],
)
def test_every_value_is_visible_where_it_belongs(name, value):
    base = Attributes(gender="man", hair_style="short", hair_color="brown")
    if value == getattr(base, name):
        values = VOCABULARY[name]
        base = replace(base, **{name: values[-1] if value != values[-1] else values[0]})
    changed = replace(base, **{name: value})
    # Means over three sitters: one haircut may happen to resemble another.
    before = [paint_portrait(base, s) for s in range(3)]
    after = [paint_portrait(changed, s) for s in range(3)]
    where = EXPECTED[name]
    inside = np.mean([difference(a, b, where) for a, b in zip(before, after, strict=True)])
    # Two grey levels over a region is a feature; rounding and noise stay far below one.
    assert inside > 2.0, f"{name}={value} changes its region by {inside:.2f} levels only"
    if where is not ALL:
        whole = np.mean([difference(a, b) for a, b in zip(before, after, strict=True)])
        assert inside > 0.9 * whole, f"{name}={value} shows elsewhere than it should"


def test_glasses_are_on_the_eyes_and_smiles_on_the_mouth():
    plain = Attributes(hair_style="bun")
    for kind in ("glasses", "round glasses", "sunglasses"):
        a, b = paint_portrait(plain, 1), paint_portrait(replace(plain, eyewear=kind), 1)
        assert difference(a, b, EYES) > 10 * max(0.1, difference(a, b, MOUTH))
    a, b = paint_portrait(plain, 1), paint_portrait(replace(plain, expression="laughing"), 1)
    assert difference(a, b, MOUTH) > 4 * difference(a, b, CHEST)


@pytest.mark.parametrize("style", ["flat illustration", "watercolor", "oil painting"])
def test_one_person_at_every_size(style):
    rng = np.random.default_rng(3)
    for seed in range(4):
        attributes = sample_attributes(rng, styles=[style])
        small = paint_portrait(attributes, seed, 64).astype(float)
        large = paint_portrait(attributes, seed, 128).astype(float)
        shrunk = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        other = paint_portrait(attributes, seed + 100, 64)
        gap = np.abs(shrunk - small).mean()
        # The same picture differs by anti-aliasing, strands and brush marks; another sitter in
        # the same setting differs by shapes and positions too.
        assert gap < (6.0 if style == "flat illustration" else 14.0)
        assert gap < difference(small, other)


def test_line_styles_have_no_hue():
    rng = np.random.default_rng(4)
    for style in MONOCHROME_STYLES:
        picture = paint_portrait(sample_attributes(rng, styles=[style]), 2)
        assert np.array_equal(picture[..., 0], picture[..., 1])
        assert np.array_equal(picture[..., 0], picture[..., 2])
        assert picture.std() > 20


def test_no_two_sitters_are_alike():
    attributes = Attributes()
    faces = [paint_portrait(attributes, seed)[HEAD].astype(float) for seed in range(12)]
    gaps = [np.abs(a - b).mean() for i, a in enumerate(faces) for b in faces[:i]]
    assert min(gaps) > 3.0


def test_variety_scales_what_differs_by_degrees():
    def sitters(variety: float) -> list:
        return [make_identity(Attributes(), seed, variety) for seed in range(8)]

    for whole, third, none in zip(sitters(1.0), sitters(0.3), sitters(0.0), strict=True):
        for name in ("fringe", "variant", "iris"):
            assert getattr(whole, name) == getattr(third, name)
        for name in ("eye_x", "mouth_w", "tilt", "shoulder"):
            most, little, middle = (getattr(one, name) for one in (whole, third, none))
            assert little - middle == pytest.approx(0.3 * (most - middle))
    assert len({one.eye_x for one in sitters(0.0)}) == 1
    assert len({one.eye_x for one in sitters(1.0)}) == 8
    with pytest.raises(ValueError, match=r"variety must be from 0 to 1, but is -0\.5"):
        paint_portrait(Attributes(), 0, variety=-0.5)


def test_turned_heads_are_mirror_images_in_intent():
    # The face of a head turned left lies left of that of a head turned right: compare where the
    # skin is by its red excess.
    def skin_center(pose):
        picture = paint_portrait(
            Attributes(hair_style="bald", pose=pose, background_color="blue", light="front"), 0
        ).astype(float)
        skin = np.clip(picture[20:44, :, 0] - picture[20:44, :, 2] - 30, 0, None).sum(0)
        return (skin * np.arange(64)).sum() / skin.sum()

    assert skin_center("turned left") != pytest.approx(skin_center("turned right"), abs=0.2)


@pytest.mark.parametrize("size", [32, 33, 64, 100])
def test_all_people_can_be_painted(size):
    rng = np.random.default_rng(size)
    for seed in range(40):
        attributes = sample_attributes(rng)
        picture = paint_portrait(attributes, seed, size)
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
        assert picture.std() > 4, attributes
        assert "nan" not in portrait_svg(attributes, seed)


@pytest.mark.parametrize("size", [0, 31, 513, -64])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match="32 to 512"):
        paint_portrait(Attributes(), 0, size)
