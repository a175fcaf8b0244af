"""What a model never learned: words and negations of a prompt that its training captions lack.

A model folder may hold ``vocabulary.json``: the words of its training captions, and the values of
each attribute that occurred. `course_lib.mini` derives it from the code that writes the captions.
Models without that file get no notices.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from course_lib.pipelines.prompt_syntax import foreign_syntax, parse_weights
from course_lib.pipelines.prompts import as_prompts
from course_lib.pipelines.tuning import report_of
from course_lib.portraits.captions import parse_caption
from course_lib.portraits.captions.words import (
    FUNCTION_WORDS,
    HEARD,
    SAID,
    caption_words,
    is_negation,
    split_words,
)

VOCABULARY_FILE = "vocabulary.json"
_NAMED = 8  # so many unknown words are named, the others counted
# Around the object of a negation: "not wearing a hat and happy", "without glasses in a garden"
_BEFORE_OBJECT = FUNCTION_WORDS | {"wear", "wearing"}
_AFTER_OBJECT = frozenset({",", "and", "but", "with", "in", "on", "at", "who", "wearing"})


def prompt_notices(
    pipe, prompt: str | Sequence[str], negative_prompt: str | Sequence[str] = ""
) -> list[str]:
    """Sentences about what a model cannot have learned to paint.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
        Its folder holds the vocabulary. Loaded adapters may know other words, so with them, as
        without the file, there are no notices.
    prompt, negative_prompt : str or sequence of str
        As `course_lib.paint` takes them.

    Returns
    -------
    list of str
        At most three: unknown words, negations in the prompt, negations in the negative prompt.
    """
    known = model_vocabulary(pipe)
    if known is None:
        return []
    name = "the mini" if report_of(pipe).model == "mini" else "this model"
    positive, negative = (
        caption_words(_plain("\n".join(as_prompts(texts, "prompt"))))
        for texts in (prompt, negative_prompt)
    )
    notices = []
    unknown = list(dict.fromkeys(_unknown([*positive, ",", *negative], known)))
    if unknown:
        listed = "; ".join(_with_nearest(phrase, known) for phrase in unknown[:_NAMED])
        more = f"; and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        notices.append(f"{name} does not know: {listed}{more}. It was trained without these words.")
    if denied := _negations(positive, known):
        notices.append(
            f"{name} does not follow {_quoted(denied)}: its training captions hold no negations, "
            f"so it may paint just that. Use the negative prompt: {', '.join(denied.values())}"
        )
    if denied := _negations(negative, known):
        notices.append(
            f"the negative prompt names what to keep away: write {_quoted(denied.values())}, not "
            f"{_quoted(denied)}."
        )
    return notices


def model_vocabulary(pipe) -> dict[str, Any] | None:
    """``{"words": set, "values": {attribute: values}}`` of a pipeline, or None if it has none."""
    folder = getattr(pipe, "name_or_path", None)
    if not folder or getattr(getattr(pipe, "unet", None), "peft_config", None):
        return None
    path = Path(folder) / VOCABULARY_FILE
    known = _read(path, path.stat().st_mtime_ns) if path.is_file() else None
    if known is None:
        return None
    added = caption_words(" ".join(pipe.tokenizer.get_added_vocab()))  # textual inversions
    return {"words": known["words"] | set(added), "values": known["values"]}


@lru_cache(maxsize=4)
def _read(path: Path, version: int) -> dict[str, Any] | None:
    """The file's content; None if it is damaged, for a model paints without it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        values = {name: tuple(map(str, values)) for name, values in found["values"].items()}
        return {"words": frozenset(map(str, found["words"])), "values": values}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _plain(text: str) -> str:
    """The prompt without weights and without other programs' syntax."""
    for part in foreign_syntax(text):
        text = text.replace(part, ",")
    return "".join(fragment for fragment, _ in parse_weights(text))


@lru_cache(maxsize=1)
def _phrases() -> dict[tuple[str, ...], tuple[str, str]]:
    """Every phrase that names an attribute's value -> (attribute, value)."""
    return {
        tuple(split_words(phrase)): (attribute, value)
        for table in (HEARD, SAID)
        for attribute, values in table.items()
        for value, phrases in values.items()
        for phrase in phrases
    }


def _unknown(words: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """Phrases for values that the model did not see, and words that it did not."""
    phrases, found, i = _phrases(), [], 0
    longest = max(map(len, phrases))
    while i < len(words):
        lengths = range(min(longest, len(words) - i), 0, -1)
        length = next((n for n in lengths if tuple(words[i : i + n]) in phrases), 0)
        if length:
            phrase = tuple(words[i : i + length])
            attribute, value = phrases[phrase]
            if value not in known["values"].get(attribute, (value,)):
                found.append(" ".join(phrase))
                i += length
                continue
        if not _is_known(words[i], known["words"]):
            found.append(words[i])
        i += 1
    return found


def _is_known(word: str, words: frozenset[str]) -> bool:
    """Whether the word or a form of it was in a caption, or it carries grammar only."""
    forms = {word, f"{word}s", *(word.removesuffix(end) for end in ("s", "es", "ly"))}
    return word == "," or word in FUNCTION_WORDS or is_negation(word) or bool(forms & words)


def _with_nearest(phrase: str, known: Mapping[str, Any]) -> str:
    """``oil painting (it knows watercolor, pastel)``, ``smilling (perhaps smiling)``."""
    values = known["values"]
    attribute, value = _phrases().get(tuple(phrase.split()), ("", ""))
    if value not in values.get(attribute, (value,)):
        return f"{phrase} (it knows {', '.join(v for v in values[attribute] if v != 'none')})"
    said = parse_caption(phrase)
    if said and all(v != "none" and v in values.get(k, ()) for k, v in said.items()):
        plain = " ".join(v + " hair" * (k == "hair_color") for k, v in said.items())
        return f"{phrase} (perhaps {plain})"
    candidates = [word for word in known["words"] if len(word) > 3]
    near = difflib.get_close_matches(phrase, sorted(candidates), n=1, cutoff=0.85)
    return f"{phrase} (perhaps {near[0]})" if near else phrase


def _negations(words: Sequence[str], known: Mapping[str, Any]) -> dict[str, str]:
    """Negated phrases -> what they deny: ``{"without a beard": "beard"}``."""
    found = {}
    for i, word in enumerate(words):
        if word in known["words"] or not is_negation(word):
            continue
        start = i + 1  # of what is denied: "not wearing a", "without the"
        while start < len(words) and words[start] in _BEFORE_OBJECT:
            start += 1
        end = start
        while end < len(words) and words[end] not in _AFTER_OBJECT:
            end += 1
        if end > start:
            found[" ".join(words[i:end])] = " ".join(words[start:end])
    return found


def _quoted(texts) -> str:
    return ", ".join(f"'{text}'" for text in dict.fromkeys(texts))
