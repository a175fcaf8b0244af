"""Caption augmentation: other wordings of a caption that mean the same.

A text encoder that only sees templates ("a woman with red hair, watercolor") learns positions as
much as meaning. Two kinds of augmentation make it read freer prompts: `substitute_words` exchanges
words and clauses of the template, `rephrase` builds other sentences ("her hair is red; a cap on her
head"). Both keep a result only if `parse_caption` reads the same attributes in it.

The phrases are in ``caption_phrases.json``. There, ``{they}``, ``{their}`` and ``{them}`` stand for
pronouns, ``{color}`` for a colour or nothing, ``{value}`` for what an attribute's value is called
and ``{a_value}`` for the same with its article.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from course_lib.portraits.captions import parse_caption, with_article
from course_lib.portraits.captions.words import CLOTH_COLORS, HAIR_COLORS, HEARD, SAID, WALL_COLORS

PHRASES = json.loads(Path(__file__).with_name("caption_phrases.json").read_text(encoding="utf-8"))
REPHRASED = 0.4  # share of captions that become other sentences; the rest keep the template's form
# Attributes with a clause of their own; hair, clothes and background take two attributes together
_OWN_CLAUSE = (
    "eyewear", "facial_hair", "headwear", "expression", "skin", "light", "pose", "quality",
    "framing",
)  # fmt: skip
# The encoder takes 77 tokens; hardly any caption of so many words has more
_MAX_WORDS = 52
_ATTEMPTS = 3
# What must follow a colour for it to be the colour of hair, or of clothes
_HAIR_FOLLOWS = r"(?=[^,]{0,20}\b(?:hair|bob|cut|curls|afro|bun|braids|buzz)\b)"
_CLOTHES_FOLLOW = (
    r"(?=[^,]{0,12}\b(?:t-shirt|tee|shirt|turtleneck|hoodie|suit|sweatshirt|sweater)\b)"
)


def augment_caption(text: str, rng: np.random.Generator) -> str:
    """Another wording of a caption with the same meaning.

    Parameters
    ----------
    text : str
        A caption as `course_lib.portraits.caption` writes it.
    rng : numpy.random.Generator

    Returns
    -------
    str
        `parse_caption` reads the same in it as in `text`. In the rare case that no augmentation
        keeps the meaning, `text` itself.
    """
    return rephrase(text, rng) if rng.random() < REPHRASED else substitute_words(text, rng)


def substitute_words(text: str, rng: np.random.Generator) -> str:
    """Exchange words, reorder clauses, drop articles and add words without meaning, at random."""
    meaning = parse_caption(text)
    varied = _exchange(text, meaning, rng)
    clauses = varied.split(", ")
    if rng.random() < 0.4:
        clauses = _shuffled(clauses, rng)
    varied = clauses[0]
    for clause in clauses[1:]:
        varied += (pick(PHRASES["clause_joints"], rng) if rng.random() < 0.3 else ", ") + clause
    if rng.random() < 0.25:
        varied = re.sub(r"\b(?:a|an) ", "", varied)
    if rng.random() < 0.3:
        varied = f"{pick(PHRASES['prefixes'], rng)} {varied}"
    if rng.random() < 0.2:
        varied = f"{varied}, {pick(PHRASES['suffixes'], rng)}"
    return varied if parse_caption(varied) == meaning else text


def rephrase(text: str, rng: np.random.Generator) -> str:
    """Say the same in other sentences; `text` if three attempts are too long or misread."""
    meaning = parse_caption(text)
    for _ in range(_ATTEMPTS):
        told = _sentences(meaning, rng)
        if told.count(" ") < _MAX_WORDS and parse_caption(told) == meaning:
            return told
    return text


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def _shuffled(clauses: list[str], rng: np.random.Generator) -> list[str]:
    return [clauses[i] for i in rng.permutation(len(clauses))]


def _exchange(text: str, meaning: dict[str, str], rng: np.random.Generator) -> str:
    """Other words for about half of what the caption names."""
    for name, value in meaning.items():
        if rng.random() < 0.5:
            continue
        if name == "hair_color":
            changed = _exchange_color(text, value, HAIR_COLORS, _HAIR_FOLLOWS, rng)
        elif name == "clothing_color":
            changed = _exchange_color(text, value, CLOTH_COLORS, _CLOTHES_FOLLOW, rng)
        else:
            changed = _exchange_phrase(text, name, value, rng)
        if parse_caption(changed) == meaning:
            text = changed
    return text


def _exchange_color(
    text: str, color: str, names: dict[str, str], follows: str, rng: np.random.Generator
) -> str:
    """Another name of `color`, only where what `follows` it says whose colour it is."""
    other = pick([word for word, meant in names.items() if meant == color], rng)
    return re.sub(rf"\b{color}\b{follows}", other, text, count=1)


def _exchange_phrase(text: str, name: str, value: str, rng: np.random.Generator) -> str:
    """Another phrase for an attribute's value, in the place of the longest that is there."""
    said = SAID.get(name, {}).get(value, (value,))
    others = [*said, *HEARD.get(name, {}).get(value, ())]
    present = [phrase for phrase in sorted(said, key=len, reverse=True) if phrase in text]
    return text.replace(present[0], pick(others, rng), 1) if present else text


def _sentences(meaning: dict[str, str], rng: np.random.Generator) -> str:
    """The person, and a clause for each attribute in random order."""
    known = PHRASES["pronouns"].get(meaning.get("gender", ""))
    pronouns = known or pick(PHRASES["pronouns_unknown"], rng)
    words = dict(zip(("they", "their", "them"), pronouns, strict=True))
    clauses = [f(meaning, words, rng) for f in (_hair, _clothes, _background, _style)]
    for name in _OWN_CLAUSE:
        if name in meaning:
            value = _synonym(name, meaning[name], rng)
            # On a bald head the beard is what has the hair colour
            if name == "facial_hair" and meaning.get("hair_style") == "bald":
                value = f"{meaning.get('hair_color', '')} {value}".strip()
            clauses.append(_clause(name, value, words, rng))
    clauses = _shuffled([clause for clause in clauses if clause], rng)
    # Mostly the person comes first, but some sentences begin with the style or the hat
    if rng.random() < 0.7:
        clauses.insert(0, pick(PHRASES["openings"], rng) + _person(meaning, rng))
    else:
        clauses.insert(min(1, len(clauses)), _person(meaning, rng))
    told = clauses[0]
    for clause in clauses[1:]:
        told += pick(PHRASES["joints"], rng) + clause
    return told


def _person(meaning: dict[str, str], rng: np.random.Generator) -> str:
    gender, age = meaning.get("gender", ""), meaning.get("age", "")
    if age == "child":
        return pick(PHRASES["children"][gender], rng)
    article, noun = pick(PHRASES["people"][gender], rng).split(" ")
    if not age:
        return f"{article} {noun}"
    word = pick(PHRASES["ages"][age], rng)
    if rng.random() < 0.3:
        return f"{article} {noun}, {word}"
    return with_article(f"{word} {noun}") if article == "a" else f"{article} {word} {noun}"


def _hair(meaning: dict[str, str], words: dict[str, str], rng: np.random.Generator) -> str:
    style, color = meaning.get("hair_style", ""), meaning.get("hair_color", "")
    if not style and not color:
        return ""
    return _fill(pick(PHRASES["hair"][style], rng), color=_named(HAIR_COLORS, color, rng), **words)


def _clothes(meaning: dict[str, str], words: dict[str, str], rng: np.random.Generator) -> str:
    color = _named(CLOTH_COLORS, meaning.get("clothing_color", ""), rng)
    if "clothing" not in meaning:
        return _clause("clothing_color", color, words, rng) if color else ""
    garment = _synonym("clothing", meaning["clothing"], rng)
    if color and rng.random() < 0.3:
        return f"{words['their']} {garment} is {color}"
    return _clause("clothing", f"{color} {garment}".strip(), words, rng)


def _background(meaning: dict[str, str], words: dict[str, str], rng: np.random.Generator) -> str:
    kind = meaning.get("background", "")
    if kind in PHRASES["scenes"]:
        scene = pick(PHRASES["scenes"][kind], rng)
        return _fill(pick(PHRASES["scene_clauses"], rng), value=scene, **words)
    color = _named(WALL_COLORS, meaning.get("background_color", ""), rng)
    if kind == "gradient":
        scene = with_article(f"{color} gradient".strip())
        return _fill(pick(PHRASES["scene_clauses"], rng), value=scene, **words)
    if not kind and not color:
        return ""
    return _fill(pick(PHRASES["wall_clauses"], rng), color=f"{kind} {color}", **words)


def _style(meaning: dict[str, str], words: dict[str, str], rng: np.random.Generator) -> str:
    if "style" not in meaning:
        return ""
    if rng.random() < 0.5:
        return _clause("style", _synonym("style", meaning["style"], rng), words, rng)
    return _fill(pick(PHRASES["in_style"], rng), value=pick(HEARD["style"][meaning["style"]], rng))


def _synonym(name: str, value: str, rng: np.random.Generator) -> str:
    return pick(PHRASES["synonyms"].get(name, SAID[name]).get(value, (value,)), rng)


def _named(names: dict[str, str], color: str, rng: np.random.Generator) -> str:
    """A colour by one of its names, two times in three its own; no colour stays none."""
    others = [word for word, meant in names.items() if meant == color]
    return pick(others, rng) if others and rng.random() < 0.33 else color


def _clause(name: str, value: str, words: dict[str, str], rng: np.random.Generator) -> str:
    pattern = pick(PHRASES["clauses"][name], rng)
    return _fill(pattern, value=value, a_value=with_article(value), **words)


def _fill(pattern: str, **words: str) -> str:
    """The pattern with its words, without the gaps that an unnamed colour leaves."""
    text = " ".join(pattern.format(**words).split()).replace(" ,", ",").strip(" ,")
    return re.sub(r" and$", "", text)
