"""Execute the lessons in place, with fresh kernels, and keep what is the same on every run.

    python tools/execute_notebooks.py            # all notebooks
    python tools/execute_notebooks.py 01 03      # those whose names begin so

It fails, and leaves the file alone, if a cell fails or writes to stderr: readers should see
neither.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

from course_lib.plotting.style import encode

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
# A saved widget without its state reads "model not found"; the film strip beside it shows instead.
DROPPED_MIME = "application/vnd.jupyter.widget-view+json"
# Of a PNG in a stored output: portraits and noise look the same, and a third of the bytes is gone.
MOST_COLORS = 128
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def find_notebooks(prefixes: list[str]) -> list[Path]:
    """The lessons in order; with `prefixes`, those whose file names begin so."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    for prefix in prefixes:
        if not any(path.name.startswith(prefix) for path in paths):
            names = ", ".join(path.name for path in paths) or "none"
            raise SystemExit(f"No notebook begins with {prefix!r}. There are: {names}.")
    return [p for p in paths if not prefixes or p.name.startswith(tuple(prefixes))]


def execute(notebook: NotebookNode, *, timeout: int = 600) -> None:
    """Run every cell in a fresh kernel, as nbval and a reader would, from the notebooks' folder."""
    # Widget state would need the widget's front end to show; do not store any.
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        store_widget_state=False,
        record_timing=False,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    client.execute()


def normalise(notebook: NotebookNode) -> None:
    """Remove what differs from run to run or from machine to machine, in place."""
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(KERNEL), language_info=NotebookNode(name="python")
    )
    count = 0
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        if "launch" in cell.metadata.get("tags", []):  # does nothing where the course is installed
            cell.execution_count, cell.outputs = None, []
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = _merge_streams(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            if "data" in output and len(output.data) > 1:
                output.data.pop(DROPPED_MIME, None)
            if output.get("data", {}).get("image/png"):
                _smaller_picture(output)
            if "metadata" in output:
                output.metadata = _alt_texts(output.metadata)
    fold_answers(notebook)


def _alt_texts(metadata: NotebookNode) -> NotebookNode:
    """Of an output's metadata only the pictures' text alternatives, which HTML exports read."""
    return NotebookNode(
        {
            kind: NotebookNode(alt=entries["alt"])
            for kind, entries in metadata.items()
            if isinstance(entries, dict) and entries.get("alt")
        }
    )


def _smaller_picture(output: NotebookNode) -> None:
    """Store a PNG as a JPEG where that is much smaller, else in few colours and packed tightly."""
    png = base64.b64decode(output.data["image/png"])
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    jpeg = encode(picture, "JPEG")
    if len(jpeg) < 0.9 * len(png):
        output.data.pop("image/png")
        output.data["image/jpeg"] = base64.b64encode(jpeg).decode("ascii")
        if "image/png" in output.metadata:
            output.metadata["image/jpeg"] = output.metadata.pop("image/png")
        return
    if picture.getcolors(MOST_COLORS) is None:  # None: there are more
        png = encode(picture.quantize(MOST_COLORS, dither=Image.Dither.NONE), "PNG")
    output.data["image/png"] = base64.b64encode(_packed(png)).decode("ascii")


def _packed(png: bytes) -> bytes:
    """The same pixels in about a tenth fewer bytes, if pyoxipng is installed."""
    try:
        import oxipng
    except ModuleNotFoundError:
        return png
    return oxipng.optimize_from_memory(png, level=6, strip=oxipng.StripChunks.safe())


def fold_answers(notebook: NotebookNode) -> None:
    """Collapse the outputs that answer a **Predict.** question until the reader runs the cell.

    They are those between the question and the Markdown cell that discusses them; an exercise in
    between keeps its verdicts. JupyterLab reads both keys, and Colab reads `collapsed`.
    """
    asked = shown = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            asked, shown = "**Predict.**" in cell.source or (asked and not shown), False
            continue
        exercise = any(tag.startswith("exercise-") for tag in cell.metadata.get("tags", []))
        jupyter = dict(cell.metadata.pop("jupyter", {}))
        jupyter.pop("outputs_hidden", None)
        cell.metadata.pop("collapsed", None)
        if asked and cell.outputs and not exercise:
            shown = True
            cell.metadata["collapsed"] = jupyter["outputs_hidden"] = True
        if jupyter:
            cell.metadata["jupyter"] = NotebookNode(jupyter)


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring prints: how they are cut up depends on the kernel's timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == "stream" and last.get("name") == output.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def stderr_of(notebook: NotebookNode) -> list[str]:
    """What the cells wrote to stderr, each with the number of its cell."""
    return [
        f"cell {index} wrote to stderr:\n{output.text}"
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prefixes", nargs="*", metavar="NN", help="only notebooks that begin so")
    options = parser.parse_args()
    # The committed numbers are the CPU's, so that everybody can repeat them.
    os.environ.setdefault("COURSE_DEVICE", "cpu")
    # Pages of widgets hold a fresh key each time, and the web shows their picture only.
    os.environ.setdefault("COURSE_WIDGETS", "picture")
    failed = 0
    for path in find_notebooks(options.prefixes):
        started = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        try:
            execute(notebook)
            normalise(notebook)
            problems = stderr_of(notebook)
        except CellExecutionError as error:
            problems = [str(error)]
        if problems:
            failed += 1
            print(f"{path.name}: FAILED\n" + "\n".join(problems), file=sys.stderr)
            continue
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - started:.1f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
