"""Prompts for the evaluation: of held-out people, in free language, and with open colors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from course_lib.portraits import Attributes, caption, full_caption, parse_caption

LONG = 8  # a prompt of a held-out person names at least so many attributes
_DRAWS = 200  # attempts at a caption of that length; four in ten are long enough


def held_out_prompt(attributes: Attributes, number: int, seed: int) -> str:
    """A prompt for person `number`: the full caption, or every second time another long caption."""
    if number % 2 == 0:
        return full_caption(attributes)
    rng = np.random.default_rng([seed, number, 1])
    drawn = (caption(attributes, rng) for _ in range(_DRAWS))
    return next((text for text in drawn if len(parse_caption(text)) >= LONG), None) or (
        full_caption(attributes)
    )


@cache
def paraphrases() -> tuple[tuple[str, str], ...]:
    """Prompts in free language, each with a caption that states the same: (prompt, caption).

    Captions in training come from templates. These sentences are polite, curt, chatty or poetic,
    lists or relative clauses, and use words that no template has.
    """
    path = Path(__file__).with_name("paraphrases.json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tuple((row["prompt"], row["caption"]) for row in rows)


def known_paraphrases(only: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The paraphrases that ask for nothing outside the training data's values `only`."""

    def known(said: Mapping[str, str]) -> bool:
        return all(value in only.get(name, (value,)) for name, value in said.items())

    return [pair for pair in paraphrases() if known(parse_caption(pair[1]))]


def bearded_man_prompts(styles: Sequence[str], count: int) -> list[str]:
    """`count` prompts that leave the color of hair and beard open, style after style."""
    return [f"a man with a beard, {styles[i % len(styles)]}" for i in range(count)]
