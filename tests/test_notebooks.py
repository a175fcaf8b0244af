"""Every notebook keeps the rules of CONTRIBUTING.md, and the rules notice when it does not."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import WIDGET_MIME, breaches

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_the_lessons_are_numbered_without_gaps():
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert numbers == list(range(len(numbers))) and len(numbers) >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert breaches(notebook, path) == []


HEAD = """# 07. A title

## Objectives
- one
- two

## Prerequisites
none

## Time and hardware
3 s on a CPU"""
TAIL = """## Misconceptions
none

## Recap
- one
- two

## References
arXiv:2006.11239

## Next
[start](../README.md)"""


def printing(source, text, *tags, **metadata):
    metadata = {"tags": list(tags), **metadata}
    outputs = [new_output("stream", name="stdout", text=text)]
    return new_code_cell(source, outputs=outputs, metadata=metadata)


def make_exercise():
    folded = {"jupyter": {"source_hidden": True}, "cellView": "form"}
    check = "cl.checks.lesson_07.name(my_f)"
    return [
        printing("def my_f(): return ...", "", "exercise-stub"),
        printing(check, "name: not attempted.", "exercise-check", "nbval-check-output"),
        printing(
            f"# @title S\n{check}.require()",
            "name: the solution passes.",
            "exercise-solution",
            **folded,
        ),
    ]


def make_notebook():
    """The smallest notebook that keeps every rule."""
    image = new_output("display_data", data={"image/png": "", "text/plain": "<Figure>"})
    image.metadata["image/png"] = {"alt": "a line"}
    hidden = {"collapsed": True, "jupyter": {"outputs_hidden": True}}
    notebook = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "P"}})
    notebook.cells = [
        new_markdown_cell(HEAD),
        printing("import course_lib as cl\nmy_f = ...", "", "setup"),
        new_markdown_cell("**Predict.** What?"),
        printing("print(1)", "1", "nbval-check-output", **hidden),
        printing("print(2)", "2", "nbval-check-output", **hidden),
        new_markdown_cell("What we saw."),
        new_code_cell("figure", outputs=[image]),
        new_markdown_cell("*Figure: a line.*"),
        *(cell for _ in range(3) for cell in make_exercise()),
        new_markdown_cell(TAIL),
    ]
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    return notebook


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "README.md").write_text("x")
    path = folder / "07_title.ipynb"
    path.write_text("{}")
    return path


def test_a_good_notebook_has_no_breach(path):
    assert breaches(make_notebook(), path) == []


def edit(index, old, new):
    def apply(notebook):
        assert old in notebook.cells[index].source
        notebook.cells[index].source = notebook.cells[index].source.replace(old, new)

    return apply


def retag(index, *tags):
    return lambda notebook: notebook.cells[index].metadata.update(tags=list(tags))


def show(index, **output):
    return lambda notebook: notebook.cells[index].outputs.append(new_output(**output))


def unasked(notebook):
    edit(2, "Predict", "Guess")(notebook)
    for cell in notebook.cells[3:5]:
        del cell.metadata["collapsed"], cell.metadata["jupyter"]


FIGURE, STUB, CHECK, SOLUTION = 6, 8, 9, 10
BREAKS = {
    "does not begin with '# 07.": edit(0, "# 07. A", "# A"),
    "headings missing: Prerequisites": edit(0, "## Prerequisites", "Prerequisites"),
    "headings missing: Next": edit(-1, "## Next", "## Then"),
    "stand once each in the order": edit(-1, "## Recap", "## Objectives\n\n## Recap"),
    "2 objectives but 1 points": edit(-1, "- two", ""),
    "names no measured number": edit(0, "3 s on a CPU", "soon on a CPU"),
    "begins with **Predict.**": unasked,
    "no arXiv id": edit(-1, "arXiv:", "see "),
    "leads nowhere": edit(-1, "README.md", "NOTHING.md"),
    "there is no section 7 in this lesson": edit(5, "saw.", "saw in section 7."),
    "has no alt text": edit(2, "What?", "![](../README.md)"),
    "must be tagged 'setup'": retag(1),
    "21 lines": edit(3, "print(1)", "\n".join(["print(1)"] * 21)),
    "is empty": edit(3, "print(1)", ""),
    "absolute path": edit(3, "print(1)", "open('/home/me/x')"),
    "absolute path, 'C": edit(2, "What?", r"C:\data"),
    "fewer than two cells": retag(4),
    "not executed in order": lambda nb: nb.cells[4].update(execution_count=9),
    "shows an error or a warning": show(3, output_type="stream", name="stderr", text="careful"),
    "holds a widget view": show(3, output_type="display_data", data={WIDGET_MIME: {}}),
    "a picture that no": edit(FIGURE + 1, "*Figure: ", ""),
    "without alt": lambda nb: nb.cells[FIGURE].outputs[0].metadata.clear(),
    "answers a prediction in the open": lambda nb: nb.cells[3].metadata.pop("collapsed"),
    "hides an output": lambda nb: nb.cells[FIGURE].metadata.update(collapsed=True),
    "widget state": lambda nb: nb.metadata.update(widgets={}),
    "not python3": lambda nb: nb.metadata.kernelspec.update(name="conda-env-x"),
    "names a Python version": lambda nb: nb.metadata.update(language_info={"version": "3.11"}),
    "fewer than three exercises": retag(STUB),
    "no '...' to fill in": edit(STUB, "...", "1"),
    "does not begin with my_g = ...": edit(CHECK, "my_f", "my_g"),
    "do not call one checker": edit(CHECK, "name", "other"),
    "was attempted": lambda nb: nb.cells[CHECK].outputs[0].update(text="name: passed"),
    "did not pass": edit(SOLUTION, ".require()", ""),
    "not folded away": lambda nb: nb.cells[SOLUTION].metadata.pop("cellView"),
    "does not begin with '# @title'": edit(SOLUTION, "# @title", "# title"),
}


@pytest.mark.parametrize("expected", BREAKS)
def test_each_breach_is_noticed(path, expected):
    notebook = copy.deepcopy(make_notebook())
    BREAKS[expected](notebook)
    found = breaches(notebook, path)
    assert len(found) == 1 and expected in found[0], found


def test_the_next_lesson_must_be_linked_and_the_file_small(path):
    (path.parent / "08_more.ipynb").write_text("{}")
    path.write_text("x" * 1_500_001)
    found = breaches(make_notebook(), path)
    assert len(found) == 2 and "08_more.ipynb" in found[0] and "bytes" in found[1]


def test_an_exported_lesson_keeps_its_folds_and_its_text_alternatives():
    """`jupyter nbconvert --template lesson`, as CONTRIBUTING.md writes it."""
    templates = FOLDER.parent / "tools" / "nbconvert"
    exporter = HTMLExporter(template_name="lesson", extra_template_basedirs=[str(templates)])
    page = BeautifulSoup(exporter.from_filename(str(NOTEBOOKS[0]))[0], "html.parser")
    pictures = page.select("main img")
    assert pictures and all(picture["alt"].strip() for picture in pictures)
    folds = page.select("main details")
    solutions = [one for one in folds if "Solution" in one.summary.text]
    answers = [one for one in folds if "Answer" in one.summary.text]
    assert len(solutions) == 3 and all(".require()" in one.text for one in solutions)
    cells = nbformat.read(NOTEBOOKS[0], as_version=4).cells
    assert len(answers) == sum(cell.metadata.get("collapsed", False) for cell in cells) > 0
    assert not page.select("details[open]") and "12288" in answers[0].text
