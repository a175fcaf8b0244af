"""Check a learner's answers anew: a copy of what they need, in a fresh kernel with a time limit.

Of a notebook those cells run that define the answers and, in turn, the names which these use; the
set-up and the checks are the course's own. The kernel works in an empty folder that is removed. The
code runs with the rights of whoever starts it and could deceive a check on purpose: a process
cannot guard itself against its own code.
"""

from __future__ import annotations

import re
import symtable
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_lib.classroom.kernels import FreshKernel
from course_lib.classroom.lessons import Exercise, Lesson, lessons_folder, read_cells
from course_lib.classroom.verdicts import STATUS_OF, Record, Verdict, best, claimed, same_code

# Whatever leads to the course's data from where the learner worked
_DATA = re.compile(r"""(["'])[^"'\n]*?\bdata/(models|portraits|experiments)\b""")
_STAR = "*"  # stands for the names of "from m import *", which only running it tells
# Reloaded, lest a learner's cell has put another function in the checker's place
_CHECK = """\
import importlib, course_lib.checks.lesson_{number}
importlib.reload(course_lib.checks.lesson_{number})
import course_lib as cl
{source}
"""


def check_again(record: Record, lessons: list[Lesson], *, seconds: float) -> Record:
    """The record with the verdicts of a run, at most `seconds` for each notebook.

    A remark says where the stored outputs claim a success that the run did not find.
    """
    verdicts = {}
    for lesson in lessons:
        runs = [
            run_lesson(read_cells(path), lesson, path.name, seconds=seconds)
            for path in record.files.get(lesson.number, [])
        ]
        if runs:
            pairs = zip(zip(*runs, strict=True), record.verdicts[lesson.number], strict=True)
            verdicts[lesson.number] = [_compared(best(new), old) for new, old in pairs]
    return replace(record, verdicts=verdicts)


def _compared(new: Verdict, old: Verdict) -> Verdict:
    if old.status == "passed" != new.status:
        return replace(new, note=f"{new.note}. The outputs say passed".removeprefix(". "))
    return new


def run_lesson(
    cells: list[dict[str, Any]], lesson: Lesson, file: str, *, seconds: float
) -> list[Verdict]:
    """Run what the answers of a notebook need, and the course's checks of them."""
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    code = ["" if same_code(source, lesson.setup) else source for source in code]
    needed = {one.number: needed_cells(code, one.answers) for one in lesson.exercises}
    problems: dict[int, str] = {}
    verdicts: dict[str, Verdict] = {}
    with (
        tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as folder,
        FreshKernel(Path(folder), seconds=seconds) as kernel,
    ):
        problems[-1] = kernel.run(_at_home(lesson.setup)).problem
        for place in sorted({-1}.union(*needed.values())):
            if place >= 0:
                problems[place] = kernel.run(_at_home(code[place])).problem
            for exercise in lesson.exercises:
                own = needed[exercise.number]
                if max(own, default=-1) == place:
                    failed = [problems[one] for one in [-1, *sorted(own)] if problems[one]]
                    verdict = _check(kernel, lesson, exercise, failed)
                    verdicts[exercise.number] = replace(verdict, file=file)
    return [verdicts[exercise.number] for exercise in lesson.exercises]


def _check(kernel: FreshKernel, lesson: Lesson, exercise: Exercise, failed: list[str]) -> Verdict:
    """The verdict of the course's check; `failed` says what went wrong in the cells before it."""
    code = _CHECK.format(number=lesson.number, source=exercise.source)
    outcome = kernel.run(code)
    claims = claimed(outcome.outputs, exercise.checker)
    note = next((one for one in [*failed, outcome.problem] if one), "")
    if not claims:
        return Verdict(exercise, "stopped", note=note)
    status = STATUS_OF[claims[0]]
    return Verdict(exercise, "tried" if failed and status == "open" else status, note=note)


def _at_home(source: str) -> str:
    """The code with its paths to the course's data made absolute."""
    data = (lessons_folder().parent / "data").as_posix()
    return _DATA.sub(rf"\g<1>{data}/\g<2>", source)


def needed_cells(code: list[str], names: list[str]) -> set[int]:
    """The places of the cells that define `names`, and of those which these cells need.

    A name is taken from the last cell that defines it; where a cell uses it, from the last one
    before. Cells that change an object without naming it on the left of "=" are not found.
    """
    tables = [_names(source) for source in code]
    needed: set[int] = set()
    wanted = [(name, len(code)) for name in names]
    while wanted:
        name, before = wanted.pop()
        places = [k for k, (defined, _) in enumerate(tables) if defined & {name, _STAR}]
        earlier = [place for place in places if place < before] or places
        for place in {*earlier[-1:], *(k for k in earlier if _STAR in tables[k][0])} - needed:
            needed.add(place)
            wanted += [(used, place) for used in tables[place][1]]
    return needed


def _names(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell defines for others, and the global names that it uses."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        top = symtable.symtable(TransformerManager().transform_cell(source), "cell", "exec")
    except (SyntaxError, ValueError):
        # The cell will fail; what it was meant to define still counts
        pairs = re.findall(r"^(?:def|class) +(\w+)|^(\w+) *=", source, re.M)
        return {name for pair in pairs for name in pair if name}, set()
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    if re.search(r"^\s*from .* import \*", source, re.M):
        defined.add(_STAR)
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    return defined, used
