"""From choices in drop-down lists to a prompt in the words of the captions of the course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from course_lib.errors import check_choice
from course_lib.portraits import VOCABULARY, sample_attributes, visible_attributes
from course_lib.portraits.captions.words import SAID

# What stands together in the form. Every attribute of the vocabulary is in one group.
GROUPS: dict[str, tuple[str, ...]] = {
    "Person": ("age", "gender", "skin", "expression"),
    "Hair and face": ("hair_style", "hair_color", "facial_hair", "eyewear", "headwear"),
    "Scene": ("background", "background_color", "light", "pose", "framing"),
    "Clothes": ("clothing", "clothing_color"),
    "Art": ("style", "quality"),
}
# What captions leave unsaid is not there: no glasses, no beard, no hat.
UNSAID_IS_NONE = ("facial_hair", "eyewear", "headwear")
_PEOPLE = {
    ("child", "woman"): "girl",
    ("child", "man"): "boy",
    ("child", ""): "child",
    ("", ""): "person",
}
_HAIR = {
    "bald": "a bald head", "curly": "curly {c} hair", "short": "short {c} hair",
    "spiky": "spiky {c} hair", "long": "long {c} hair", "buzz cut": "{c} hair in a buzz cut",
    "bob": "{c} hair in a bob", "afro": "{c} hair in an afro", "bun": "{c} hair in a bun",
    "braids": "{c} hair in braids",
}  # fmt: skip


def form_groups(only: Mapping[str, Sequence[str]] | None = None) -> list[dict]:
    """The drop-down lists as JSON: group, then attributes with label, options and empty option.

    `only` holds what the model has learned of some attributes; one that leaves no choice has no
    list.
    """
    offered = {
        name: [value for value in (only or {}).get(name, values) if value != "none"]
        for name, values in VOCABULARY.items()
    }
    return [
        {
            "title": title,
            "fields": [
                {
                    "name": name,
                    "label": name.replace("_", " "),
                    "empty": "none" if name in UNSAID_IS_NONE else "any",
                    "options": offered[name],
                }
                for name in names
                if len(offered[name]) > 1
            ],
        }
        for title, names in GROUPS.items()
    ]


_SHARE = 0.6  # of the attributes that a random portrait chooses; the others stay open


def random_choices(
    rng: np.random.Generator, groups: Sequence[dict], only: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Choices of a portrait that fit together, each one in a list of the form.

    Parameters
    ----------
    rng : numpy.random.Generator
    groups : list of dict
        What `form_groups` returned.
    only : dict of attribute to values
        What the model has learned.
    """
    lists = {field["name"]: field["options"] for group in groups for field in group["fields"]}
    while True:
        person = sample_attributes(rng, only=only)
        seen = {name: getattr(person, name) for name in visible_attributes(person)}
        chosen = {
            name: value
            for name, value in seen.items()
            if value in lists.get(name, ()) and rng.random() < _SHARE
        }
        if chosen:
            return chosen


def check_choices(choices: Mapping[str, str]) -> dict[str, str]:
    """The choices that say something, after checking names and values.

    Raises
    ------
    ValueError
        For an unknown attribute or value; the message suggests the nearest one.
    """
    for name, value in choices.items():
        check_choice("attribute", name, VOCABULARY)
        if value:
            check_choice(name, value, VOCABULARY[name])
    return {name: value for name, value in choices.items() if value and value != "none"}


def compose_prompt(choices: Mapping[str, str], words: str = "") -> str:
    """The prompt for some choices, then the reader's own words.

    Parameters
    ----------
    choices : dict of attribute to value
        Any part of `course_lib.portraits.VOCABULARY`; the rest is left open.
    words : str
        Added at the end.

    Examples
    --------
    >>> compose_prompt({"gender": "woman", "expression": "smiling", "style": "watercolor"})
    'a watercolor portrait of a woman, smiling'
    """
    said = check_choices(choices)
    parts = [_picture(said)] if said else []
    parts += _phrases(said, "expression") + _clothes(said) + _phrases(said, "pose", "light")
    parts += _background(said) + [words.strip()]
    return ", ".join(part for part in parts if part)


def _phrases(said: Mapping[str, str], *names: str) -> list[str]:
    return [SAID[name][said[name]][0] for name in names if name in said]


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _picture(said: Mapping[str, str]) -> str:
    """Medium, person and what the person has; no more than was chosen."""
    medium = [SAID[name][said[name]][0] for name in ("quality", "framing") if name in said]
    if "style" in said or medium:
        medium.append(SAID["style"][said["style"]][0] if "style" in said else "portrait")
    age, gender = said.get("age", ""), said.get("gender", "")
    person = _PEOPLE.get((age, gender)) or f"{age} {gender or 'person'}".strip()
    features = _features(said)
    subject = _article(person)
    if features:
        *others, last = features
        subject += " with " + " and ".join([", ".join(others), last] if others else [last])
    return f"{_article(' '.join(medium))} of {subject}" if medium else subject


def _features(said: Mapping[str, str]) -> list[str]:
    items = [f"{said['skin']} skin"] if "skin" in said else []
    style, color = said.get("hair_style"), said.get("hair_color", "")
    if style or color:
        items.append(" ".join(_HAIR.get(style, "{c} hair").format(c=color).split()))
    if "eyewear" in said:
        items.append(said["eyewear"])
    if "facial_hair" in said:
        beard = color if style == "bald" else ""  # a bald man's hair colour is his beard's
        items.append(_article(f"{beard} {said['facial_hair']}".strip()))
    if "headwear" in said:
        items.append(_article(said["headwear"]))
    return items


def _clothes(said: Mapping[str, str]) -> list[str]:
    color = said.get("clothing_color", "")
    if "clothing" in said:
        garment = f"{color} {said['clothing']}".strip()
        return [f"wearing {_article(garment)}"]
    return [f"wearing {color}"] if color else []


def _background(said: Mapping[str, str]) -> list[str]:
    kind, color = said.get("background", ""), said.get("background_color", "")
    if kind in SAID["background"]:
        return [SAID["background"][kind][0]]
    if not kind and not color:
        return []
    noun = f"{color} gradient" if kind == "gradient" else f"{kind} {color} background"
    return [f"against {_article(' '.join(noun.split()))}"]
