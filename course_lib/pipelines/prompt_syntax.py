"""What a prompt's brackets mean: weights, and other programs' commands, which are only named.

``(word:1.3)`` weighs 1.3, ``(word)`` 1.1, ``[word]`` 1/1.1, brackets multiply when they nest, and a
backslash makes one an ordinary character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_STEP = 1.1
_CLOSES = {"(": ")", "[": "]"}
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_TOKEN = re.compile(
    rf"\\[\\()\[\]]|[()\[\]]|:\s*{_NUMBER}\s*(?=\))|[^\\()\[\]:]+|[\\:]", re.IGNORECASE
)
_WEIGHT = re.compile(rf":\s*({_NUMBER})\s*", re.IGNORECASE)
_LARGEST_WEIGHT = 10.0  # far beyond what any model bears; keeps typing errors and NaN out
_ROUND = r"\([^()]*\)"
# What other programs read and this one does not -> what to do
_FOREIGN_SYNTAX = {
    r"<\w+:[^<>]*>": "give the file with --lora FILE:0.8, or lora=(FILE, 0.8) in Python",
    r"\bBREAK\b": "long prompts are split without it",
    r"\bAND\b": "give a list of prompts, or join them with a comma",
    rf"\[(?:{_ROUND}|[^\[\]()|:])*:(?:{_ROUND}|[^\[\]()])*\]": (
        "prompts do not change on the way; weigh words, as (word:1.2)"
    ),
    r"\[[^\[\]()|:]*\|[^\[\]()]*\]|\{[^{}|]*\|[^{}]*\}": "write one of the alternatives",
    r":\s*\d+,\d+\s*\)": "write the weight with a decimal point, as (word:1.2)",
}


def parse_weights(text: str) -> list[tuple[str, float]]:
    r"""Split a prompt into fragments and their weights.

    >>> parse_weights(r"a (smiling:1.2) woman, [hat]")
    [('a ', 1.0), ('smiling', 1.2), (' woman, ', 1.0), ('hat', 0.9090909090909091)]

    A bracket that is never closed counts to the end; one that was never opened is a character.

    Raises
    ------
    ValueError
        If a weight, nesting included, is not from -10 to 10.
    """
    items: list[str | float | None] = []  # text; a factor that begins here; None where one ends
    opened: list[tuple[str, int]] = []
    weight = None
    for token in _TOKEN.findall(text):
        if token in _CLOSES:
            opened.append((token, len(items)))
            items.append(_STEP if token == "(" else 1 / _STEP)
        elif opened and token == _CLOSES[opened[-1][0]]:
            _, start = opened.pop()
            items[start] = items[start] if weight is None else weight
            items.append(None)
        elif opened and opened[-1][0] == "(" and _WEIGHT.fullmatch(token):
            weight = float(_WEIGHT.fullmatch(token)[1])
            continue
        else:
            items.append(token[1:] if re.match(r"\\.", token) else token)
        weight = None
    fragments, product = [], [1.0]  # of the factors that have begun and not ended
    for item in items:
        if isinstance(item, str):
            fragments.append((item, _checked_weight(item, product[-1])))
        elif item is None:
            product.pop()
        else:
            product.append(product[-1] * item)
    return _merge(fragments)


def _checked_weight(text: str, weight: float) -> float:
    if abs(weight) <= _LARGEST_WEIGHT:
        return weight
    raise ValueError(
        f"the prompt gives {shortened(text)!r} the weight {weight:g}; weights are from "
        f"{-_LARGEST_WEIGHT:g} to {_LARGEST_WEIGHT:g}, and mostly between 0.5 and 1.5."
    )


def foreign_syntax(text: str) -> dict[str, str]:
    """What other programs would read as commands in a prompt -> what to do instead."""
    shouted = text.upper() == text  # "A MAN AND A WOMAN" is no command
    found = {}
    for pattern, advice in _FOREIGN_SYNTAX.items():
        parts = re.findall(pattern, text)
        found.update({} if shouted and parts == ["AND"] else dict.fromkeys(parts, advice))
    return found


def _merge(fragments: Sequence[Sequence]) -> list[tuple[str, float]]:
    """Join neighbours of equal weight."""
    merged: list[tuple[str, float]] = []
    for text, weight in fragments:
        weight = round(weight, 12)
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        elif text:
            merged.append((text, weight))
    return merged or [("", 1.0)]


def shortened(text: str) -> str:
    """The beginning of a prompt, for messages."""
    return text if len(text) < 40 else f"{text[:37]}..."
