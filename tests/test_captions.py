"""Captions say what the picture shows, and can be read back."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from course_lib.portraits.attributes import (
    MONOCHROME_STYLES,
    VOCABULARY,
    Attributes,
    sample_attributes,
    visible_attributes,
)
from course_lib.portraits.captions import caption, full_caption, parse_caption
from course_lib.portraits.captions.words import HEARD, SAID

N = 3000


def people(n: int = N) -> list[tuple[Attributes, np.random.Generator]]:
    pairs = []
    for i in range(n):
        rng = np.random.default_rng([7, i])
        pairs.append((sample_attributes(rng), rng))
    return pairs


def visible(attributes: Attributes) -> dict[str, str]:
    return {name: getattr(attributes, name) for name in visible_attributes(attributes)}


def test_every_caption_reads_back_as_true_and_visible():
    for attributes, rng in people():
        text = caption(attributes, rng)
        stated = parse_caption(text)
        assert stated, text
        assert stated.items() <= visible(attributes).items(), text


def test_the_full_caption_names_everything_visible_but_absences():
    for attributes, _ in people():
        text = full_caption(attributes)
        expected = {k: v for k, v in visible(attributes).items() if v != "none"}
        assert parse_caption(text) == expected, text
        assert caption(attributes) == text
        # CLIP text encoders read 77 tokens; most of these words and marks are one token each.
        assert len(text.replace(",", " ,").replace("-", " - ").split()) <= 62, text


def test_captions_vary_in_wording_and_in_what_they_name():
    woman = Attributes(headwear="beret", eyewear="glasses", expression="smiling")
    texts = [caption(woman, np.random.default_rng(i)) for i in range(400)]
    named = Counter(len(parse_caption(text)) for text in texts)
    assert len(set(texts)) > 350
    assert min(named) <= 2
    # a white face in a full caption: 17 attributes are visible, facial hair is absent
    assert max(named) == 17
    # About two in three attributes are named on average: 0.2*0.15 + 0.35*0.5 + 0.45*0.92 = 0.62.
    mean = sum(k * v for k, v in named.items()) / 400 / 17
    assert 0.55 < mean < 0.70
    assert any("grey" in text or "watercolour" in text or "blonde" in text for text in (
        caption(Attributes(style="watercolor"), np.random.default_rng(i)) for i in range(100)
    ))  # fmt: skip


def test_the_same_random_state_gives_the_same_caption():
    attributes = Attributes()
    first = [caption(attributes, np.random.default_rng(3)) for _ in range(2)]
    assert first[0] == first[1]


def test_colours_are_not_named_where_the_style_has_none():
    for style in MONOCHROME_STYLES:
        text = full_caption(Attributes(style=style, hair_color="red", clothing_color="green"))
        assert not {"red", "green", "beige", "skin"} & set(text.replace(",", "").split()), text


def test_children_are_girls_and_boys():
    for gender, noun in (("woman", "girl"), ("man", "boy")):
        child = Attributes(age="child", gender=gender)
        for i in range(200):
            words = caption(child, np.random.default_rng(i)).replace(",", "").split()
            assert not {"woman", "man", "lady", "gentleman"} & set(words)
        assert f" {noun} " in full_caption(child)


def test_every_phrase_is_understood_alone():
    for table in (SAID, HEARD):
        for field, values in table.items():
            for value, phrases in values.items():
                for phrase in phrases:
                    assert parse_caption(phrase).get(field) == value, phrase


def test_every_value_of_the_vocabulary_can_be_stated():
    stated = {(k, v) for a, _ in people(1500) for k, v in parse_caption(full_caption(a)).items()}
    everything = {(k, v) for k, values in VOCABULARY.items() for v in values if v != "none"}
    assert stated == everything


PROMPTS = {
    "old lady with red hair, watercolour, smiling": {
        "age": "elderly", "gender": "woman", "hair_color": "red", "expression": "smiling",
        "style": "watercolor",
    },
    "A GREY-haired man in a red hoodie on a blue background, oil painting": {
        "gender": "man", "hair_color": "gray", "clothing": "hoodie", "clothing_color": "red",
        "background_color": "blue", "style": "oil painting",
    },
    "woman with dark hair and dark skin": {"gender": "woman", "skin": "dark"},
    "white hair, white background, white t shirt": {
        "hair_color": "white", "background_color": "white", "clothing": "t-shirt",
        "clothing_color": "white",
    },
    "turned left, light from the right": {"pose": "turned left", "light": "right"},
    "lit from the left and facing the camera": {"pose": "frontal", "light": "left"},
    "blonde with blue eyes": {"hair_color": "blond"},
    "a redhead in green": {"hair_color": "red", "clothing_color": "green"},
    "her hair is short and blue": {
        "gender": "woman", "hair_color": "blue", "hair_style": "short",
    },
    "long, curly red hair": {"hair_color": "red", "hair_style": "curly"},
    "bald man with a white beard": {
        "gender": "man", "hair_color": "white", "hair_style": "bald", "facial_hair": "beard",
    },
    "black hair and a gray beard": {"hair_color": "black", "facial_hair": "beard"},
    "a gray beard and black hair": {"hair_color": "black", "facial_hair": "beard"},
    "a red cap": {"headwear": "cap"},
    "a man without a beard or glasses": {
        "gender": "man", "eyewear": "none", "facial_hair": "none",
    },
    "no hat and no hair, not smiling": {"hair_style": "bald", "headwear": "none"},
    "pastel pink background, pixel art": {"background_color": "pink", "style": "pixel art"},
    "a 70-year-old man": {"age": "elderly", "gender": "man"},
    "good-looking guy in front of a bookshelf": {"gender": "man", "background": "bookshelf"},
    "a hat, a photo of a cat": {},
    "": {},
    "!?": {},
    "\u0430\u0431\u0432 \U0001f600": {},
}  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_that_people_type(prompt: str):
    assert parse_caption(prompt) == PROMPTS[prompt]


def test_only_text_can_be_parsed():
    with pytest.raises(TypeError, match="one string, not NoneType"):
        parse_caption(None)
