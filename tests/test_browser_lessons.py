"""Every lesson that has a widget, in JupyterLab: Run All, no error, the widget moves.

Training is cut short here; the tests of the notebooks run it in full.
"""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from browser_lab import ROOT, errors, open_notebook, run_all, wait_for_all

pytestmark = pytest.mark.browser
SHORT = """import itertools
import course_lib as cl
whole = cl.train
cl.train = lambda *args, **options: itertools.islice(whole(*args, **options), 60)
"""
WIDGET = ".timestep-stepper[data-ready=true], .course-widget[data-ready=true]"


def widget_cells(path: Path) -> list[int]:
    """Numbers of the cells that show a widget."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        number
        for number, cell in enumerate(cells)
        if cell["cell_type"] == "code" and "cl.widgets." in "".join(cell["source"])
    ]


LESSONS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if widget_cells(path)]


@pytest.fixture(scope="module")
def folder(lab):
    """The lab's own copy of the folders that the lessons expect."""
    (lab.root / "notebooks").mkdir()
    (lab.root / "data").symlink_to(ROOT / "data")
    return lab.root / "notebooks"


def copy_blank(path: Path, target: Path) -> None:
    """The lesson without its outputs, with the training cut short."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORT))
    nbformat.write(notebook, target)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_its_widgets_move(lab, folder, chromium, path, screenshots):
    copy_blank(path, folder / path.name)
    with open_notebook(lab, chromium, f"notebooks/{path.stem}") as page:
        run_all(page)
        wait_for_all(page, timeout=600_000)
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
