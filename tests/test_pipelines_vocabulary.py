"""Notices: what a prompt asks for that the model's training captions never said."""

from __future__ import annotations

import re
import shutil
import warnings

import numpy as np
import pytest

import course_lib as cl
from course_lib.mini.caption_augmentation import augment_caption
from course_lib.mini.caption_vocabulary import caption_vocabulary
from course_lib.mini.config import MINI_DATA
from course_lib.mini.evaluation.prompts import known_paraphrases
from course_lib.pipelines import PromptWarning, load_pipeline, prompt_notices
from course_lib.pipelines.registry import SHIPPED
from course_lib.pipelines.vocabulary import VOCABULARY_FILE, model_vocabulary
from course_lib.portraits import caption, full_caption
from course_lib.portraits.attributes import VOCABULARY, sample_attributes
from course_lib.widgets.studio_words import compose_prompt


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline("mini", "cpu", verbose=False)


def test_the_shipped_vocabulary_is_that_of_the_training_captions(pipe):
    known, derived = model_vocabulary(pipe), caption_vocabulary(MINI_DATA)
    assert set(derived["words"]) == known["words"] - {"startoftext", "endoftext", ","}
    assert {name: tuple(v) for name, v in derived["values"].items()} == known["values"]


def test_training_captions_get_no_notice(pipe):
    rng = np.random.default_rng(77)
    for _ in range(300):
        person = sample_attributes(rng, only=MINI_DATA.only)
        text = caption(person, rng)
        for prompt in (text, full_caption(person), augment_caption(text, rng)):
            assert prompt_notices(pipe, prompt) == [], prompt


def test_what_the_studio_offers_gets_no_notice(pipe):
    for name, values in VOCABULARY.items():
        for value in MINI_DATA.only.get(name, values):
            prompt = compose_prompt({name: value})
            assert prompt_notices(pipe, prompt) == [], prompt


def test_paraphrases_get_notices_only_of_words_beyond_their_meaning(pipe):
    quiet = 0
    pairs = known_paraphrases(MINI_DATA.only)
    for prompt, meaning in pairs:
        said = " ".join(prompt_notices(pipe, prompt))
        unknown = re.sub(r"\([^)]*\)", "", said.partition("know: ")[2].partition(".")[0])
        words = {word.strip() for word in unknown.split(";")}
        assert not words & set(re.findall(r"\w+", meaning)), (prompt, words)
        quiet += not said
    assert quiet >= len(pairs) // 4


UNKNOWN = [
    ("a dog, oil painting", "dog; oil painting (it knows flat illustration, watercolor, pixel art"),
    ("oil on canvas, a watercolor", "know: oil on canvas (it knows"),  # although a style is known
    ("a smilling womn", "smilling (perhaps smiling); womn (perhaps wom"),
    ("a grandmother", "grandmother (perhaps elderly woman)"),
    ("a (dragon:1.2) woman", "know: dragon. It"),
    ("a woman, half-length, facing left", "half length (it knows bust); facing left (it knows fr"),
    ("日本の女性, a fiancée 😀", "know: 日本の女性; fiancée; 😀. It"),
    (" ".join(f"zz{k}" for k in range(3000)), "zz7; and 2992 more"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "expected"), UNKNOWN, ids=[p[:20] for p, _ in UNKNOWN])
def test_unknown_words_are_named_with_the_nearest_known_ones(pipe, prompt, expected):
    (notice,) = prompt_notices(pipe, prompt)
    assert notice.startswith("the mini does not know: ") and expected in notice
    assert prompt_notices(pipe, "a woman", prompt) == [notice]


@pytest.mark.parametrize(
    "prompt",
    [
        "Portraits of WOMEN with red hats", "a woman who wears what she likes", "grey moustaches",
        "a watercolour of a (smiling:1.2) old man", "", "  ,, . ", "water-color", "a man's hat",
    ],
)  # fmt: skip
def test_case_spelling_plural_grammar_and_weights_do_not_matter(pipe, prompt):
    known = {"likes"}  # the one word of these that no caption says
    notices = prompt_notices(pipe, prompt)
    assert [n for n in notices if not any(word in n for word in known)] == []


def test_negations_are_named_with_what_to_do(pipe):
    prompt = "a woman, no glasses, without a beard or hat, and not smiling, she isn't wearing a cap"
    (notice,) = prompt_notices(pipe, prompt)
    assert "'no glasses', 'without a beard or hat', 'not smiling'" in notice
    assert notice.endswith("Use the negative prompt: glasses, beard or hat, smiling, cap")
    (notice,) = prompt_notices(pipe, "a woman", "no hat")
    assert "write 'hat', not 'no hat'" in notice
    assert prompt_notices(pipe, "clean-shaven man") == []  # captions do say so


def test_paint_warns_and_models_without_a_vocabulary_say_nothing(pipe, tmp_path):
    short = {"steps": 1, "guidance": 1}
    with pytest.warns(PromptWarning, match=r"does not know: dog"):
        cl.paint("a dog", pipe, **short)
    ignored = shutil.ignore_patterns(VOCABULARY_FILE, "attribute_classifier")
    folder = shutil.copytree(SHIPPED / "mini", tmp_path / "other", ignore=ignored)
    other = load_pipeline(str(folder), "cpu", verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptWarning)
        cl.paint("a dog, no hat", other, **short)
    (folder / VOCABULARY_FILE).write_text('{"words": 3}')  # damaged: the same as none
    assert prompt_notices(other, "a dog, no hat") == []
