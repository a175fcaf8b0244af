"""The stand-in concept of lesson 09 and its prompts, shared by the lesson and its measurement.

The course ships nothing unsafe, so a harmless accessory plays the forbidden concept.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from torch import Tensor

from course_lib.errors import check_choice, check_whole
from course_lib.mini.config import MINI_DATA, TrainingData
from course_lib.mini.data import mini_series
from course_lib.portraits import PortraitDataset
from course_lib.portraits.attributes import VOCABULARY
from course_lib.safety.concept_erasure import last_word_states, token_states, with_neutral_word

CONCEPT, NEUTRAL = "sunglasses", "face"
PHRASE = "a person with sunglasses"  # what the checker compares pictures with
# Series of people: the edit's prompts, the preserved ones, the tests', and an attacker's pictures
EDIT_SEED, KEEP_SEED, TEST_SEED, ATTACK_SEED = 3000, 3001, 3002, 3003
_OTHERS = ("glasses", "round glasses", "cap", "crown", "beard", "woman", "man", "pastel")
_AUTHORS_RIDGE = 0.5  # default of the paper's own code
EDITS = ("one token", "all tokens")


def people_with(eyewear: tuple[str, ...], total: int, seed: int) -> PortraitDataset:
    """`total` people as the mini was trained on, with these values of eyewear."""
    only = {**MINI_DATA.only, "eyewear": eyewear}
    return mini_series(total, seed=seed, data=TrainingData(only, MINI_DATA.variety, MINI_DATA.size))


def concept_series(total: int, seed: int) -> tuple[tuple[PortraitDataset, list[int]], list[str]]:
    """People whose caption holds the concept's word.

    Returns
    -------
    (PortraitDataset, list of int), list of str
        The series with the indices of these people, and their captions.
    """
    total = check_whole("total", total)
    series = people_with((CONCEPT,), 20 * total, seed)  # nothing is painted before it is asked for
    holding = (i for i in range(len(series)) if CONCEPT in series.caption(i))
    chosen = list(islice(holding, total))
    captions = [text.replace(f"dark {CONCEPT}", CONCEPT) for text in series.captions(chosen)]
    return (series, chosen), captions


def erasure_states(pipe: Any, edit: str, *, prompts: int = 40) -> dict[str, Any]:
    """The arguments of `concept_edit` that erase the concept.

    Parameters
    ----------
    pipe : StableDiffusionPipeline
    edit : {"one token", "all tokens"}
        "one token" is the recipe of UCE's authors: the word's own state becomes that of the empty
        prompt, and other words stay. "all tokens" maps whole prompts to the same prompts with a
        neutral word, since the text encoder passes the concept on to every later token; and edits
        the pooled prompt.
    prompts : int
        How many prompts hold the concept; twice as many are preserved, and the neutral ones.
    """
    if check_choice("edit", edit, EDITS) == "one token":
        states: dict[str, Tensor] = {
            "concepts": last_word_states(pipe, [CONCEPT]),
            "neutral": last_word_states(pipe, [""]),
            "preserved": last_word_states(pipe, _OTHERS),
        }
        return states | {"ridge": _AUTHORS_RIDGE}
    _, texts = concept_series(prompts, EDIT_SEED)
    others = tuple(value for value in VOCABULARY["eyewear"] if value != CONCEPT)
    kept = people_with(others, 2 * prompts, KEEP_SEED).captions()
    neutral = with_neutral_word(pipe, texts, CONCEPT, NEUTRAL)
    return {
        "concepts": token_states(pipe, texts),
        "neutral": token_states(pipe, neutral),
        "preserved": token_states(pipe, [*kept, *neutral, ""]),
        "pooled": True,
    }
