"""Lessons in the form of nbgrader or otter-grader: after each check stands a test that counts.

    python tools/graded_lessons.py nbgrader --to source 00 01   # source/00_start_here/...ipynb
    python tools/graded_lessons.py otter --to otter_source      # all lessons

The copies have no outputs. Their paths to the course's data lead to this folder, so make them on
the machine, or in the image, on which learners work. No file is overwritten.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from course_lib.classroom.lessons import course_lessons, lessons_folder, tags
from course_lib.errors import check_choice
from course_lib.file_writing import write_atomically
from course_lib.lesson_copies import blank_copy

FORMATS = ("nbgrader", "otter")
_OTTER_BEGIN = "# ASSIGNMENT CONFIG\ngenerate: false\nrun_tests: false"
_OTTER_END = "# END QUESTION"


def graded(notebook: dict[str, Any], form: str) -> dict[str, Any]:
    """The notebook with one test cell, worth 1 point, for each check cell."""
    cells = [] if form == "nbgrader" else [_raw("otter-config", _OTTER_BEGIN)]
    for cell in notebook["cells"]:
        cells.append(cell)
        if "exercise-check" in tags(cell):
            cells += _test(cell, form)
    return notebook | {"cells": cells}


def _test(check: dict[str, Any], form: str) -> list[dict[str, Any]]:
    """What follows a check: `require` raises unless the answer passes."""
    name = check["id"]
    code = f"verdict = {''.join(check['source'])}.require()"
    test = check | {"id": f"{name}-test", "source": code, "metadata": {}}
    if form == "nbgrader":
        test["metadata"]["nbgrader"] = {
            "schema_version": 3, "grade_id": test["id"], "points": 1, "grade": True,
            "locked": True, "solution": False, "task": False,
        }  # fmt: skip
        return [test]
    question = f"# BEGIN QUESTION\nname: q_{name.replace('-', '_')}\npoints: 1"
    begin = [_raw(f"{name}-begin", question), _raw(f"{name}-tests", "# BEGIN TESTS")]
    return [*begin, test, _raw(f"{name}-tested", "# END TESTS"), _raw(f"{name}-end", _OTTER_END)]


def _raw(name: str, text: str) -> dict[str, Any]:
    return {"cell_type": "raw", "id": name, "metadata": {}, "source": text}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("form", choices=FORMATS, metavar="nbgrader|otter")
    parser.add_argument("lessons", nargs="*", metavar="NN", help="which lessons; default: all")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_intermixed_args(arguments)
    lessons = {lesson.number: lesson.file for lesson in course_lessons()}
    home = lessons_folder().resolve().parent
    try:
        for number in options.lessons or lessons:
            name = lessons[check_choice("lesson", number, lessons)]
            inside = Path(name).stem if options.form == "nbgrader" else ""
            target = options.to / inside / name
            if target.exists():
                raise ValueError(f"{target} is there already; move it, or name another folder.")
            text = (home / "notebooks" / name).read_text(encoding="utf-8")
            notebook = graded(blank_copy(json.loads(text), home.as_posix()), options.form)
            write_atomically(target, json.dumps(notebook, ensure_ascii=False, indent=1).encode())
            print(target)
    except (ValueError, OSError) as error:
        print(f"graded_lessons: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
