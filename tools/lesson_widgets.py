"""Lessons' widgets as HTML, computed again from the few statements that they need.

Lessons are stored with pictures of their widgets. Most widgets step without a kernel, once they
have been computed; this module computes them, for the book, and compares each with the picture in
the lesson. What cannot be repeated so differs from the picture and is left alone.
"""

from __future__ import annotations

import ast
import base64
import io
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from notebook_slices import slice_for
from PIL import Image

# PortraitStudio paints, and PictureComparison keeps answers, in a kernel: they stay pictures.
STEPPING = (
    "TimestepStepper", "ScheduleDesigner", "GuidanceGrid", "AttentionExplorer", "MaskPainter",
)  # fmt: skip
_MADE = re.compile(rf"\bcl\.widgets\.(?:{'|'.join(STEPPING)})\b")
_KERNEL = re.compile(r'"_key": "\w+", ')  # with it a page looks for a kernel, and warns of none
_PICTURES = ("image/png", "image/jpeg")
SECONDS = 240  # for one cell, on a busy machine; what takes longer stays a picture
# Root mean square difference of two stills, of 255, above which they show different things. Fewer
# colours or a JPEG change a still by 1 to 4; other noise, or another portrait, by 20 and more.
TOLERANCE = 8.0


def read_lesson(path: Path) -> NotebookNode:
    """A notebook, which is only read; one sentence if it is none."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError):
        raise ValueError(
            f"{path} is no notebook, or was cut short; restore it, for example with git checkout."
        ) from None
    return notebook


def widget_cells(notebook: NotebookNode) -> list[int]:
    """Numbers of the code cells whose output is the picture of a widget that steps by itself."""
    return [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and _MADE.search(cell.source) and picture_of(cell) is not None
    ]


def picture_of(cell: NotebookNode) -> NotebookNode | None:
    """The last output of a cell that is a picture."""
    pictures = [o for o in cell.get("outputs", ()) if set(_PICTURES) & set(o.get("data", ()))]
    return pictures[-1] if pictures else None


def still_of(output: NotebookNode) -> Image.Image:
    """The picture that an output holds."""
    data = next(output.data[kind] for kind in _PICTURES if kind in output.data)
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def difference(first: Image.Image, second: Image.Image) -> float:
    """Root mean square difference of two pictures, of 255; infinite if their sizes differ.

    Means of 4 by 4 pixels are compared: stored pictures have few colours, which dots make up for.
    """
    if first.size != second.size:
        return float("inf")
    a, b = (np.asarray(image.reduce(4), dtype=np.float64) for image in (first, second))
    return float(np.sqrt(np.mean((a - b) ** 2)))


@dataclass
class Widget:
    """A widget computed again: its place, its HTML, or why it stays a picture."""

    cell: int
    html: str = ""
    problem: str = ""
    off: float = float("nan")  # of its still from the stored picture


def compute(path: Path, home: Path) -> tuple[list[Widget], float]:
    """The widgets of one lesson, in a fresh kernel outside the lesson's folder.

    Parameters
    ----------
    path : Path
        The notebook; it is only read.
    home : Path
        The course's folder, which ``..`` in the lesson's code stands for.

    Returns
    -------
    list of Widget, float
        The widgets, and the seconds that they took together.
    """
    stored = read_lesson(path)
    targets = widget_cells(stored)
    if not targets:
        return [], 0.0
    started = time.monotonic()
    parts = slice_for(stored.cells, targets)
    problem, ran = _run(list(parts.values()), home)
    fresh = dict(zip(parts, ran, strict=True))
    widgets = [_widget(index, stored.cells[index], fresh[index], problem) for index in targets]
    return widgets, time.monotonic() - started


def _run(sources: Sequence[str], home: Path) -> tuple[str, list[NotebookNode]]:
    """Cells, executed; the first problem stops them and is returned in a sentence."""
    cells = [nbformat.v4.new_code_cell(_in_course(text, home)) for text in sources]
    sheet = nbformat.v4.new_notebook(cells=cells)
    environment = {
        **os.environ,
        "COURSE_WIDGETS": "page",
        "COURSE_DEVICE": os.environ.get("COURSE_DEVICE", "cpu"),
        "HF_HUB_OFFLINE": "1",
        # An empty entry would be the kernel's folder
        "PYTHONPATH": os.pathsep.join([str(home), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    environment.pop("MPLBACKEND", None)
    # On Windows, a kernel that died may still hold its folder
    with tempfile.TemporaryDirectory(prefix="book-", ignore_cleanup_errors=True) as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            sheet, timeout=SECONDS, kernel_name="python3", store_widget_state=False,
            resources=resources, extra_arguments=["--IPKernelApp.log_level=40"],
        )  # fmt: skip
        try:
            client.execute(env=environment)
        except CellTimeoutError:
            return f"a cell that it needs takes longer than {SECONDS} s", sheet.cells
        except CellExecutionError as error:
            return f"a cell that it needs fails ({error.ename}: {error.evalue})", sheet.cells
        except DeadKernelError:
            return "its kernel died", sheet.cells
    return "", sheet.cells


def _in_course(source: str, home: Path) -> str:
    """Python code whose strings ``../...`` lead to the course's folder."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and str(node.value).startswith("../"):
            node.value = f"{home.as_posix()}/{node.value[3:]}"
    return ast.unparse(tree)


def _widget(index: int, stored: NotebookNode, fresh: NotebookNode, problem: str) -> Widget:
    output = picture_of(fresh)
    page = output.data.get("text/html", "") if output is not None else ""
    if not page:
        return Widget(index, problem=problem or "its cell shows no widget")
    off = difference(still_of(picture_of(stored)), still_of(output))
    if off > TOLERANCE:
        return Widget(index, problem="it differs from the picture in the lesson", off=off)
    return Widget(index, html=_KERNEL.sub("", page), off=off)
