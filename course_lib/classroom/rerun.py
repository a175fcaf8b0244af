"""Check a learner's answers anew: a copy of what they need, in a fresh kernel with a time limit.

Of a notebook those cells run that define the answers and, in turn, the names which these use; the
set-up and the checks are the course's own. The kernel works in an empty folder that is removed. The
code runs with the rights of whoever starts it and could deceive a check on purpose: a process
cannot guard itself against its own code.
"""

from __future__ import annotations

import ast
import re
import symtable
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from course_lib.classroom.changes import changed_in_place, imported_names
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

    A remark says where the stored outputs claim a success that the run did not find. A notebook
    that cannot be run, such as where no kernel starts, is told in the record's problems.
    """
    verdicts, problems = {}, list(record.problems)
    for lesson in lessons:
        runs = []
        for path in record.files.get(lesson.number, []):
            try:
                runs.append(run_lesson(read_cells(path), lesson, path.name, seconds=seconds))
            except Exception as error:  # one notebook must not cost the verdicts on a whole class
                problems.append(f"{path} was left out: {str(error) or type(error).__name__}.")
        if runs:
            pairs = zip(zip(*runs, strict=True), record.verdicts[lesson.number], strict=True)
            verdicts[lesson.number] = [_compared(best(new), old) for new, old in pairs]
    return replace(record, verdicts=verdicts, problems=problems)


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
    data = re.sub(r"""(["'\\])""", r"\\\1", data)  # it comes between quotes
    return _DATA.sub(lambda found: f"{found[1]}{data}/{found[2]}", source)


@dataclass
class _Names:
    """What a cell defines for others, imports, uses, and changes in place."""

    defines: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)


def needed_cells(code: list[str], names: list[str]) -> set[int]:
    """The places of the cells that define `names`, and of those which these cells need.

    A name is taken from the last cell that defines it; where a cell uses it, from the last one
    before. Cells that change its object since then, as ``results.append(3)`` does, come along.
    What a function changes that is called elsewhere is not found.
    """
    cells = [_names(source) for source in code]
    modules = {name for cell in cells for name in cell.imports}
    needed: set[int] = set()
    wanted = [(name, len(code)) for name in names]
    while wanted:
        name, before = wanted.pop()
        places = [k for k, cell in enumerate(cells) if cell.defines & {name, _STAR}]
        earlier = [place for place in places if place < before] or places
        found = {*earlier[-1:], *(k for k in earlier if _STAR in cells[k].defines)}
        if earlier and name not in modules:
            end = before if earlier[-1] < before else len(code)
            found |= {k for k in range(earlier[-1] + 1, end) if name in cells[k].changes}
        for place in found - needed:
            needed.add(place)
            wanted += [(used, place) for used in cells[place].uses]
    return needed


def _names(source: str) -> _Names:
    """The global names of a cell."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        python = TransformerManager().transform_cell(source)
        top, tree = symtable.symtable(python, "cell", "exec"), ast.parse(python)
    except (SyntaxError, ValueError):
        # The cell will fail; what it was meant to define still counts
        pairs = re.findall(r"^(?:def|class) +(\w+)|^(\w+) *=", source, re.M)
        return _Names(defines={name for pair in pairs for name in pair if name})
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    if re.search(r"^\s*from .* import \*", source, re.M):
        defined.add(_STAR)
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    changed = changed_in_place(tree) & (used | defined)  # the rest are names of functions' own
    return _Names(defined, imported_names(tree), used | changed, changed)
