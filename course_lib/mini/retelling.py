"""Captions told in sentences, one thing after another, as people tell who shall be painted.

`wording.vary` changes the words of a template; here the sentence is another one: "Her hair is red.
She wears glasses", "a cap on his head". A text encoder that has only met "a woman with red hair"
has learned places of words as much as their meaning.
"""

from __future__ import annotations

import re

import numpy as np

from course_lib.mini.wording import pick
from course_lib.portraits import parse_caption
from course_lib.portraits.captions import with_article
from course_lib.portraits.captions.words import CLOTH_COLORS, HAIR_COLORS, HEARD, SAID, WALL_COLORS

# gender -> who acts, whose it is, and to whom it happens
_PRONOUNS = {"woman": ("she", "her", "her"), "man": ("he", "his", "him")}
_NOBODY = (("the person", "the", "them"), ("this person", "their", "them"))
# Attributes with a clause to themselves; hair, clothes and background take two together
_ALONE = (
    "eyewear", "facial_hair", "headwear", "expression", "skin", "light", "pose", "quality",
    "framing",
)  # fmt: skip
_PEOPLE = {
    "woman": ("a woman", "a lady", "this lady", "some woman", "the woman"),
    "man": ("a man", "a guy", "this fellow", "some man", "the man", "a gentleman"),
    "": ("a person", "a person", "this person", "a human"),
}
_CHILDREN = {
    "woman": ("a girl", "the girl"),
    "man": ("a boy", "this boy"),
    "": ("a child", "a kid"),
}
_AGES = {
    "young": ("young",), "adult": ("adult", "middle-aged", "grown-up"),
    "elderly": ("old", "elderly", "aged"),
}  # fmt: skip
# {c} is a colour or empty, {s}, {p} and {o} the pronouns
_HAIR = {
    "bald": ("{s} is bald", "{p} head is bald", "bald", "completely bald"),
    "buzz cut": ("{p} {c} hair is a buzz cut", "{c} hair, a buzz cut", "{s} has a {c} buzz cut"),
    "short": (
        "{p} hair is short and {c}", "{p} {c} hair is short", "short {c} hair",
        "{s} has short {c} hair",
    ),
    "spiky": ("{p} {c} hair is spiky", "{p} hair is spiky and {c}", "spiky {c} hair on {p} head"),
    "bob": (
        "{p} {c} hair is cut in a bob", "a {c} bob", "{s} wears {p} {c} hair in a bob",
        "{p} hair is a {c} bob",
    ),
    "long": (
        "{p} hair is long and {c}", "{p} {c} hair is long", "{s} has long {c} hair",
        "long {c} hair",
    ),
    "curly": (
        "{p} {c} hair is curly", "{p} hair falls in {c} curls", "{c} curls", "{p} curls are {c}",
        "curls of {c} hair",
    ),
    "afro": ("{p} {c} hair is an afro", "{s} has a {c} afro", "a big {c} afro", "{p} afro is {c}"),
    "bun": (
        "{p} {c} hair is in a bun", "{p} {c} hair is tied in a bun", "{c} hair up in a bun",
        "{p} hair is {c} and put up in a bun", "{s} wears a {c} bun",
    ),
    "braids": (
        "{p} {c} hair is in braids", "{p} {c} hair is braided", "{s} has {c} braids",
        "{p} braids are {c}", "{s} wears {p} {c} hair in braids", "{p} hair is {c} and in plaits",
    ),
    "": ("{p} hair is {c}", "{s} has {c} hair", "{c} hair", "{c}-haired"),
}  # fmt: skip
# For everything else {v} is what it is called and {a} the same with its article
_CLAUSES = {
    "eyewear": (
        "{s} wears {v}", "{v} on {p} nose", "{s} has {v} on", "{v}", "wearing {v}", "behind {v}",
    ),
    "facial_hair": ("{s} has {a}", "{s} wears {a}", "{a} on {p} face", "{a}"),
    "headwear": (
        "{s} wears {a}", "{a} on {p} head", "{s} has {a} on", "there is {a} on {p} head", "{a}",
        "under {a}",
    ),
    "expression": (
        "{s} is {v}", "{s} looks {v}", "{p} face is {v}", "{v}", "who is {v}", "{a} face",
    ),
    "skin": ("{p} skin is {v}", "{v} skin", "{v}-skinned", "{s} has {v} skin", "{a} complexion"),
    "light": ("the light comes from the {v}", "light falls from the {v}", "lit from the {v}"),
    "pose": ("{s} is {v}", "{v}"),
    "clothing": ("{s} wears {a}", "{s} is in {a}", "{s} has {a} on", "{a}", "wearing {a}"),
    "clothing_color": (
        "{s} wears {v}", "{p} clothes are {v}", "clothes in {v}", "{a} top", "{v} clothes",
    ),
    "style": ("make it {a}", "as {a}", "{a}", "it is {a}", "done as {a}"),
    "quality": ("it is {v}", "{v} work"),
    "framing": ("{v}", "{v} view"),
}  # fmt: skip
_IN_STYLE = ("in {v}", "{v} style", "{v}", "painted in {v}", "{v}, please")
# Other words than in captions; what is not listed goes by its own name
_WORDS = {
    "expression": {
        "neutral": ("calm", "serious", "neutral"), "smiling": ("smiling", "happy", "cheerful"),
        "laughing": ("laughing",), "sad": ("sad", "unhappy", "melancholy", "gloomy"),
        "surprised": ("surprised", "amazed", "shocked", "astonished"),
        "angry": ("angry", "furious"),
    },
    "skin": {},
    "light": {},
}  # fmt: skip
_SCENES = {
    "landscape": ("a landscape", "hills", "mountains", "a meadow", "the countryside"),
    "sunset": ("a sunset", "the sunset sky", "the setting sun"),
    "bookshelf": ("a bookshelf", "a bookcase", "shelves of books", "books", "a library"),
    "starry night": ("a starry night", "a starry sky", "stars", "the night sky"),
}
_BEHIND = (
    "behind {o} {v}", "{v} behind {o}", "background: {v}", "{v} in the background",
    "behind {o} there is {v}", "{s} is in front of {v}",
)  # fmt: skip
_WALLS = (
    "the background is {c}", "{c} background",
    "a {c} wall behind {o}", "in front of a {c} backdrop", "against a {c} wall",
)  # fmt: skip
_OPENINGS = (
    "", "", "", "paint ", "i want ", "could you paint ", "show me ", "there is ", "think of ",
)  # fmt: skip
_MOST_WORDS = 52  # few texts of so many words have more tokens than the encoder takes
_JOINTS = (". ", ". ", ", ", ", ", "; ", " and ")


def retell(text: str, rng: np.random.Generator) -> str:
    """Say in sentences of one's own what a caption says.

    If the result is too long, or `parse_caption` reads it differently, it is told again; after
    three times the caption stays as it was.
    """
    meaning = parse_caption(text)
    for _ in range(3):
        told = _told(meaning, rng)
        if told.count(" ") < _MOST_WORDS and parse_caption(told) == meaning:
            return told
    return text


def _told(said: dict[str, str], rng: np.random.Generator) -> str:
    subject, owner, object_ = _PRONOUNS.get(said.get("gender", "")) or pick(_NOBODY, rng)
    words = {"s": subject, "p": owner, "o": object_}
    clauses = [_hair(said, words, rng), _clothes(said, words, rng), _behind(said, words, rng)]
    for name in _ALONE:
        if name in said:
            called = _called(name, said[name], rng)
            if name == "facial_hair" and said.get("hair_style") == "bald":
                called = f"{said.get('hair_color', '')} {called}".strip()
            clauses.append(_clause(name, called, words, rng))
    if "style" in said:
        clauses.append(_style(said["style"], words, rng))
    clauses = [clause for clause in clauses if clause]
    clauses = [clauses[i] for i in rng.permutation(len(clauses))]
    # Mostly the person comes first, but some begin with the style or the hat
    if rng.random() < 0.7:
        clauses.insert(0, pick(_OPENINGS, rng) + _person(said, rng))
    else:
        clauses.insert(min(1, len(clauses)), _person(said, rng))
    told = clauses[0]
    for clause in clauses[1:]:
        told += pick(_JOINTS, rng) + clause
    return told


def _person(said: dict[str, str], rng: np.random.Generator) -> str:
    gender, age = said.get("gender", ""), said.get("age", "")
    if age == "child":
        return pick(_CHILDREN[gender], rng)
    article, noun = pick(_PEOPLE[gender], rng).split(" ")
    if not age:
        return f"{article} {noun}"
    word = pick(_AGES[age], rng)
    if rng.random() < 0.3:
        return f"{article} {noun}, {word}"
    return with_article(f"{word} {noun}") if article == "a" else f"{article} {word} {noun}"


def _hair(said: dict[str, str], words: dict[str, str], rng: np.random.Generator) -> str:
    style, color = said.get("hair_style", ""), said.get("hair_color", "")
    if not style and not color:
        return ""
    return _filled(pick(_HAIR[style], rng), c=_color_word(HAIR_COLORS, color, rng), **words)


def _clothes(said: dict[str, str], words: dict[str, str], rng: np.random.Generator) -> str:
    color = _color_word(CLOTH_COLORS, said.get("clothing_color", ""), rng)
    if "clothing" in said:
        garment = _called("clothing", said["clothing"], rng)
        if color and rng.random() < 0.3:
            return f"{words['p']} {garment} is {color}"
        return _clause("clothing", f"{color} {garment}".strip(), words, rng)
    return _clause("clothing_color", color, words, rng) if color else ""


def _behind(said: dict[str, str], words: dict[str, str], rng: np.random.Generator) -> str:
    kind, color = said.get("background", ""), said.get("background_color", "")
    if kind in _SCENES:
        return _filled(pick(_BEHIND, rng), v=pick(_SCENES[kind], rng), **words)
    color = _color_word(WALL_COLORS, color, rng)
    if kind == "gradient":
        return _filled(pick(_BEHIND, rng), v=with_article(f"{color} gradient".strip()), **words)
    return _filled(pick(_WALLS, rng), c=f"{kind} {color}", **words) if kind or color else ""


def _style(style: str, words: dict[str, str], rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return _clause("style", _called("style", style, rng), words, rng)
    return _filled(pick(_IN_STYLE, rng), v=pick(HEARD["style"][style], rng))


def _called(name: str, value: str, rng: np.random.Generator) -> str:
    return pick(_WORDS.get(name, SAID[name]).get(value, (value,)), rng)


def _color_word(colors: dict[str, str], color: str, rng: np.random.Generator) -> str:
    """A colour by one of its names, most often its own; no colour stays none."""
    others = [word for word, meant in colors.items() if meant == color]
    return pick(others, rng) if others and rng.random() < 0.33 else color


def _clause(name: str, value: str, words: dict[str, str], rng: np.random.Generator) -> str:
    return _filled(pick(_CLAUSES[name], rng), v=value, a=with_article(value), **words)


def _filled(pattern: str, **words: str) -> str:
    """The pattern with its words, without the gaps that an unsaid colour leaves."""
    text = " ".join(pattern.format(**words).split()).replace(" ,", ",").strip(" ,")
    return re.sub(r" and$", "", text)
