"""``python -m course_lib progress``: which exercises are passed, tried and open, by learner.

Verdicts are read from the outputs that the notebooks hold, and no code of theirs is executed. With
``--run`` each answer is checked anew in a fresh kernel; see `course_lib.classroom.rerun`. Learners'
notebooks are never written.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from course_lib.classroom.lessons import Lesson, course_lessons, lessons_folder
from course_lib.classroom.verdicts import STATUSES, Record, read_record
from course_lib.errors import check_number
from course_lib.file_writing import write_atomically

_EPILOG = """\
A FOLDER holds a learner's notebooks, or one sub-folder for each learner of a class. Without FOLDER:
my_lessons if it is here, else the course's own notebooks. Exit code 0: everything was read. Exit
code 1: some file could not be read, or there was nothing to read.

Outputs can be edited, so a verdict that counts should come from --run. That executes the learner's
code with your rights: use an account or a container that may be lost."""
_COLUMNS = ("learner", "lesson", "exercise", "title", "status", "source", "file", "note")
_SKIPPED = (".", "__")  # folders such as .ipynb_checkpoints and __MACOSX


def add_progress(subparsers: argparse._SubParsersAction) -> None:
    """Add ``progress`` to the command line."""
    progress = subparsers.add_parser(
        "progress", help="say which exercises are passed, tried and open, of a learner or a class",
        description="Say which exercises are passed, tried and open, of a learner or a class.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    progress.add_argument("folder", nargs="*", type=Path, metavar="FOLDER")
    progress.add_argument(
        "--csv", type=Path, metavar="FILE", help="write one row for each learner and exercise"
    )
    progress.add_argument(
        "--run", dest="anew", action="store_true",
        help="check the answers anew, in a fresh kernel",
    )  # fmt: skip
    progress.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS",
        help="with --run: the limit for one notebook (default: 300)",
    )  # fmt: skip
    progress.set_defaults(run=run_progress)


def run_progress(options: argparse.Namespace) -> int:
    """Print the progress of each learner, and write the CSV file if one is asked for."""
    check_number("--timeout", options.timeout, low=1, high=86_400)
    lessons = course_lessons()
    mine = Path("my_lessons")
    folders = options.folder or [mine if mine.is_dir() else lessons_folder()]
    records, problems, remarks = [], [], []
    for name, files in find_learners(folders, problems):
        record = read_record(name, files, lessons)
        if options.anew:
            from course_lib.classroom.rerun import check_again

            print(f"Checking the answers of {name} ...", file=sys.stderr, flush=True)
            record = check_again(record, lessons, seconds=options.timeout)
        records.append(record)
        problems += record.problems
        remarks += record.remarks
    for sentence in problems + remarks:
        print(f"course_lib: {sentence}", file=sys.stderr)
    if records:  # printed first: a file that cannot be written must not cost an hour of --run
        print(as_text(records, lessons, run=options.anew))
    if options.csv and records:
        text = as_csv(records, lessons, run=options.anew)
        write_atomically(options.csv, text.encode("utf-8-sig"))  # Excel needs the mark for José
    return int(not records or bool(problems))


def find_learners(folders: list[Path], problems: list[str]) -> Iterator[tuple[str, list[Path]]]:
    """Each learner's name and notebooks; what cannot be used is told in `problems`.

    A folder with notebooks is one learner's. Else each of its sub-folders is, with the notebooks at
    any depth, as nbgrader collects them (``submitted/NAME/ASSIGNMENT/*.ipynb``).
    """
    found: list[tuple[Path, list[Path]]] = []
    for folder in folders:
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            problems.append(f"{folder} was left out: it {what}.")
            continue
        # macOS leaves ._NAME.ipynb beside a notebook on a stick, which is none
        direct = sorted(one for one in folder.glob("*.ipynb") if not one.name.startswith("."))
        if direct:
            found.append((folder, direct))
            continue
        inside = sorted(one for one in folder.iterdir() if one.is_dir())
        learners = [(one, _notebooks(one)) for one in inside if not one.name.startswith(_SKIPPED)]
        found += [learner for learner in learners if learner[1]]
        if not any(files for _, files in learners):
            problems.append(f"{folder} was left out: it and its folders hold no notebooks.")
    learners = {folder.resolve(): files for folder, files in found}  # one may be given twice
    yield from zip(_names(list(learners)), learners.values(), strict=True)


def _notebooks(folder: Path) -> list[Path]:
    """Notebooks at any depth, without checkpoints and other hidden folders."""
    found = []
    for place, inside, names in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith(_SKIPPED))
        names = sorted(name for name in names if not name.startswith("."))
        found += [Path(place) / name for name in names if name.endswith(".ipynb")]
    return found


def _names(paths: list[Path]) -> list[str]:
    """A name for each of different folders: its own, or where names recur what differs."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    parts = [path.parts for path in paths]
    alike = 0
    while len({part[: alike + 1] for part in parts}) == 1:
        alike += 1
    same_end = 0
    while len({part[-same_end - 1 :] for part in parts}) == 1:
        same_end += 1
    shown = [part[alike : len(part) - same_end] or part[alike:] for part in parts]
    return ["/".join(part) for part in shown]


def as_text(records: list[Record], lessons: list[Lesson], *, run: bool = False) -> str:
    """One learner: a line for each lesson. Several: a line for each learner."""
    source = "checked anew" if run else "from the notebooks' outputs"
    if len(records) == 1:
        lines = [f"{records[0].name}: {summary(records[0], lessons)} ({source})", ""]
        return "\n".join([*lines, *_lesson_lines(records[0], lessons)])
    width = max(len(record.name) for record in records) + 2
    lines = [f"{len(records)} learners, {source}:"]
    lines += [f"  {record.name:<{width}}{summary(record, lessons)}" for record in records]
    return "\n".join(lines)


def summary(record: Record, lessons: list[Lesson]) -> str:
    """ "12 of 63 passed, 3 tried"."""
    total = sum(len(lesson.exercises) for lesson in lessons)
    parts = [f"{record.count('passed')} of {total} passed"]
    others = [s for s in STATUSES if s not in ("passed", "open") and record.count(s)]
    return ", ".join([*parts, *(f"{record.count(status)} {status}" for status in others)])


def _lesson_lines(record: Record, lessons: list[Lesson]) -> Iterator[str]:
    width = max(len(lesson.title) for lesson in lessons) + 5
    for lesson in lessons:
        verdicts = record.verdicts.get(lesson.number)
        first = f"  {f'{lesson.number} {lesson.title}':<{width}}"
        if verdicts is None:
            yield f"{first}no notebook"
            continue
        groups = Counter(verdict.status for verdict in verdicts)
        texts = []
        for status in (one for one in STATUSES if groups[one]):
            numbers = [v.exercise.number for v in verdicts if v.status == status]
            texts.append(f"{status} {' '.join(numbers)}")
        yield first + "; ".join(texts)
        notes = dict.fromkeys((v.exercise.number, v.note) for v in verdicts if v.note)
        yield from (f"  {'':<{width}}  {number}: {note}" for number, note in notes)


def as_csv(records: list[Record], lessons: list[Lesson], *, run: bool = False) -> str:
    """One row for each learner and exercise, lessons without a notebook included."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for record in records:
        for lesson in lessons:
            verdicts = {v.exercise: v for v in record.verdicts.get(lesson.number, [])}
            for exercise in lesson.exercises:
                rest: tuple[str, ...] = ("no notebook", "", "", "")
                if verdict := verdicts.get(exercise):
                    source = "run" if run else "outputs"
                    rest = (verdict.status, source, verdict.file, verdict.note)
                row = (record.name, lesson.number, exercise.number, exercise.title, *rest)
                writer.writerow(map(_harmless, row))
    return text.getvalue()


def _harmless(text: str) -> str:
    """One line that no spreadsheet takes for a formula: a learner's folder may be named "=1+1".

    Not every Python's csv quotes a lone carriage return, after which a new row would begin.
    """
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
