"""List what the lessons hold in course_lib/classroom/lessons.json, for progress and the course map.

    python tools/list_lessons.py            # write the list
    python tools/list_lessons.py --check    # say whether it is what lessons and README say

Run it after a change of an exercise, a set-up cell, a title or the README's table of lessons, in a
checkout whose notebooks are not somebody's work.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from course_lib.classroom.lessons import LESSONS, read_cells, tags, titles
from course_lib.file_writing import write_atomically

ROOT = Path(__file__).resolve().parent.parent
_HEADING = re.compile(r"^#{2,4} Exercise (\d+\.\d+): *(.*?)\s*$", re.M)
_ROW = re.compile(r"^\| \[.*?\]\(notebooks/(\S+)\) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)


def list_lessons(root: Path) -> str:
    """The list as JSON: README's rows in order, each with its notebook's exercises."""
    rows = _ROW.findall((root / "README.md").read_text(encoding="utf-8"))
    lessons = [_lesson(root / "notebooks" / name, *words) for name, *words in rows]
    lines = (json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in lessons)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _lesson(path: Path, purpose: str, time: str, memory: str) -> dict[str, Any]:
    cells = read_cells(path)
    exercises, number, title = [], "", ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            number, title = ([(number, title)] + _HEADING.findall(cell["source"]))[-1]
        elif "exercise-check" in tags(cell):
            words = {"number": number, "title": title}
            exercises.append(words | {"source": cell["source"], "cell_id": cell["id"]})
    (setup,) = (cell["source"] for cell in cells if "setup" in tags(cell))
    lesson, name = next(titles(cells))
    return {"number": lesson, "title": name, "file": path.name, "purpose": purpose, "time": time,
            "memory": memory, "setup": setup, "exercises": exercises}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if the list differs")
    options = parser.parse_args()
    wanted = list_lessons(ROOT)
    current = LESSONS.read_text(encoding="utf-8") if LESSONS.exists() else ""
    if options.check:
        if current != wanted:
            print(f"{LESSONS.name} is not what the lessons say: run python tools/list_lessons.py")
        return int(current != wanted)
    write_atomically(LESSONS, wanted.encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
