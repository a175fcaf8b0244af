"""What a portrait shows: the attributes, their vocabulary, and how a person is drawn at random.

The vocabulary here is the one truth that the painter paints, the captions name and the metrics
measure. Every value is a plain English word or phrase that can stand in a caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from course_lib.errors import check_choice

VOCABULARY: dict[str, tuple[str, ...]] = {
    "age": ("child", "young", "adult", "elderly"),
    "gender": ("woman", "man"),
    "skin": ("pale", "fair", "olive", "tan", "brown", "dark"),
    "hair_color": ("black", "brown", "blond", "red", "gray", "white", "blue", "pink"),
    "hair_style": (
        "bald", "buzz cut", "short", "spiky", "bob", "long", "curly", "afro", "bun", "braids",
    ),
    "eyewear": ("none", "glasses", "round glasses", "sunglasses"),
    "facial_hair": ("none", "mustache", "goatee", "beard"),
    "headwear": ("none", "cap", "beanie", "sun hat", "beret", "headscarf", "crown"),
    "expression": ("neutral", "smiling", "laughing", "sad", "surprised", "angry"),
    "clothing": ("t-shirt", "shirt", "turtleneck", "hoodie", "suit"),
    "clothing_color": (
        "white", "black", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink",
    ),
    "background": ("plain", "gradient", "landscape", "sunset", "bookshelf", "starry night"),
    "background_color": (
        "white", "gray", "beige", "red", "orange", "yellow", "green", "blue", "purple", "pink",
    ),
    "framing": ("close-up", "bust", "half-length"),
    "pose": ("frontal", "turned left", "turned right"),
    "light": ("left", "right", "front"),
    "style": (
        "flat illustration", "pencil sketch", "ink drawing", "watercolor", "oil painting",
        "pop art", "pixel art", "pastel", "mosaic", "woodcut",
    ),
    "quality": ("rough", "good", "masterful"),
}

STYLES = VOCABULARY["style"]
# Graphite and black ink show no hue, so captions of these styles name no colours.
MONOCHROME_STYLES = ("pencil sketch", "ink drawing", "woodcut")
# Only these backgrounds have a colour of their own; a sunset is a sunset.
COLORED_BACKGROUNDS = ("plain", "gradient")
# These cover the whole head, so the hair beneath cannot be told from the picture.
COVERS_HAIR = ("headscarf",)

# Relative odds where equal odds would make odd crowds; the rest is drawn evenly, skin tones too.
_WEIGHTS: dict[str, tuple[float, ...]] = {
    "age": (1.0, 2.0, 2.0, 1.5),
    "eyewear": (5.0, 2.0, 1.5, 1.5),
    "facial_hair": (3.0, 1.5, 1.2, 2.0),
    "headwear": (7.0, 1.0, 1.0, 1.0, 1.0, 0.7, 0.6),
    "expression": (1.5, 2.5, 1.5, 1.0, 1.0, 1.0),
    "framing": (1.0, 2.0, 1.0),
    "quality": (1.0, 2.0, 2.0),
}
# Odds of a hair colour by age, in percent: black, brown, blond, red, gray, white, blue, pink. Dyed
# hair is 5 in 100 at every age, gray and white come with age, and nothing depends on the skin.
_HAIR_COLOR_BY_AGE: dict[str, tuple[float, ...]] = {
    "child": (31.0, 34.0, 21.0, 9.0, 0.0, 0.0, 2.5, 2.5),
    "young": (31.0, 34.0, 21.0, 9.0, 0.0, 0.0, 2.5, 2.5),
    "adult": (27.0, 31.0, 18.0, 8.0, 9.0, 2.0, 2.5, 2.5),
    "elderly": (6.0, 7.0, 5.0, 2.0, 40.0, 35.0, 2.5, 2.5),
}


@dataclass(frozen=True)
class Attributes:
    """Everything about a portrait that a caption can name.

    Each field holds one value of ``VOCABULARY[field]``. ``pose`` is from the viewer's side:
    ``"turned left"`` means that the nose points to the left edge of the picture; ``light`` is the
    side of the picture from which the light comes.

    Raises
    ------
    ValueError
        If a value is not in the vocabulary or the combination is impossible (a bearded child).
    """

    age: str = "adult"
    gender: str = "woman"
    skin: str = "fair"
    hair_color: str = "brown"
    hair_style: str = "long"
    eyewear: str = "none"
    facial_hair: str = "none"
    headwear: str = "none"
    expression: str = "neutral"
    clothing: str = "shirt"
    clothing_color: str = "blue"
    background: str = "plain"
    background_color: str = "beige"
    framing: str = "bust"
    pose: str = "frontal"
    light: str = "left"
    style: str = "flat illustration"
    quality: str = "good"

    def __post_init__(self) -> None:
        for field in fields(self):
            check_choice(field.name, getattr(self, field.name), VOCABULARY[field.name])
        if self.facial_hair != "none" and not can_have_facial_hair(self.age, self.gender):
            raise ValueError(
                f"Impossible portrait: facial_hair={self.facial_hair!r} with age={self.age!r}, "
                f"gender={self.gender!r}. Facial hair needs gender='man' and an age other than "
                "'child'; set facial_hair='none' or change age or gender."
            )

    def to_dict(self) -> dict[str, str]:
        """The attributes as a plain dictionary, for metadata files."""
        return asdict(self)


def can_have_facial_hair(age: str, gender: str) -> bool:
    """Whether this painter gives such a person a beard."""
    return gender == "man" and age != "child"


def visible_attributes(attributes: Attributes) -> tuple[str, ...]:
    """The attributes that can be read off the picture: no hue in ink, no hair under a scarf."""
    hidden: set[str] = set()
    if attributes.style in MONOCHROME_STYLES:
        # Skin goes too: without hue a tan in shade and a fair face in light are one gray.
        hidden |= {"hair_color", "clothing_color", "background_color", "skin"}
    if attributes.headwear in COVERS_HAIR:
        hidden |= {"hair_color", "hair_style"}
    if attributes.hair_style == "bald" and attributes.facial_hair == "none":
        hidden.add("hair_color")
    if attributes.background not in COLORED_BACKGROUNDS:
        hidden.add("background_color")
    return tuple(name for name in VOCABULARY if name not in hidden)


def sample_attributes(
    rng: np.random.Generator,
    *,
    styles: Sequence[str] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
) -> Attributes:
    """Draw a possible person, setting and style at random.

    What `styles` and `only` leave open is drawn as it occurs among people: gray and white hair by
    age, dyed hair in 5 of 100. A value that is asked for is always given.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness: the same state gives the same attributes.
    styles : sequence of str, optional
        Restrict the art style to these names. Default: all of `STYLES`.
    only : mapping from attribute to values, optional
        Restrict other attributes alike, such as ``{"pose": ["frontal"]}``.

    Raises
    ------
    ValueError
        If a list is empty or holds an unknown name, or an attribute is unknown.
    """
    allowed = check_only(({} if styles is None else {"style": styles}) | dict(only or {}))
    chosen: dict[str, str] = {}
    for name, everything in VOCABULARY.items():
        values = allowed.get(name, everything)
        odds = dict(zip(everything, _odds(name, chosen), strict=True))
        weights = np.asarray([odds[value] for value in values])
        if not weights.any():  # asked for what hardly occurs: a child with gray hair
            weights = np.ones(len(values))
        chosen[name] = str(values[rng.choice(len(values), p=weights / weights.sum())])
    return Attributes(**_make_possible(chosen, rng, allowed))


def _odds(name: str, chosen: Mapping[str, str]) -> Sequence[float]:
    """Relative odds of an attribute's values, given the attributes drawn before it."""
    if name == "hair_color":
        return _HAIR_COLOR_BY_AGE[chosen["age"]]
    return _WEIGHTS.get(name, [1.0] * len(VOCABULARY[name]))


def check_only(only: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The allowed values of some attributes, after checking every name.

    Raises
    ------
    TypeError
        If a list of values is a single text.
    ValueError
        If an attribute or value is unknown, or a list is empty.
    """
    checked = {}
    for name, values in only.items():
        everything = VOCABULARY[check_choice("attribute", name, VOCABULARY)]
        plural = "styles" if name == "style" else name
        if isinstance(values, str):
            raise TypeError(f"{plural} must be a list of names; write {plural}=[{values!r}].")
        if len(values) == 0:
            names = ", ".join(everything)
            raise ValueError(f"{plural} is empty; give None for all, or some of: {names}.")
        checked[name] = tuple(check_choice(name, value, everything) for value in values)
    return checked


def _make_possible(
    chosen: dict[str, str], rng: np.random.Generator, allowed: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Mend combinations that cannot be, and thin out those that are merely rare."""
    if not can_have_facial_hair(chosen["age"], chosen["gender"]):
        chosen["facial_hair"] = "none"
    rare_bald = chosen["age"] == "child" or chosen["gender"] == "woman"
    if chosen["hair_style"] == "bald" and rare_bald and rng.random() < 0.9:
        if "short" in allowed.get("hair_style", ("short",)):
            chosen["hair_style"] = "short"
    return chosen
