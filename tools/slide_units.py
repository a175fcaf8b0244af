"""A lesson in parts, for the slides: units between headings, blocks between blank lines.

Also what fits: how many lines a text takes on a slide, and texts that are cut after a sentence.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

_PICTURES = ("image/png", "image/jpeg")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“*`$(\d])")


@dataclass
class Block:
    """One paragraph or the like; `cell` and `ratio` (width over height) are of pictures."""

    kind: str  # text equation predict list table figure printed caption name cell code other
    text: str = ""
    cell: Any = None
    ratio: float = 1.0


@dataclass
class Unit:
    """What stands between two headings."""

    level: int
    title: str
    blocks: list[Block] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Block]:
        """The blocks of these kinds."""
        return [block for block in self.blocks if block.kind in kinds]


def units_of(notebook: Any) -> list[Unit]:
    """A lesson divided at its headings; exercises are left out."""
    units = [Unit(1, "")]
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code":
            if not any(tag.startswith("exercise") or tag == "setup" for tag in tags):
                units[-1].blocks += [Block("code"), *_outputs(cell)]
            continue
        exercise = False  # what follows in the same cell is its text
        units[-1].blocks.append(Block("cell"))  # answers to questions before it have been shown
        for text in _paragraphs("".join(cell["source"])):
            heading = re.match(r"(#{1,3}) (.+)$", text)
            if heading:
                exercise = heading[2].startswith("Exercise")
                if not exercise:
                    units.append(Unit(len(heading[1]), heading[2]))
            elif not exercise:
                units[-1].blocks.append(_block(text))
    return units[1:]


def _paragraphs(source: str) -> list[str]:
    """Blocks between blank lines; a fence is one, and a heading is one of its own."""
    source = re.sub(r"^(#{1,3} .+)$", r"\n\1\n", source, flags=re.MULTILINE)
    parts = re.split(r"^(```.*?^```)$", source, flags=re.MULTILINE | re.DOTALL)
    found = []
    for part in parts:
        found += [part] if part.startswith("```") else re.split(r"\n\s*\n", part)
    return [part.strip("\n") for part in found if part.strip()]


def _block(text: str) -> Block:
    kinds = {
        "$$": "equation", "**Predict.**": "predict", "- ": "list", "1. ": "list", "|": "table",
        "*Figure: ": "caption", "![": "other", "```": "other", "<": "other", "    ": "other",
    }  # fmt: skip
    kind = next((kind for start, kind in kinds.items() if text.startswith(start)), "text")
    return Block(kind, without_links(text))


def without_links(text: str) -> str:
    """The words of relative links, which lead nowhere from a deck."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!http)[^)]+\)", r"\1", text)


def _outputs(cell: Any) -> list[Block]:
    """The pictures of a cell, and the lines that it prints."""
    from PIL import Image

    found = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        if kind := next((kind for kind in _PICTURES if kind in data), None):
            picture = Image.open(BytesIO(base64.b64decode("".join(data[kind]))))
            only = {**cell, "outputs": [output]}
            found.append(Block("figure", cell=only, ratio=picture.width / picture.height))
        elif output["output_type"] == "stream":
            text = "".join(output["text"]).rstrip("\n")
            found.append(Block("printed", text, cell={**cell, "outputs": [output]}))
    return found


# ---- texts that fit


def sentences(text: str) -> list[str]:
    """A paragraph in sentences; points inside maths, code and brackets do not end one."""
    return _SENTENCE.split(" ".join(text.split()))


def height(text: str, width: int) -> float:
    """An estimate of the lines that a block takes in a column of `width` characters."""
    if not text:
        return 0
    if text.startswith("$$"):
        letters = re.sub(r"\\[a-zA-Z]+|[\s${}_^\\&]", "", text)
        if width < 60 and len(letters) > 0.9 * width:
            return 99  # it would become unreadably small beside a picture
        tall = len(re.findall(r"\\\\|frac|sum|\\begin\{(?:cases|aligned)", text))
        return min(2 + 0.8 * text.count("\\\\") + 0.6 * bool(tall), 6)
    if text.startswith("|"):
        rows = [row for row in text.split("\n") if not row.startswith(("|-", "|:"))]
        return sum(1.0 + 0.75 * (len(row) // (1.2 * width)) for row in rows)
    plain = re.sub(r"\\[a-zA-Z]+|[${}_^*`\\]", "", text)
    lines = plain.split("\n") if text.startswith(("- ", "1. ")) else [" ".join(plain.split())]
    return sum(-(-max(len(line), 1) // width) for line in lines)


def fill(blocks: list[Block], lines: float, width: int, *, leads: bool = False) -> list[str]:
    """The first blocks that fit into `lines`, the last one cut after a sentence.

    A last sentence without a full stop stays only if what it leads to follows: in `blocks`, or
    elsewhere on the slide, `leads`.
    """
    body: list[str] = []
    for block in blocks:
        text = block.text
        if block.kind == "text":
            kept = sentences(text)
            while kept and height(" ".join(kept), width) > lines:
                kept.pop()
            text = text if kept == sentences(text) else " ".join(kept)
        if not text or height(text, width) > lines:
            break
        body.append(text)
        lines -= height(text, width) + 0.4
        if text != block.text:
            break
    follows = len(body) == len(blocks) and leads
    last = blocks[len(body) - 1] if body else None
    if last and last.kind == "text" and not follows and re.search(r"[:,;\w]$", body[-1]):
        body[-1] = " ".join(sentences(body[-1])[:-1])
    return [text for text in body if text]


def cut_question(text: str, lines: float, width: int) -> str:
    """A prediction; if it is too long, its last sentences, which ask."""
    kept = sentences(text.removeprefix("**Predict.**").strip())
    if len(kept) > 1 and kept[-1].endswith(":"):
        kept.pop()  # it leads to the cell below
    while len(kept) > 1 and height(f"Predict. {' '.join(kept)}", width) > lines:
        kept.pop(0)
    return f"**Predict.** {' '.join(kept)}"


def list_items(text: str) -> list[str]:
    """The items of a list, each one line that begins with ``- ``."""
    items = re.split(r"^(?:- |\d+\. )", text, flags=re.MULTILINE)[1:]
    return [f"- {' '.join(item.split())}" for item in items]


def shortened(items: list[str], lines: float, width: int) -> list[str]:
    """Items that fit together, the longest cut after a sentence; as a last resort, fewer items."""
    body = [sentences(item) for item in items]
    while sum(height(" ".join(item), width) + 0.25 for item in body) > lines:
        longest = max(body, key=lambda item: (len(item) > 1, len(" ".join(item))))
        (longest if len(longest) > 1 else body).pop()
    return [" ".join(item) for item in body]
