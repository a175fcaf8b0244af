"""Gather the lessons' sections "Misconceptions" on one page, notebooks/misconceptions.md.

python tools/gather_misconceptions.py            # write the page
python tools/gather_misconceptions.py --check    # say whether it is what the lessons say
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat

from course_lib.file_writing import write_atomically

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
PAGE = "misconceptions.md"
INTRODUCTION = """# Misconceptions

What people often believe about diffusion models, and why it is not so, from the end of each lesson.
Sections and figures that an answer names are those of its lesson. Terms are in the
[glossary](glossary.md).
"""


def misconceptions(path: Path) -> str:
    """A lesson's section "Misconceptions" without its heading; "" where there is none."""
    notebook = nbformat.read(path, as_version=4)
    markdown = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    found = re.search(r"^#{2,3} Misconceptions\s*$(.*?)(?=^#{1,3} |\Z)", markdown, re.M | re.S)
    return found.group(1).strip() if found else ""


def page(notebooks: Path) -> str:
    """The whole page: a heading for each lesson that links to it, then what the lesson says."""
    parts = [INTRODUCTION]
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        if text := misconceptions(path):
            first = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
            parts.append(f"## [{first.removeprefix('# ')}]({path.name})\n\n{text}\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if the page differs")
    options = parser.parse_args()
    target, wanted = NOTEBOOKS / PAGE, page(NOTEBOOKS)
    current = target.read_text(encoding="utf-8") if target.exists() else ""
    if options.check:
        if current != wanted:
            print(f"{PAGE} is not what the lessons say: run python tools/gather_misconceptions.py")
        return int(current != wanted)
    write_atomically(target, wanted.encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
