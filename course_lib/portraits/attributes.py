"""What a portrait shows: the attributes, their vocabulary, and how a person is drawn at random.

The vocabulary here is the one truth that the painter paints, the captions name and the metrics
measure. Every value is a plain English word or phrase that can stand in a caption.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate

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

# Relative odds of the values, in the order of VOCABULARY; what is not listed is drawn evenly.
_ODDS: dict[str, tuple[float, ...]] = {
    "age": (1.0, 2.0, 2.0, 1.5),
    "eyewear": (5.0, 2.0, 1.5, 1.5),
    "facial_hair": (3.0, 1.5, 1.2, 2.0),
    "headwear": (7.0, 1.0, 1.0, 1.0, 1.0, 0.7, 0.6),
    "expression": (1.5, 2.5, 1.5, 1.0, 1.0, 1.0),
    "framing": (1.0, 2.0, 1.0),
    "quality": (1.0, 2.0, 2.0),
}
# Percent of people with each hair colour, by age, in the order of VOCABULARY: black, brown, blond,
# red, gray, white, blue, pink. Gray and white come with age; 5 % dye their hair at every age. The
# numbers are round ones chosen for a plausible crowd, not those of any country.
HAIR_COLOR_BY_AGE: dict[str, tuple[float, ...]] = {
    "child": (31.0, 34.0, 21.0, 9.0, 0.0, 0.0, 2.5, 2.5),
    "young": (31.0, 34.0, 21.0, 9.0, 0.0, 0.0, 2.5, 2.5),
    "adult": (27.0, 31.0, 18.0, 8.0, 9.0, 2.0, 2.5, 2.5),
    "elderly": (6.0, 7.0, 5.0, 2.0, 40.0, 35.0, 2.5, 2.5),
}
# Children and women are bald in 1 of 100 instead of 1 of 10; the rest of that share has short hair.
_HAIR_STYLE_RARELY_BALD = tuple(
    {"bald": 0.1, "short": 1.9}.get(value, 1.0) for value in VOCABULARY["hair_style"]
)


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

    Each attribute is drawn independently of the others, with four exceptions: hair colour depends
    on age (`HAIR_COLOR_BY_AGE`), baldness is rare among women and children, only grown men have
    facial hair, and what `only` asks for is always given: ``{"facial_hair": ["beard"]}`` draws
    grown men. Skin depends on nothing, and nothing depends on skin.

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
        If a list is empty or holds an unknown name, an attribute is unknown, or facial hair is
        asked for of women or children only.
    """
    allowed = check_only(({} if styles is None else {"style": styles}) | dict(only or {}))
    allowed |= _needed_for_facial_hair(allowed)
    chosen: dict[str, str] = {}
    # In the order of VOCABULARY, one random number each: an attribute can depend on those before
    # it (age, gender), and the same state draws the same setting whatever `only` leaves open.
    for name, everything in VOCABULARY.items():
        values = allowed.get(name, everything)
        odds = dict(zip(everything, _odds(name, chosen), strict=True))
        totals = list(accumulate(odds[value] for value in values))
        if totals[-1] == 0:  # all that is allowed never occurs by chance: a child with gray hair
            totals = list(range(1, len(values) + 1))
        # The first value whose running total exceeds a uniform number: `Generator.choice` with
        # `p` draws the same and takes five times as long.
        place = bisect(totals, rng.random() * totals[-1], hi=len(values) - 1)
        chosen[name] = str(values[place])
    return Attributes(**chosen)


def _odds(name: str, chosen: Mapping[str, str]) -> Sequence[float]:
    """Relative odds of an attribute's values, given the attributes drawn before it."""
    if name == "hair_color":
        return HAIR_COLOR_BY_AGE[chosen["age"]]
    if name == "hair_style" and (chosen["age"] == "child" or chosen["gender"] == "woman"):
        return _HAIR_STYLE_RARELY_BALD
    if name == "facial_hair" and not can_have_facial_hair(chosen["age"], chosen["gender"]):
        return [float(value == "none") for value in VOCABULARY[name]]
    return _ODDS.get(name, [1.0] * len(VOCABULARY[name]))


def _needed_for_facial_hair(allowed: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The ages and genders that are left if everybody has to have facial hair, else nothing."""
    if "none" in allowed.get("facial_hair", ("none",)):
        return {}
    genders = allowed.get("gender", VOCABULARY["gender"])
    ages = allowed.get("age", VOCABULARY["age"])
    pairs = [(age, gender) for age in ages for gender in genders]
    possible = [pair for pair in pairs if can_have_facial_hair(*pair)]
    if not possible:
        raise ValueError(
            f"facial_hair={list(allowed['facial_hair'])} with age={list(ages)}, "
            f"gender={list(genders)} allows nobody: facial hair needs gender 'man' and an age "
            "other than 'child'. Allow facial_hair 'none', or other ages or genders."
        )
    return {
        "age": tuple(age for age in ages if age in {pair[0] for pair in possible}),
        "gender": tuple(gender for gender in genders if gender in {pair[1] for pair in possible}),
    }


def check_only(only: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The allowed values of some attributes, after checking every name.

    Raises
    ------
    TypeError
        If a list of values is a single text.
    ValueError
        If an attribute or value is unknown, a list is empty, or nobody can be what is asked for.
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
    _needed_for_facial_hair(checked)  # raises if nobody is left
    return checked
