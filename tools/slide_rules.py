"""Which parts of a lesson become slides. Every word and picture is the lesson's own.

There is a slide for the title, the objectives, each numbered section and the recap; what is left of
the 15 goes to the misconceptions and to those subsections that have most to show. A slide has what
fits, by an estimate of lines; everything else of its unit goes into its notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from slide_units import (
    Block,
    Unit,
    cut_question,
    fill,
    height,
    list_items,
    shortened,
    units_of,
)

MOST = 15
LINES = 15.5  # of 27 px text below a heading of one line
WIDE, NARROW = 92, 42  # characters in a line of the whole slide, and beside a picture
# Lists in smaller letters, and how many times as many lines and letters then fit
SCALES = {"text": 1.0, "dense": 1.15, "denser": 1.35}
PICTURE = {"wide": (1180, 34.5), "side": (604, 550)}  # its place: pixels, or pixels for each line
PROSE = 11.0  # lines of a slide that has text alone
LEAD = 2  # lines of the first text that a picture leaves room for
LOWEST = 6.0  # lines that a picture below the text gets at least


@dataclass
class Slide:
    """A heading, blocks of text, perhaps something to show, and notes, all in Markdown."""

    title: str
    body: list[str]
    notes: list[str]
    shown: Block | None = None  # a picture or printed lines
    answers: bool = False  # whether `shown` answers a question, and comes with the next key
    # title, text, dense and denser (small letters), wide (shown below), side (shown on the right)
    layout: str = "text"


def slides_of(notebook: Any) -> list[Slide]:
    """The slides of a lesson, at most `MOST`, in its order."""
    units = units_of(notebook)
    named = {unit.title: unit for unit in units}
    sections = [unit for unit in units if unit.level == 2 and re.match(r"\d", unit.title)]
    inner = [subsections(units, section) for section in sections]
    lent = [lend(*both) for both in zip(sections, inner, strict=True)]
    misconceptions = named.get("Misconceptions")
    room = MOST - 3 - len(sections)
    left = [[one for one in group if one not in lent] for group in inner]
    chosen = choose(left, room - 1 if misconceptions else room)
    slides = [_title(units[0], named), _listed(named["Objectives"])]
    for section, group, best in zip(sections, inner, lent, strict=True):
        own = [one for one in group if one in chosen]
        others = [one for one in group if one not in own and one is not best]
        slides.append(_section(section, best, others))
        slides += [_unit_slide(one) for one in own]
    if misconceptions and room:
        slides.append(_quotes(misconceptions))
    for slide in slides:  # all that the lesson says may be on the slide: then the same to read out
        slide.notes = slide.notes or list(slide.body)
    return [*slides, _recap(named)]


def subsections(units: list[Unit], section: Unit) -> list[Unit]:
    """The units of a section after its own."""
    after = units[units.index(section) + 1 :]
    return after[: next((k for k, unit in enumerate(after) if unit.level <= 2), len(after))]


def lend(section: Unit, group: list[Unit]) -> Unit | None:
    """The subsection whose question or picture stands on the slide of a section without any."""
    best = max(group, key=lambda one: experiment(one)[0], default=None)
    return best if best and experiment(section)[0] < 2 <= experiment(best)[0] else None


def choose(sections: list[list[Unit]], room: int) -> list[Unit]:
    """The subsections that get a slide of their own: those with most to show.

    A section that got one waits until others had their turn; equals are taken in order.
    """
    chosen: list[Unit] = []
    taken = [0] * len(sections)
    while len(chosen) < room:
        left = [
            (experiment(unit)[0] + bool(unit.of("equation")) - 1.5 * taken[k], k, unit)
            for k, group in enumerate(sections)
            for unit in group
            if unit not in chosen and experiment(unit)[0] >= 2
        ]
        if not left:
            break
        _, k, unit = max(left, key=lambda one: one[0])
        chosen.append(unit)
        taken[k] += 1
    return chosen


# ---- what a unit shows


def experiment(unit: Unit) -> tuple[int, Block | None, Block | None]:
    """How much there is to show, the question, and what is shown: its answer, or a picture.

    4 is a question with a picture that answers it, 3 a question with lines that answer it, 2 a
    picture, 1 a question. What the cells show before the next Markdown cell is the answer.
    """
    best: tuple[int, Block | None, Block | None] = (0, None, None)
    question: Block | None = None
    for block in unit.blocks:
        rank, shown = 0, block
        if block.kind == "cell":
            question = None
        elif block.kind == "predict":
            question = block
            rank, shown = 1, None
        elif block.kind == "figure":
            rank = 4 if question else 2
        elif block.kind == "printed" and question and _is_short(block.text):
            rank = 3
        if rank > best[0]:
            best = (rank, question, shown)
    return best


def _is_short(text: str) -> bool:
    lines = text.split("\n")
    return len(lines) <= 10 and max(map(len, lines)) <= 84


# ---- slides


def _title(unit: Unit, named: dict[str, Unit]) -> Slide:
    body = fill(unit.of("text")[:1], LINES - 4, WIDE)
    notes = [block.text for block in unit.of("text") if block.text not in body] + [
        f"**{name}.** {block.text}" if k == 0 else block.text
        for name in ("Time and hardware", "Prerequisites")
        for k, block in enumerate(named[name].of("text", "list"))
    ]
    return Slide(unit.title, body, notes, layout="title")


def _listed(unit: Unit) -> Slide:
    """A slide of one list; what does not fit of an item's later sentences goes to the notes."""
    items = [item for block in unit.of("list") for item in list_items(block.text)]
    before = [block.text for block in unit.of("text")]
    body, layout = _list(items, LINES - 1.4 * len(before))
    return Slide(unit.title, [*before, body], ["\n".join(items)], layout=layout)


def _list(items: list[str], lines: float) -> tuple[str, str]:
    """A list that fits, and its layout: letters as small as it takes to miss no item."""
    for layout in SCALES:
        times = SCALES[layout]
        texts = shortened(items, lines * times, int(WIDE * times) - 4)
        if len(texts) == len(items):
            break
    return "\n".join(texts), layout


def _quotes(unit: Unit) -> Slide:
    """What people believe, in bold; why it is not so is in the notes."""
    items = [item for block in unit.of("list") for item in list_items(block.text)]
    quotes = [match[0] for item in items if (match := re.match(r"- \*\*.+?\*\*", item))]
    body, layout = _list(quotes, LINES)
    return Slide(unit.title, [body], ["\n".join(items)], layout=layout)


def _recap(named: dict[str, Unit]) -> Slide:
    items = [item for block in named["Recap"].of("list") for item in list_items(block.text)]
    following = " ".join(block.text for block in named["Next"].of("text"))
    after = f"**Next.** {' '.join(fill([Block('text', following)], 2, WIDE))}"
    body, layout = _list(items, LINES - 0.4 - height(after, WIDE))
    notes = ["\n".join(items), *(block.text for block in named["Next"].blocks)]
    return Slide("Recap", [body, after], notes, layout=layout)


def _section(section: Unit, best: Unit | None, others: list[Unit]) -> Slide:
    """The slide of a section, with what `best` lends to it."""
    if best:
        name = Block("name", f"**{best.title}**")
        slide = _unit_slide(Unit(2, section.title, [*section.blocks, name, *best.blocks]))
    else:
        slide = _unit_slide(section, [one.title for one in others])
    if others:
        slide.notes.append(f"Also in this section: {'; '.join(one.title for one in others)}.")
    return slide


def _unit_slide(unit: Unit, contents: list[str] | None = None) -> Slide:
    """First sentences, equation and question, and beside or below them what is shown.

    Nothing that the lesson says after the question or the picture: it may tell the answer.
    """
    _, question, shown = experiment(unit)
    if shown and not question and _long_list(unit, shown):
        shown = None  # the list is what the slide is about
    until = question or shown
    end = unit.blocks.index(until) if until else len(unit.blocks)
    before = Unit(unit.level, unit.title, unit.blocks[:end])
    room = LINES + 1 - height(unit.title, 56)  # a heading may have two lines
    if until:
        fixed = [*before.of("name"), *before.of("equation")[:1]] or before.of("list")[:1]
        fixed += [question] if question else []
        first = before.of("text")[:1]
        layout, lines, width = _place(shown, fixed, first, room)
        body = _in_order(before, fixed, first, lines, width)
    else:
        layout = "text"
        kinds = [block.kind for block in unit.blocks]
        said = unit.blocks[: kinds.index("code")] if "code" in kinds else unit.blocks
        blocks = Unit(2, "", said).of("text", "list", "table", "equation")
        body = fill(blocks, room if before.of("table", "list") else min(room, PROSE), WIDE)
        listed = "\n".join(f"- {title}" for title in contents or [])
        if listed and sum(height(text, WIDE) + 0.4 for text in [*body, listed]) <= room:
            body.append(listed)
    notes = []
    for block in unit.blocks:
        if block.kind == "printed" and block is not shown and _is_short(block.text):
            notes.append(f"```\n{block.text}\n```")
        elif block.kind != "printed" and block.text and block.text not in body:
            notes.append(block.text)
    return Slide(unit.title, body, notes, shown, bool(question and shown), layout)


def _long_list(unit: Unit, shown: Block) -> bool:
    lists = Unit(2, "", unit.blocks[: unit.blocks.index(shown)]).of("list")
    return any(height(block.text, NARROW) > LINES - 4 for block in lists)


def _in_order(
    before: Unit, fixed: list[Block], first: list[Block], lines: float, width: int
) -> list[str]:
    """The question and what stands before it, in the lesson's order; the first text is cut."""
    texts: dict[int, str] = {}
    ranks = ("name", "predict", "equation", "list")
    for block in sorted(fixed, key=lambda one: ranks.index(one.kind)):
        text = cut_question(block.text, lines, width) if block.kind == "predict" else block.text
        if height(text, width) <= lines:
            texts[id(block)] = text
            lines -= height(text, width) + 0.4
    follows = any(one.kind in ("equation", "list") and id(one) in texts for one in fixed)
    lead = fill(first, lines, width, leads=follows)
    texts |= {id(block): text for block, text in zip(first, lead, strict=False)}
    order = [*before.blocks, *(block for block in fixed if block.kind == "predict")]
    return [texts[id(block)] for block in order if id(block) in texts]


def _place(
    shown: Block | None, fixed: list[Block], first: list[Block], room: float
) -> tuple[str, float, int]:
    """Where something is shown, and the lines of text and the characters in a line that are left.

    A picture goes where it becomes larger, with the question and the equation above or beside it.
    """
    if shown is None:
        return "text", room, WIDE
    if shown.kind == "printed":
        return "wide", room - 0.9 * (shown.text.count("\n") + 1) - 1.5, WIDE
    used = sum(height(block.text, WIDE) + 0.4 for block in fixed)
    used += sum(min(height(block.text, WIDE), LEAD) + 0.4 for block in first)
    width, line = PICTURE["wide"]
    below = min(width, shown.ratio * line * (room - used))
    beside = min(PICTURE["side"][0], shown.ratio * PICTURE["side"][1])
    if beside > 1.3 * below or room - used < LOWEST:
        return "side", room, NARROW
    # As much text as leaves the picture its size
    return "wide", max(room - below / shown.ratio / line, used), WIDE
