"""The course's lessons and exercises, and how to recognise them in a notebook.

What the lessons hold is listed in ``lessons.json``, not read from the notebooks: many learners work
in those, and a check that was changed there would be compared with itself. ``python
tools/list_lessons.py`` writes the list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIRST_LESSON = "00_start_here.ipynb"
LESSONS = Path(__file__).with_name("lessons.json")
_CALL = re.compile(r"\bchecks\s*\.\s*lesson_(\d\d)\s*\.\s*(\w+)\s*\(")
_SECONDS = {"s": 1, "min": 60}
_MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class Exercise:
    """One exercise: its number such as "1.2", its title, and its check cell's code and id."""

    number: str
    title: str
    source: str
    cell_id: str

    @property
    def checker(self) -> str:
        """The name of the function that checks it."""
        return checker_calls(self.source)[0][1]

    @property
    def answers(self) -> list[str]:
        """The names that the check is given: ``my_snr``."""
        return re.findall(r"\bmy_\w+", self.source)


@dataclass(frozen=True)
class Lesson:
    """One lesson; `purpose`, `time` and `memory` are words of the README's table.

    `file` is the notebook's name, and `setup` its set-up cell.
    """

    number: str
    title: str
    file: str
    purpose: str
    time: str
    memory: str
    setup: str
    exercises: tuple[Exercise, ...]

    @property
    def seconds(self) -> float:
        """`time` as a number."""
        amount, unit = self.time.split()
        return float(amount) * _SECONDS[unit]

    @property
    def gigabytes(self) -> float:
        """`memory` as a number."""
        return float(self.memory.removesuffix(" GB"))


def lessons_folder() -> Path:
    """The folder of the course's lessons: beside the package, or in or of the current folder.

    Raises
    ------
    FileNotFoundError
        If the lessons are in none of them.
    """
    here = Path.cwd()
    beside = Path(__file__).resolve().parents[2] / "notebooks"
    for place in (beside, here / "notebooks", here):
        if (place / FIRST_LESSON).is_file():
            return place
    raise FileNotFoundError(
        f"the lessons are missing: no {FIRST_LESSON} in {beside} or the current folder. "
        "Run the command in the folder that you cloned or unpacked."
    )


def course_lessons() -> list[Lesson]:
    """The lessons in order, as delivered."""
    listed = json.loads(LESSONS.read_text(encoding="utf-8"))
    return [
        Lesson(**one | {"exercises": tuple(Exercise(**exercise) for exercise in one["exercises"])})
        for one in listed
    ]


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, whoever wrote it, each source as one text.

    Raises
    ------
    ValueError
        If the file is no notebook of format 4. The message does not name the file.
    """
    if not path.is_file():  # a pipe or a device would be read for ever
        raise ValueError("it is no file")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES // 10**6} MB; clear its outputs")
    try:
        notebook = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        reason = "it is no JSON; the file may be cut short or hold a merge conflict"
        raise ValueError(reason) from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it is no notebook of format 4; open and save it in JupyterLab")
    sound = [cell for cell in cells if isinstance(cell, dict)]
    return [cell | {"cell_type": cell.get("cell_type"), "source": text_of(cell.get("source"))}
            for cell in sound]  # fmt: skip


def text_of(value: object) -> str:
    """A text as notebooks store it: whole or as a list of lines; "" for anything else."""
    lines = value if isinstance(value, list) else [value]
    return "".join(line for line in lines if isinstance(line, str))


def tags(cell: dict[str, Any]) -> list[Any]:
    """The tags of a cell, whatever its metadata look like."""
    metadata = cell.get("metadata")
    found = metadata.get("tags") if isinstance(metadata, dict) else None
    return found if isinstance(found, list) else []


def titles(cells: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Number and title of each heading of the form ``# 03. A small U-Net``."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            yield from re.findall(r"^# (\d\d)\. *(\S.*?)\s*$", cell["source"], re.M)


def checker_calls(source: str) -> list[tuple[str, str]]:
    """Lesson and name of each checker that a cell calls: ("01", "closed_form")."""
    return _CALL.findall(source)


def recognise(cells: list[dict[str, Any]], lessons: list[Lesson]) -> Lesson | None:
    """Which lesson a notebook is, by its first heading or else by the checks that it calls.

    The file's name does not count, since learners rename their copies.
    """
    first = next(titles(cells), ("", ""))  # a later heading of that form is a quotation
    for lesson in lessons:
        if (lesson.number, lesson.title.lower()) == (first[0], first[1].lower()):
            return lesson
    numbers = [n for c in cells if c["cell_type"] == "code" for n, _ in checker_calls(c["source"])]
    if not numbers:
        return None
    most = max(sorted(set(numbers)), key=numbers.count)
    return next((lesson for lesson in lessons if lesson.number == most), None)
