"""Captions as other people would put them, so that the text encoder hears more than one voice."""

from __future__ import annotations

import re

import numpy as np

from course_lib.portraits import parse_caption
from course_lib.portraits.captions.words import CLOTH_COLORS, HAIR_COLORS, HEARD, SAID

_BEFORE = (
    "a portrait:", "please paint", "i would like", "a picture of", "can you draw", "image of",
    "show me", "draw", "this is", "i want to see", "paint me", "here is", "imagine",
)  # fmt: skip
_AFTER = (
    "please", "very detailed", "beautiful", "nice", "portrait", "thank you", "lovely picture",
    "in great detail", "trending", "high resolution",
)  # fmt: skip
_HAIR = r"(?=[^,]{0,20}\b(?:hair|bob|cut|curls|afro|bun|braids|buzz)\b)"
_CLOTHES = r"(?=[^,]{0,12}\b(?:t-shirt|tee|shirt|turtleneck|hoodie|suit|sweatshirt|sweater)\b)"
_JOINTS = (" and ", "; ", ". ", " - ", ", ")


def vary(text: str, rng: np.random.Generator) -> str:
    """Reword a caption at random without changing what it says.

    Words are replaced by others that `parse_caption` knows, clauses change places, articles fall
    away, and a few words that mean nothing for the picture come in. If the parser reads the result
    differently, the caption stays as it was.
    """
    meaning = parse_caption(text)
    varied = _swap_words(text, meaning, rng)
    clauses = varied.split(", ")
    if rng.random() < 0.4:
        clauses = [clauses[i] for i in rng.permutation(len(clauses))]
    varied = clauses[0]
    for clause in clauses[1:]:
        varied += (pick(_JOINTS, rng) if rng.random() < 0.3 else ", ") + clause
    if rng.random() < 0.25:
        varied = re.sub(r"\b(?:a|an) ", "", varied)
    if rng.random() < 0.3:
        varied = f"{pick(_BEFORE, rng)} {varied}"
    if rng.random() < 0.2:
        varied = f"{varied}, {pick(_AFTER, rng)}"
    return varied if parse_caption(varied) == meaning else text


def pick(options, rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _swap_words(text: str, meaning: dict[str, str], rng: np.random.Generator) -> str:
    """Other words for what the caption names, where it is still read as the same."""
    for name, value in meaning.items():
        if rng.random() < 0.5:
            continue
        if name == "hair_color":
            others = [word for word, color in HAIR_COLORS.items() if color == value]
            changed = re.sub(rf"\b{value}\b{_HAIR}", pick(others, rng), text, count=1)
        elif name == "clothing_color":
            others = [word for word, color in CLOTH_COLORS.items() if color == value]
            changed = re.sub(rf"\b{value}\b{_CLOTHES}", pick(others, rng), text, count=1)
        else:
            changed = _swap_phrase(text, name, value, rng)
        if parse_caption(changed) == meaning:
            text = changed
    return text


def _swap_phrase(text: str, name: str, value: str, rng: np.random.Generator) -> str:
    said = SAID.get(name, {}).get(value, (value,))
    others = [*said, *HEARD.get(name, {}).get(value, ())]
    present = [phrase for phrase in sorted(said, key=len, reverse=True) if phrase in text]
    return text.replace(present[0], pick(others, rng), 1) if present else text
