"""Every lesson that has a widget, in JupyterLab: Run All, no error, the widget moves.

The page has all of the lesson's cells, with only the statements that a widget depends on, and
training is cut short: nbval executes every cell in full and fails on the same errors and warnings.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from browser_lab import ROOT, command, errors, open_notebook, run_all, wait_for_all

from course_lib.lesson_copies import copy_lessons

sys.path.insert(0, str(ROOT / "tools"))

from notebook_slices import slice_for  # noqa: E402  (after the path)

pytestmark = pytest.mark.browser
SHORT = """import itertools
import course_lib as cl
whole = cl.train
cl.train = lambda *args, **options: itertools.islice(whole(*args, **options), 10)
"""
WIDGET = ".timestep-stepper[data-ready=true], .course-widget[data-ready=true]"


def code_cells(path: Path) -> dict[int, str]:
    """Source of each code cell by its number in the notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return {k: cell.source for k, cell in enumerate(cells) if cell.cell_type == "code"}


def widget_cells(path: Path) -> list[int]:
    """Numbers of the cells that show a widget."""
    return [number for number, source in code_cells(path).items() if "cl.widgets." in source]


LESSONS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if widget_cells(path)]


@pytest.fixture(scope="module")
def folder(lab):
    """The lab's own copy of the folders that the lessons expect."""
    (lab.root / "notebooks").mkdir()
    (lab.root / "data").symlink_to(ROOT / "data")
    return lab.root / "notebooks"


def copy_blank(path: Path, target: Path) -> None:
    """The lesson without outputs, with the code that its widgets need, and training cut short."""
    notebook = nbformat.read(path, as_version=4)
    parts = slice_for(notebook.cells, widget_cells(path))
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = parts.get(number, "")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORT))
    nbformat.write(notebook, target)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_its_widgets_move(lab, folder, chromium, path, screenshots):
    copy_blank(path, folder / path.name)
    with open_notebook(lab, chromium, f"notebooks/{path.stem}") as page:
        run_all(page)
        wait_for_all(page, 600)
        assert errors(page) == []
        for number in widget_cells(path):
            move_widget(page, number + 1, screenshots, f"{path.stem}_{number}.png")
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def move_widget(page, number: int, screenshots: Path | None, name: str) -> None:
    """Bring a cell to the screen and step its widget with a key."""
    page.evaluate(
        """number => {
            const { content } = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = number;
            return content.scrollToItem(number, "start");
        }""",
        number,
    )
    cell = page.locator(f".jp-Cell[data-windowed-list-index='{number}']")
    widget = cell.locator(WIDGET).first
    widget.wait_for()
    if screenshots:
        page.screenshot(path=screenshots / name)
    slider = widget.locator("input[type=range]").first
    if slider.count():
        before = widget.get_attribute("data-index")
        slider.focus()
        page.keyboard.press("End" if before == "0" else "Home")
        assert before is None or widget.get_attribute("data-index") != before


def test_outputs_below_a_prediction_open_when_their_cell_runs(lab, chromium):
    """The first lesson as it is committed: its answers are folded, and a run opens them."""
    path = ROOT / "notebooks" / "00_start_here.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    folded = [k for k, cell in enumerate(cells) if cell.metadata.get("collapsed")]
    shutil.copy(path, lab.root / "answers.ipynb")
    content = "window.jupyterapp.shell.currentWidget.content"
    hidden = f"number => {content}.widgets[number].outputHidden"
    with open_notebook(lab, chromium, "answers") as page:
        assert folded and [k for k in range(len(cells)) if page.evaluate(hidden, k)] == folded
        page.evaluate(f"number => void ({content}.activeCellIndex = number)", folded[0])
        command(page, "notebook:run-cell")
        page.wait_for_function(f"!({hidden})({folded[0]})")
        assert [k for k in folded if page.evaluate(hidden, k)] == folded[1:]
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def test_a_fresh_copy_opens_as_saved(lab, chromium):
    """Once the kernel runs, JupyterLab writes its metadata: they are there already."""
    copy_lessons(ROOT / "notebooks", lab.root / "mine")
    with open_notebook(lab, chromium, "mine/00_start_here") as page:
        page.wait_for_timeout(1000)
        assert not page.evaluate("window.jupyterapp.shell.currentWidget.context.model.dirty")
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
