"""Captions: what a person would write under a portrait, and back from words to attributes.

A caption names only what can be seen (`visible_attributes`) and only what is true, but it need
not name everything: people do not either. `parse_caption` is its inverse, and the proof of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from course_lib.portraits.attributes import Attributes, visible_attributes
from course_lib.portraits.captions.words import SAID, spell_british

# How many attributes a caption names: (odds, chance that each visible attribute is named).
CAPTION_LEVELS = ((0.2, 0.15), (0.35, 0.5), (0.45, 0.92))
_ADJECTIVE_EXPRESSIONS = {
    "neutral": "calm", "smiling": "smiling", "laughing": "laughing", "sad": "sad",
    "surprised": "surprised", "angry": "angry",
}  # fmt: skip
_HAIR_STYLE_NOUNS = {
    "bald": ("a bald head",),
    "buzz cut": ("{c} hair in a buzz cut", "a {c} buzz cut"),
    "short": ("short {c} hair",),
    "spiky": ("spiky {c} hair",),
    "bob": ("{c} hair in a bob", "a {c} bob"),
    "long": ("long {c} hair",),
    "curly": ("curly {c} hair", "{c} curls"),
    "afro": ("{c} hair in an afro", "a {c} afro"),
    "bun": ("{c} hair in a bun", "a {c} bun"),
    "braids": ("{c} hair in braids", "braided {c} hair", "{c} braids"),
}
_PEOPLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("child", "woman"): ("girl", "little girl"), ("child", "man"): ("boy", "little boy"),
    ("child", ""): ("child", "kid"), ("young", "woman"): ("young woman", "young lady"),
    ("young", "man"): ("young man",), ("young", ""): ("young person",),
    ("adult", "woman"): ("adult woman", "middle-aged woman"),
    ("adult", "man"): ("adult man", "middle-aged man"),
    ("adult", ""): ("adult", "middle-aged person"),
    ("elderly", "woman"): ("elderly woman", "old woman", "old lady"),
    ("elderly", "man"): ("elderly man", "old man", "old gentleman"),
    ("elderly", ""): ("elderly person", "old person"),
    ("", "woman"): ("woman", "lady"), ("", "man"): ("man", "gentleman"), ("", ""): ("person",),
}  # fmt: skip

Pick = Callable[[Sequence[str]], str]


def with_article(noun: str) -> str:
    """The noun after "a", or "an" before a vowel."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _plain(options: Sequence[str]) -> str:
    return options[0]


def _joined(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _person(said: dict[str, str], pick: Pick, adjective: str = "") -> str:
    person = pick(_PEOPLE[said.get("age", ""), said.get("gender", "")])
    return with_article(f"{adjective} {person}".strip())


def _hair(said: dict[str, str], pick: Pick) -> str:
    style, color = said.get("hair_style"), said.get("hair_color", "")
    if style == "bald":
        return "a bald head"
    if style is None:
        return f"{color} hair" if color else ""
    words = " ".join(pick(_HAIR_STYLE_NOUNS[style]).format(c=color).split())
    # "a {c} afro" without a colour needs another article
    return with_article(words.split(" ", 1)[1]) if words.startswith(("a ", "an ")) else words


def _features(said: dict[str, str], pick: Pick) -> list[str]:
    """What a person has: skin, hair, glasses, beard, hat; each reads well after "with"."""
    items = [pick(SAID["skin"][said["skin"]])] if "skin" in said else []
    items += [hair] if (hair := _hair(said, pick)) else []
    if "eyewear" in said:
        items.append(pick(SAID["eyewear"][said["eyewear"]]))
    if "facial_hair" in said:
        noun = pick(SAID["facial_hair"][said["facial_hair"]])
        color = said.get("hair_color", "") if said.get("hair_style") == "bald" else ""
        items.append(with_article(f"{color} {noun}".strip()))
    if "headwear" in said:
        items.append(with_article(pick(SAID["headwear"][said["headwear"]])))
    return items


def _clothes(said: dict[str, str], pick: Pick) -> list[str]:
    if "clothing" not in said and "clothing_color" not in said:
        return []
    color = said.get("clothing_color", "")
    if "clothing" not in said:
        return [f"{pick(('wearing', 'dressed in'))} {color}"]
    garment = f"{color} {pick(SAID['clothing'][said['clothing']])}".strip()
    return [f"{pick(('wearing', 'in', 'dressed in'))} {with_article(garment)}"]


def _background(said: dict[str, str], pick: Pick) -> list[str]:
    kind, color = said.get("background"), said.get("background_color", "")
    if kind in SAID["background"]:
        return [pick(SAID["background"][kind])]
    if kind is None and not color:
        return []
    if kind == "gradient":
        noun = f"{color} {pick(('gradient', 'gradient background'))}"
    else:
        noun = f"{kind or ''} {color} {pick(('background', 'backdrop'))}"
    return [f"{pick(('against', 'on', 'in front of'))} {with_article(' '.join(noun.split()))}"]


def _medium(said: dict[str, str], pick: Pick, *, with_framing: bool) -> str:
    """Style, quality and perhaps framing as a noun phrase: "a rough close-up oil portrait"."""
    if "style" in said:
        noun = pick(SAID["style"][said["style"]])
    else:
        noun = pick(("portrait", "picture"))
    if with_framing and "framing" in said:
        noun = f"{pick(SAID['framing'][said['framing']][:1])} {noun}"
    if "quality" in said:
        noun = f"{pick(SAID['quality'][said['quality']])} {noun}"
    return with_article(noun)


def _said_by(attributes: Attributes) -> dict[str, str]:
    """Everything worth saying: visible, and not merely the absence of something."""
    values = {name: getattr(attributes, name) for name in visible_attributes(attributes)}
    return {name: value for name, value in values.items() if value != "none"}


def _mend(said: dict[str, str], everything: dict[str, str]) -> dict[str, str]:
    """Keep the selection sayable and never empty."""
    # A bald man's hair colour is that of his beard, so it needs the beard and the baldness.
    if everything.get("hair_style") == "bald" and "hair_color" in said:
        if "facial_hair" in said:
            said["hair_style"] = "bald"
        else:
            del said["hair_color"]
    said = said or {"gender": everything["gender"]}
    # Children are girls and boys, which tells their age too.
    if everything["age"] == "child" and "gender" in said:
        said["age"] = "child"
    return said


def full_caption(attributes: Attributes) -> str:
    """The canonical caption: every visible attribute once, in one fixed wording.

    Values of ``"none"`` go unsaid: a caption without glasses means no glasses. For "frontal",
    "neutral" and "plain" there are words, and they are said.
    """
    said = _said_by(attributes)
    said = _mend(dict(said), said)
    clauses = [SAID["expression"][said["expression"]][0], *_clothes(said, _plain)]
    clauses += [SAID[name][said[name]][0] for name in ("pose", "light")]
    clauses += _background(said, _plain)
    features = _features(said, _plain)
    subject = _person(said, _plain) + (f" with {_joined(features)}" if features else "")
    return ", ".join([f"{_medium(said, _plain, with_framing=True)} of {subject}", *clauses])


def caption(attributes: Attributes, rng: np.random.Generator | None = None) -> str:
    """Describe a portrait as some person might: briefly or at length, in one of many wordings.

    Parameters
    ----------
    attributes : Attributes
        The portrait. Only what its picture shows is named, and at least one thing.
    rng : numpy.random.Generator, optional
        Chooses what to name, the synonyms and the order. The same state gives the same caption.
        Default: `full_caption`, which leaves nothing to chance.

    Returns
    -------
    str
        One line of English, at most about 60 words, such as "a smiling old man".
    """
    if rng is None:
        return full_caption(attributes)

    def pick(options: Sequence[str]) -> str:
        # Half the time the plain word, so that common words stay common.
        return options[0] if rng.random() < 0.5 else options[int(rng.integers(len(options)))]

    chance = CAPTION_LEVELS[
        int(rng.choice(len(CAPTION_LEVELS), p=[odds for odds, _ in CAPTION_LEVELS]))
    ][1]
    everything = _said_by(attributes)
    said = _mend({k: v for k, v in everything.items() if rng.random() < chance}, everything)
    beardless = attributes.gender == "man" and attributes.facial_hair == "none"
    shaven = beardless and attributes.age != "child" and rng.random() < 0.1 * chance
    write = _write_tags if rng.random() < 0.2 else _write_sentence
    text = write(said, pick, rng, ["clean-shaven"] if shaven else [])
    return spell_british(text) if rng.random() < 0.1 else text


def _write_sentence(
    said: dict[str, str], pick: Pick, rng: np.random.Generator, extra: list[str]
) -> str:
    """A noun phrase and its clauses: "an oil painting of a sad man with a beard, facing left"."""
    adjective = ""
    if "expression" in said and rng.random() < 0.5:
        adjective = _ADJECTIVE_EXPRESSIONS[said["expression"]]
    features = _shuffled(_features(said, pick), rng)
    subject = _person(said, pick, adjective)
    subject += f" with {_joined(features)}" if features else ""
    clauses = list(extra)
    if "expression" in said and not adjective:
        clauses.append(pick(SAID["expression"][said["expression"]]))
    clauses += [pick(SAID[name][said[name]]) for name in ("pose", "light") if name in said]
    medium_first = rng.random() < 0.75
    if "framing" in said and not medium_first:
        clauses.append(pick(SAID["framing"][said["framing"]]))
    clauses = _shuffled([*clauses, *_background(said, pick)], rng)
    clauses = _clothes(said, pick) + clauses
    medium = _medium(said, pick, with_framing=medium_first)
    if not any(name in said for name in ("style", "quality", "framing")):
        return ", ".join([subject, *clauses])
    if medium_first:
        return ", ".join([f"{medium} of {subject}", *clauses])
    named = "style" in said or "quality" in said
    return ", ".join([subject, *clauses, *([medium] if named else [])])


def _write_tags(
    said: dict[str, str], pick: Pick, rng: np.random.Generator, extra: list[str]
) -> str:
    """Keywords in any order, as people type prompts: "old man, beard, hoodie, pop art portrait"."""
    tags = [*extra, *_features(said, pick), *_clothes(said, pick), *_background(said, pick)]
    if "age" in said or "gender" in said:
        tags.append(_person(said, pick))
    for name in ("style", "quality", "framing", "expression", "pose", "light"):
        if name in said:
            tags.append(pick(SAID[name][said[name]]))
    tags = [tag.removeprefix("a ").removeprefix("an ") for tag in tags]
    return ", ".join(_shuffled(tags, rng))


def _shuffled(items: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [items[int(i)] for i in rng.permutation(len(items))]
