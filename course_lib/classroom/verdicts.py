"""Verdicts on exercises, read from what a notebook's check cells show; nothing is executed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from course_lib.checks import NOT_ATTEMPTED, PASSED, TRY_AGAIN
from course_lib.classroom.lessons import (
    Exercise,
    Lesson,
    checker_calls,
    read_cells,
    recognise,
    tags,
    text_of,
)

# In the order of `best`: what counts of two copies of a check
STATUSES = ("passed", "check changed", "tried", "stopped", "open", "no check")
STATUS_OF = {PASSED: "passed", TRY_AGAIN: "tried", NOT_ATTEMPTED: "open"}


@dataclass(frozen=True)
class Verdict:
    """What is known of one exercise: a word of `STATUSES`, the file and perhaps a remark."""

    exercise: Exercise
    status: str
    file: str = ""
    note: str = ""


@dataclass(frozen=True)
class Record:
    """What one learner has done: lesson -> verdicts, and a sentence for each oddity.

    `problems` tell what was left out, `remarks` what was used though it is unusual.
    `files` are the notebooks that were recognised, by lesson. A lesson without a notebook has no
    verdicts.
    """

    name: str
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def count(self, status: str, lesson: str | None = None) -> int:
        """How many exercises, of one lesson or of all, have this status."""
        rows = self.verdicts.values() if lesson is None else [self.verdicts.get(lesson, [])]
        return sum(verdict.status == status for row in rows for verdict in row)


def read_record(name: str, files: Iterable[Path], lessons: list[Lesson]) -> Record:
    """Read a learner's notebooks. Of two notebooks of one lesson the better answer counts."""
    record = Record(name)
    for path in files:
        try:
            cells = read_cells(path)
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            record.problems.append(f"{path} was left out: {reason}.")
            continue
        lesson = recognise(cells, lessons)
        if lesson is None:
            record.problems.append(f"{path} was left out: it is none of the lessons.")
            continue
        found = read_verdicts(cells, lesson, path.name)
        if earlier := record.verdicts.get(lesson.number):
            record.remarks.append(
                f"{path} is another notebook of lesson {lesson.number}; of two answers the better "
                "counts."
            )
            found = [best(pair) for pair in zip(earlier, found, strict=True)]
        record.verdicts[lesson.number] = found
        record.files.setdefault(lesson.number, []).append(path)
    return record


def read_verdicts(cells: list[dict[str, Any]], lesson: Lesson, file: str) -> list[Verdict]:
    """The verdict on each exercise of a lesson, wherever in the notebook its check stands.

    A check counts only if its code is the course's own. A cell that calls the checker with other
    code, or stands in the check's place, is reported if it claims a success.
    """
    code = [cell for cell in cells if cell["cell_type"] == "code" and not _is_solution(cell)]
    verdicts = []
    for exercise in lesson.exercises:
        found = [_read_cell(cell, exercise, lesson.number) for cell in code]
        missing = Verdict(exercise, "no check", note="the notebook lacks the check cell")
        chosen = best([*(one for one in found if one), missing])
        verdicts.append(replace(chosen, file=file))
    return verdicts


def _is_solution(cell: dict[str, Any]) -> bool:
    return "exercise-solution" in tags(cell) or ".require()" in cell["source"]


def best(verdicts: Iterable[Verdict]) -> Verdict:
    return min(verdicts, key=lambda verdict: STATUSES.index(verdict.status))


def _read_cell(cell: dict[str, Any], exercise: Exercise, lesson: str) -> Verdict | None:
    """What a cell says about an exercise; None if it is not a check of it."""
    claims = claimed(cell.get("outputs"), exercise.checker)
    if same_code(cell["source"], exercise.source):
        if len(set(claims)) > 1:
            return Verdict(exercise, "check changed", note="its output says two things")
        raised = next((one for one in _outputs(cell) if one.get("output_type") == "error"), {})
        note = f"the check raised {raised.get('ename')}" if raised and not claims else ""
        return Verdict(exercise, STATUS_OF[claims[0]] if claims else "open", note=note)
    calls = (lesson, exercise.checker) in checker_calls(cell["source"])
    in_place = "exercise-check" in tags(cell) and cell.get("id", "") == exercise.cell_id
    if not (calls or in_place):
        return None
    if PASSED in claims:
        return Verdict(exercise, "check changed", note="another code than the course's says passed")
    note = "the code of the check cell was changed"
    return Verdict(exercise, "tried" if TRY_AGAIN in claims else "no check", note=note)


def same_code(one: str, other: str) -> bool:
    """Whether two cells differ in spaces and comments at most."""
    one, other = (re.sub(r"#.*|\s", "", source) for source in (one, other))
    return one == other


def claimed(outputs: object, checker: str) -> list[str]:
    """The verdicts that outputs hold, as text or as HTML: "passed", "not attempted" ..."""
    found, words = [], "|".join(STATUS_OF)
    for output in _outputs({"outputs": outputs}):
        data = output.get("data") if isinstance(output.get("data"), dict) else {}
        page = re.sub(r"<[^>]*>", "", text_of(data.get("text/html")))
        plain = text_of(data.get("text/plain")) + text_of(output.get("text"))  # printed
        for text in (plain, html.unescape(page)):
            found += re.findall(rf"^\W*{re.escape(checker)}: ({words})\.", text.strip())
    return found


def _outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    outputs = cell.get("outputs")
    return [one for one in outputs if isinstance(one, dict)] if isinstance(outputs, list) else []
