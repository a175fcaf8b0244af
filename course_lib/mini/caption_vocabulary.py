"""The vocabulary of the training captions, which a model folder keeps as ``vocabulary.json``.

`course_lib.pipelines.vocabulary` compares prompts with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.mini.caption_augmentation import PHRASES
from course_lib.mini.config import TrainingData
from course_lib.pipelines.vocabulary import VOCABULARY_FILE
from course_lib.portraits import caption
from course_lib.portraits.attributes import VOCABULARY, sample_attributes
from course_lib.portraits.captions.words import (
    CLOTH_COLORS,
    HAIR_COLORS,
    HEARD,
    SAID,
    WALL_COLORS,
    caption_words,
)

_COLORS = {
    "hair_color": HAIR_COLORS, "clothing_color": CLOTH_COLORS, "background_color": WALL_COLORS,
}  # fmt: skip
# The tables hold all words but those of the writer's sentences: a few dozen, each said often
_CAPTIONS = 2000


def caption_vocabulary(data: TrainingData) -> dict[str, Any]:
    """The words and the attributes' values that captions of this training data can hold."""
    values = {name: data.only.get(name, everything) for name, everything in VOCABULARY.items()}
    texts = [*_table_phrases(values), *_phrases(PHRASES, _unseen(values))]
    rng = np.random.default_rng(0)
    texts += [caption(sample_attributes(rng, only=data.only), rng) for _ in range(_CAPTIONS)]
    words = {word for text in texts for word in caption_words(text)} - {","}
    return {"words": sorted(words), "values": {name: list(v) for name, v in values.items()}}


def write_vocabulary(folder: Path, data: TrainingData) -> Path:
    """Write ``vocabulary.json`` into a model folder."""
    path = Path(folder) / VOCABULARY_FILE
    path.write_text(json.dumps(caption_vocabulary(data), indent=1) + "\n", encoding="utf-8")
    return path


def _unseen(values: dict[str, tuple[str, ...]]) -> set[str]:
    """Values that no training portrait has, whatever the attribute."""
    return {v for everything in VOCABULARY.values() for v in everything} - {
        v for seen in values.values() for v in seen
    }


def _table_phrases(values: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """What the captions and their augmentation call each value that occurs."""
    for name, seen in values.items():
        for value in seen:
            said = SAID.get(name, {}).get(value, ())
            if value == "none" and not said:
                continue  # captions do not mention what is not there
            yield from (value, *said, *HEARD.get(name, {}).get(value, ()))
        yield from (word for word, color in _COLORS.get(name, {}).items() if color in seen)


def _phrases(node: Any, unseen: set[str]) -> Iterator[str]:
    """The texts of the augmentation's phrases, without those for values that do not occur."""
    if isinstance(node, str):
        # {they}, {value}: their words stand in the tables
        yield "".join(part for k, part in enumerate(node.replace("}", "{").split("{")) if not k % 2)
    elif isinstance(node, dict):
        for key, inner in node.items():
            yield from () if key in unseen else _phrases(inner, unseen)
    else:
        for inner in node:
            yield from _phrases(inner, unseen)
