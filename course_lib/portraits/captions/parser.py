"""From a caption, or from any prompt that a person types, back to attributes.

The parser walks over the words once and takes the longest phrase that it knows at each place.
Most phrases mean one thing wherever they stand ("sunglasses"). Adjectives wait for their noun:
"red" says nothing until "hair", "hoodie" or "background" follows, and "left" nothing until the
clause has told whether the light or the head is meant.
"""

from __future__ import annotations

import re

from course_lib.portraits.attributes import VOCABULARY
from course_lib.portraits.captions.words import (
    CLOTH_COLORS,
    FAIR_HEADED,
    HAIR_COLORS,
    HAIR_SHAPES,
    HEARD,
    SAID,
    SKINS,
    WALL_COLORS,
    WALL_KINDS,
    split_words,
)

Fact = tuple[str, str]


def _facts(field: str, words: dict[str, str]) -> dict[str, Fact]:
    return {word: (field, value) for word, value in words.items()}


# noun kind -> adjective -> what the two mean together
_ADJECTIVES: dict[str, dict[str, Fact]] = {
    "hair": _facts("hair_color", HAIR_COLORS) | _facts("hair_style", HAIR_SHAPES),
    "beard": _facts("hair_color", HAIR_COLORS),
    "skin": _facts("skin", SKINS),
    "clothing": _facts("clothing_color", CLOTH_COLORS),
    "background": _facts("background", WALL_KINDS) | _facts("background_color", WALL_COLORS),
    "glasses": {"round": ("eyewear", "round glasses"), "circular": ("eyewear", "round glasses")},
    "person": _facts("skin", {k: SKINS[k] for k in ("pale", "tan", "olive")})
    | _facts("hair_color", FAIR_HEADED)
    | {"old": ("age", "elderly"), "older": ("age", "elderly")},
    "other": {},
}
_ALONE = _ADJECTIVES["person"]  # adjectives that mean something without a noun
_ALL_ADJECTIVES = {word for table in _ADJECTIVES.values() for word in table}

_NOUNS = {
    "hair": "hair haired tresses locks hairdo hairstyle buzz_cut buzzcut bob curls afro bun braids"
    " braid plaits pigtails topknot chignon",
    "beard": "beard mustache goatee bearded facial_hair stubble",
    "skin": "skin skinned complexion complected",
    "clothing": "clothes clothing outfit top sweater jacket dress garment jumper attire",
    "background": "background backdrop wall backgrounds gradient",
    "glasses": "glasses spectacles eyeglasses",
    "person": "woman lady female man gentleman male guy person girl boy child kid adult somebody"
    " someone grandmother grandfather",
    "other": "eyes eyed eye lips cap hat beanie beret crown headscarf tie sky nose cheeks jewelry"
    " earrings flowers flower beads black_and_white hills landscape sunset sun",
}
_STRUCTURE = {
    "#light": "light lit lighting illuminated illumination sunlight lamp",
    "#turn": "turned turning turns facing faces looking looks gazing head_turned three_quarter",
    "#not": "no without not never isn't doesn't lacking",
    "#is": "is are was dyed colored",
    "#break": "with of from by at over under beneath behind a an the who having has standing",
    "#wear": "wearing wears in dressed_in clad_in",
    "#before": "against on before in_front_of",
    "#skip": "good_looking in_front old_fashioned left_handed right_handed all_right years_old"
    " year_old black_and_white or nor",
}
_EXTRA: dict[str, list[Fact]] = {
    "girl": [("age", "child"), ("gender", "woman")], "boy": [("age", "child"), ("gender", "man")],
    "young girl": [("age", "child"), ("gender", "woman")],
    "young boy": [("age", "child"), ("gender", "man")],
    "grandmother": [("age", "elderly"), ("gender", "woman")],
    "grandma": [("age", "elderly"), ("gender", "woman")],
    "grandfather": [("age", "elderly"), ("gender", "man")],
    "grandpa": [("age", "elderly"), ("gender", "man")],
    "bald": [("hair_style", "bald")], "baldheaded": [("hair_style", "bald")],
    "hairless": [("hair_style", "bald")], "buzz cut": [("hair_style", "buzz cut")],
    "buzzcut": [("hair_style", "buzz cut")], "bob": [("hair_style", "bob")],
    "curls": [("hair_style", "curly")], "afro": [("hair_style", "afro")],
    "bun": [("hair_style", "bun")], "topknot": [("hair_style", "bun")],
    "chignon": [("hair_style", "bun")], "braids": [("hair_style", "braids")],
    "braid": [("hair_style", "braids")], "plaits": [("hair_style", "braids")],
    "pigtails": [("hair_style", "braids")], "redhead": [("hair_color", "red")],
    "redheaded": [("hair_color", "red")], "gradient": [("background", "gradient")],
    "left": [("#direction", "left")], "right": [("#direction", "right")],
    "front": [("#direction", "front")], "forward": [("#direction", "front")],
    "viewer": [("#direction", "front")], "camera": [("#direction", "front")],
    "straight ahead": [("#direction", "front")], "ahead": [("#direction", "front")],
    "hat": [("headwear", "")],
}  # fmt: skip
_POSES = {"left": "turned left", "right": "turned right", "front": "frontal"}
# A later, more exact word beats these: "long hair in a bun" is a bun.
_VAGUE = {("hair_style", "short"), ("hair_style", "long"), ("eyewear", "glasses")}


def _build_lexicon() -> dict[tuple[str, ...], list[Fact]]:
    lexicon: dict[tuple[str, ...], list[Fact]] = {}

    def add(phrase: str, *facts: Fact) -> None:
        lexicon.setdefault(tuple(split_words(phrase)), []).extend(facts)

    for table in (SAID, HEARD):
        for field, values in table.items():
            if field == "skin":
                continue  # "dark" waits for "skin" like any other adjective
            for value, phrases in values.items():
                for phrase in phrases:
                    add(phrase, (field, value))
                    if field == "clothing":
                        add(phrase, ("#noun", "clothing"))
                    elif field in ("style", "headwear"):
                        add(phrase, ("#noun", "other"))
    for phrase, facts in _EXTRA.items():
        add(phrase, *facts)
    for table, role in ((_NOUNS, "#noun"), (_STRUCTURE, "")):
        for name, phrases in table.items():
            for phrase in phrases.split():
                add(phrase.replace("_", " "), (role, name) if role else (name, ""))
    return lexicon


_LEXICON = _build_lexicon()
_LONGEST = max(len(phrase) for phrase in _LEXICON)


class _Reader:
    """What has been read so far: facts, and the words of this clause that still wait."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.hair_from_beard = False
        self._start_clause()

    def _start_clause(self) -> None:
        self.adjectives: list[str] = []
        self.noun = self.role = self.direction = self.opener = ""
        self.negated = self.denied = self.linked = False

    def state(self, field: str, value: str) -> None:
        """Note a fact; the first word on a matter stands, unless it was vague."""
        if self.negated:
            # "no hat" is a fact; "not smiling" leaves all other expressions open.
            value = "none" if "none" in VOCABULARY[field] else ""
        old = self.found.get(field)
        exact = value != "none" and (field, value) not in _VAGUE
        if value and (old is None or (exact and (field, old) in _VAGUE)):
            self.found[field] = value

    def read_noun(self, kind: str) -> None:
        table = _ADJECTIVES[kind]
        if self.negated and kind == "hair":
            self.found.setdefault("hair_style", "bald")
        elif not self.negated:
            for word in reversed(self.adjectives):  # the nearest adjective wins
                field, value = table.get(word, ("", ""))
                # The hair itself tells its colour better than the beard does.
                if field == "hair_color" and self.hair_from_beard and kind == "hair":
                    self.found[field] = value
                    self.hair_from_beard = False
                elif field:
                    self.hair_from_beard |= kind == "beard" and field not in self.found
                    self.state(field, value)
        self.noun, self.adjectives, self.linked = kind, [], False

    def settle(self) -> None:
        """Give adjectives that no noun followed to what came before: "hair is red", "in red"."""
        if not self.adjectives:
            return
        if self.linked and self.noun:
            self.read_noun(self.noun)
        elif self.opener == "#wear":
            self.read_noun("clothing")
        elif self.opener == "#before":
            self.read_noun("background")
        else:
            for word in self.adjectives:
                if word in _ALONE:
                    self.state(*_ALONE[word])
        self.adjectives = []

    def end_clause(self, next_word: str) -> None:
        # "long, curly red hair": a comma between adjectives ends nothing.
        kept = [w for w in self.adjectives if w in HAIR_SHAPES and next_word in _ALL_ADJECTIVES]
        if not kept:
            self.settle()
        self._start_clause()
        self.adjectives = kept

    def read_structure(self, role: str) -> None:
        if role in ("#light", "#turn"):
            self.role = role
        elif role == "#not":
            self.negated = True
        elif role == "#is":
            self.linked = True
        elif role in ("#break", "#wear", "#before"):
            self.settle()
            self.opener = role
        self.point()

    def point(self) -> None:
        """Once both are known, say whether it is the light or the head that is on that side."""
        if self.direction and self.role == "#light":
            self.state("light", self.direction)
        elif self.direction and self.role == "#turn":
            self.state("pose", _POSES[self.direction])
        else:
            return
        self.direction = ""

    def read(self, phrase: tuple[str, ...], facts: list[Fact]) -> None:
        """Take in one phrase of the lexicon."""
        if phrase[-1] in ("or", "nor"):
            self.negated = self.denied  # "no beard or glasses" denies both
        for field, value in facts:
            if field == "#direction":
                self.direction = value
                self.point()
            elif field == "#noun":
                self.read_noun(value)
            elif field.startswith("#"):
                self.read_structure(field)
            else:
                self.state(field, value)
        if phrase[-1] in _ALL_ADJECTIVES and len(phrase) == 1:
            self.adjectives.append(phrase[0])
        if self.negated and any(not f.startswith("#") or f == "#noun" for f, _ in facts):
            self.negated, self.denied = False, True


def _name_ages(text: str) -> str:
    """Put a word for an age in years: "a 70-year-old man" becomes "a aged man"."""

    def name(match: re.Match[str]) -> str:
        years = int(match[1])
        limits = {13: "child", 30: "young", 60: "adult"}
        return next((age for limit, age in limits.items() if years < limit), "aged")

    return re.sub(r"\b(\d{1,3})[\s-]*years?[\s-]*olds?\b", name, text, flags=re.IGNORECASE)


def parse_caption(text: str) -> dict[str, str]:
    """Find the attributes that a text states.

    It reads every caption of `caption` exactly, and does its best with what people type: case,
    spelling ("grey", "watercolour") and hyphens do not matter, unknown words are passed over, and
    what is ambiguous states nothing ("dark hair" may be black or brown; "a hat" may be any).

    Parameters
    ----------
    text : str
        A caption or prompt, such as ``"old lady with red hair, watercolour, smiling"``.

    Returns
    -------
    dict of str to str
        ``{field: value}`` for the stated attributes only, in the order of `VOCABULARY`. ``"none"``
        appears only if the text says so: "no glasses", "clean-shaven".

    Raises
    ------
    TypeError
        If `text` is not a string.

    Examples
    --------
    >>> parse_caption("old lady with red hair, watercolour, smiling")["hair_color"]
    'red'
    """
    if not isinstance(text, str):
        raise TypeError(f"parse_caption takes one string, not {type(text).__name__}.")
    words, reader, i = split_words(_name_ages(text)), _Reader(), 0
    while i < len(words):
        length = 1
        if words[i] == ",":
            reader.end_clause(words[i + 1] if i + 1 < len(words) else "")
        elif words[i] == "pastel" and words[i + 1 : i + 2] and words[i + 1] in WALL_COLORS:
            pass  # "pastel pink" is a colour, not a medium
        else:
            for length in range(min(_LONGEST, len(words) - i), 0, -1):
                phrase = tuple(words[i : i + length])
                if phrase in _LEXICON or (length == 1 and phrase[0] in _ALL_ADJECTIVES):
                    reader.read(phrase, _LEXICON.get(phrase, []))
                    break
        i += length
    reader.end_clause("")
    return {field: reader.found[field] for field in VOCABULARY if field in reader.found}
