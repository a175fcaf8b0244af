"""Who sits for the portrait: the numbers that make two people of equal attributes differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from course_lib.portraits.attributes import MONOCHROME_STYLES, Attributes
from course_lib.portraits.drawing.vector import Color, luminance, mix

SKIN: dict[str, Color] = {
    "pale": (252, 229, 217), "fair": (243, 203, 176), "olive": (216, 172, 122),
    "tan": (196, 140, 94), "brown": (142, 91, 60), "dark": (88, 56, 42),
}
HAIR: dict[str, Color] = {
    "black": (36, 31, 36), "brown": (104, 64, 40), "blond": (228, 190, 108),
    "red": (182, 74, 32), "gray": (150, 151, 155), "white": (238, 236, 232),
    "blue": (48, 96, 196), "pink": (240, 120, 172),
}
CLOTH: dict[str, Color] = {
    "white": (243, 242, 238), "black": (42, 42, 50), "gray": (138, 143, 150),
    "red": (200, 46, 48), "orange": (238, 130, 40), "yellow": (244, 206, 66),
    "green": (62, 138, 82), "blue": (50, 98, 184), "purple": (120, 72, 162),
    "pink": (240, 142, 178),
}
BACKDROP: dict[str, Color] = {
    "white": (247, 246, 242), "gray": (168, 172, 177), "beige": (229, 212, 183),
    "red": (198, 72, 66), "orange": (242, 156, 80), "yellow": (248, 218, 116),
    "green": (136, 184, 132), "blue": (124, 172, 216), "purple": (160, 134, 198),
    "pink": (246, 186, 202),
}
TURN = 0.27  # radians of a full turn
_IRIS: tuple[Color, ...] = (
    (92, 58, 34), (70, 44, 30), (120, 84, 40), (84, 124, 160), (92, 128, 88), (110, 120, 124),
)
_ACCENT: tuple[Color, ...] = (
    (196, 52, 56), (40, 84, 150), (58, 124, 92), (232, 178, 60), (112, 70, 140), (66, 66, 76),
    (216, 120, 64), (70, 150, 160),
)
# What sets a youth and a grown-up apart, added to the middle between them: (young, adult).
_PRIME: dict[str, tuple[float, float]] = {
    "chin": (-5.0, 4.0), "cheek": (0.04, -0.025), "eye_w": (1.6, -0.8), "eye_h": (2.0, -0.9),
    "iris_r": (0.8, -0.2), "lip": (1.3, -1.0), "nose_y": (-4.0, 2.5), "nose_w": (-2.0, 1.5),
    "brow_h": (-0.8, 0.8), "brow_y": (-2.0, 1.0), "hairline": (5.0, -6.0), "lines": (0.0, 0.42),
    "neck": (-3.0, 2.0), "jaw": (-0.03, 0.03),
}
_SCALE = {"close-up": (0.61, 120.0), "bust": (0.465, 110.0), "half-length": (0.345, 84.0)}


@dataclass(slots=True)
class Identity:
    """One sitter in head units: the face is about 200 wide, the eyes lie at ``y = 0``.

    The sitter is always turned to the left or frontal; `mirror` = -1 flips the drawing.
    """

    scale: float
    center: tuple[float, float]
    mirror: int
    turn: float
    tilt: float
    light: float
    man: bool
    child: bool
    old: bool
    face: float
    jaw: float
    chin_width: float
    chin: float
    cheek: float
    top: float
    eye_x: float
    eye_y: float
    eye_w: float
    eye_h: float
    eye_tilt: float
    iris_r: float
    brow_y: float
    brow_h: float
    brow_arch: float
    nose_y: float
    nose_w: float
    nose_bridge: float
    mouth_y: float
    mouth_w: float
    lip: float
    ear: float
    neck: float
    shoulder: float
    slope: float
    volume: float
    part: float
    fringe: int
    hairline: float
    length: float
    lines: float
    freckles: bool
    skin: Color
    hair: Color
    cloth: Color
    backdrop: Color
    iris: Color
    hat: Color
    accent: Color
    variant: int
    slips: tuple[float, ...]
    salt: int

    def fx(self, x: float, out: float = 0.0) -> float:
        """Where the face point `x` lies in the picture when the head is turned.

        The face is a cylinder of radius 105 that turns; `out` is how far the point stands
        out of it (the tip of a nose).
        """
        if self.turn == 0.0:
            return x
        angle = math.asin(max(-0.99, min(0.99, x / 105.0))) - TURN * self.turn
        return (105.0 + out) * math.sin(angle)

    @property
    def sink(self) -> float:
        """How far the head sits lower on the shoulders than an adult's: a short chin, no gap."""
        return max(0.0, (136.0 - self.chin) * 0.8)

    def narrow(self, x: float) -> float:
        """How much narrower (< 1) a feature at `x` looks when the head is turned."""
        if self.turn == 0.0:
            return 1.0
        angle = math.asin(max(-0.99, min(0.99, x / 105.0)))
        return math.cos(angle - TURN * self.turn) / math.cos(angle)


def check_variety(variety: float) -> float:
    """Return `variety` as a float if it lies in [0, 1], else raise ValueError."""
    if not 0 <= variety <= 1:
        raise ValueError(f"variety must be from 0 to 1, but is {variety!r}.")
    return float(variety)


def make_identity(attributes: Attributes, seed: int, variety: float = 1.0) -> Identity:
    """Draw the sitter's proportions and colours from `seed`.

    `variety` scales all that differs by degrees between people of equal attributes: where the
    face is and how wide, the set of the eyes, shades of a colour. Choices, such as that of the
    fringe, stay.
    """
    variety, rng = check_variety(variety), np.random.default_rng(seed)
    normal = iter(np.clip(rng.standard_normal(64), -1.9, 1.9).tolist())
    uniform = iter(rng.random(40).tolist())
    salt = int(rng.integers(1 << 30))
    child, old = attributes.age == "child", attributes.age == "elderly"
    man = attributes.gender == "man"

    def jitter(middle: float, spread: float) -> float:
        return middle + variety * spread * next(normal)

    values = _pose(attributes, jitter, uniform)
    values |= _skull(jitter, man=man, child=child, old=old)
    values |= _features(jitter, man=man, child=child, old=old)
    values |= _body(jitter, uniform, man=man, child=child, old=old)
    values |= _colors(attributes, jitter, uniform)
    for name, (youth, prime) in _PRIME.items():
        values[name] += {"young": youth, "adult": prime}.get(attributes.age, 0.0)
    slip = {"rough": 1.0, "good": 0.12, "masterful": 0.0}[attributes.quality]
    values["slips"] = tuple(slip * jitter(0.0, 1.0) for _ in range(10))
    values["freckles"] = attributes.skin in ("pale", "fair") and not old and next(uniform) < 0.25
    return Identity(man=man, child=child, old=old, salt=salt, **values)


def _pose(attributes, jitter, uniform) -> dict:
    """Camera, turn of the head and the side the light comes from."""
    scale, eye_line = _SCALE[attributes.framing]
    mirror = {"turned left": 1, "turned right": -1}.get(attributes.pose, 0)
    # All draws happen for every pose, so that one seed is one person in every pose.
    side, amount = next(uniform), 0.86 + 0.14 * next(uniform)
    turn = amount if mirror else 0.0
    mirror = mirror or (1 if side < 0.5 else -1)
    light = {"left": -1, "right": 1, "front": 0}[attributes.light] * mirror
    low = 9.0 if attributes.headwear in ("sun hat", "crown", "beanie") else 0.0
    low += 6.0 if attributes.hair_style in ("afro", "bun", "spiky", "curly") else 0.0
    size = jitter(1.0, 0.025) * (0.95 if attributes.age == "child" else 1.0)
    x = 128.0 + jitter(0.0, 3.0) + mirror * turn * 4.0
    y = eye_line + jitter(0.0, 2.0) + low * scale / 0.465
    return {
        "scale": scale * size, "center": (x, y), "mirror": mirror, "turn": turn,
        "tilt": jitter(0.0, 2.6), "light": float(light),
    }


def _skull(jitter, *, man: bool, child: bool, old: bool) -> dict:
    """The outline of the face."""
    if child:
        return {
            "face": jitter(1.05, 0.03), "jaw": jitter(1.02, 0.04), "chin_width": jitter(0.95, 0.1),
            "chin": jitter(110.0, 3.0), "cheek": jitter(1.1, 0.03), "top": jitter(-152.0, 3.0),
        }
    return {
        "face": jitter(0.985 if man else 0.965, 0.045),
        "jaw": jitter((1.07 if man else 0.92) + 0.02 * old, 0.06),
        "chin_width": jitter(1.18 if man else 0.84, 0.13),
        "chin": jitter(141.0 if man else 133.0, 5.0),
        "cheek": jitter(1.0, 0.03),
        "top": jitter(-148.0, 4.0),
    }


def _features(jitter, *, man: bool, child: bool, old: bool) -> dict:
    """Eyes, brows, nose, mouth and ears."""
    young = 1.0 if child else 0.0
    return {
        "eye_x": jitter(42.0 + 1.5 * young, 2.2),
        "eye_y": jitter(2.0 + 15.0 * young, 2.0),
        "eye_w": jitter(24.5 - 1.5 * man + 5.0 * young - 2.0 * old, 1.4),
        "eye_h": jitter(12.0 - 1.6 * man + 6.5 * young - 2.4 * old, 1.2),
        "eye_tilt": jitter(3.0 - 4.5 * old - 1.5 * man, 2.2),
        "iris_r": jitter(11.2 + 3.4 * young, 0.5),
        "brow_y": jitter(-29.0 + 2.5 * man - 1.0 * young + 2.0 * old, 2.6),
        "brow_h": max(3.0, jitter(6.0 + 3.2 * man * (1 - young) - 2.0 * young, 1.1)),
        "brow_arch": jitter(7.0 - 3.5 * man, 2.0),
        "nose_y": jitter(50.0 + 3.0 * man + 3.0 * old - 14.0 * young, 4.0),
        "nose_w": jitter(20.0 + 2.5 * man + 1.5 * old - 5.0 * young, 2.2),
        "nose_bridge": jitter(0.0 if not child else -3.0, 3.0),
        "mouth_y": jitter(86.0 + 2.0 * man - 21.0 * young, 2.5),
        "mouth_w": jitter(33.0 + 2.0 * man - 8.0 * young, 3.0),
        "lip": max(3.5, jitter(8.6 - 2.0 * man - 2.6 * old - 1.0 * young, 1.3)),
        "ear": jitter(1.0 + 0.1 * old, 0.06),
    }


def _body(jitter, uniform, *, man: bool, child: bool, old: bool) -> dict:
    """Neck, shoulders and the way the hair is worn."""
    return {
        "neck": jitter(38.0 if child else 60.0 if man else 47.0, 3.5),
        "shoulder": jitter(142.0 if child else 236.0 if man else 194.0, 10.0),
        "slope": jitter(0.0 + 8.0 * old, 6.0),
        "volume": jitter(1.0, 0.09),
        "part": jitter(0.0, 30.0),
        "fringe": int(next(uniform) * 3),
        "hairline": jitter(-92.0 - (16.0 if old and man else 0.0), 5.0),
        "length": jitter(1.0, 0.14),
        "lines": (0.8 + 0.4 * next(uniform)) * (1.0 if old else 0.0),
        "variant": int(next(uniform) * 12),
    }


def _colors(attributes: Attributes, jitter, uniform) -> dict:
    """The sitter's paint box: named colours with a little life in them."""
    skin = SKIN[attributes.skin]
    if attributes.style in MONOCHROME_STYLES:
        # Lines need light skin to stand out from; hue is not told in these styles anyway.
        skin = mix(skin, (255, 240, 228), 0.55 if luminance(skin) < 0.6 else 0.2)

    def near(color: Color, spread: float) -> Color:
        level = jitter(0.0, spread)
        return tuple(min(250.0, max(8.0, c + level + jitter(0.0, spread * 0.4))) for c in color)

    hair = near(HAIR[attributes.hair_color], 5.0)
    iris = _IRIS[int(next(uniform) * (3 if attributes.skin in ("tan", "brown", "dark") else 6))]
    hat_pick, accent_pick = int(next(uniform) * 8), int(next(uniform) * 8)
    hat = _ACCENT[hat_pick]
    if abs(luminance(hat) - luminance(hair)) < 0.12 and attributes.hair_style != "bald":
        hat = _ACCENT[(hat_pick + 3) % 8]
    return {
        "skin": near(skin, 3.0), "hair": hair, "cloth": near(CLOTH[attributes.clothing_color], 4.0),
        "backdrop": near(BACKDROP[attributes.background_color], 3.0), "iris": iris, "hat": hat,
        "accent": _ACCENT[accent_pick],
    }
