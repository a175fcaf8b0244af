"""Working copies of the lessons: without outputs, in a folder of the learner's own."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from course_lib.file_writing import write_atomically


def copy_lessons(lessons: Path, folder: Path) -> list[str]:
    """Copy the lessons and pages that `folder` lacks; files that are there stay as they are.

    Parameters
    ----------
    lessons : Path
        The folder of the course's notebooks.
    folder : Path
        Where the copies go; made if it is missing.

    Returns
    -------
    list of str
        Names of the files that were there already.

    Raises
    ------
    ValueError
        If `folder` is the course's own.
    OSError
        If it cannot be written. No half-written copy is left.
    """
    if folder.resolve() == lessons.resolve():
        raise ValueError(f"{folder} holds the course's own notebooks; name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for source in sorted([*lessons.glob("*.ipynb"), *lessons.glob("*.md")]):
        copy = folder / source.name
        if copy.exists():
            kept.append(copy.name)
            continue
        if source.suffix == ".md":  # the glossary and its like, which lessons link to
            write_atomically(copy, source.read_bytes())
            continue
        notebook = json.loads(source.read_text(encoding="utf-8"))
        text = json.dumps(
            blank_copy(notebook, _way_home(lessons, folder)), ensure_ascii=False, indent=1
        )
        write_atomically(copy, f"{text}\n".encode())
    return kept


def _way_home(lessons: Path, folder: Path) -> str:
    """What ``..`` in a lesson becomes in its copy: the path to the course's folder."""
    home = lessons.resolve().parent
    try:
        return Path(os.path.relpath(home, folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return home.as_posix()


def blank_copy(notebook: dict[str, Any], home: str) -> dict[str, Any]:
    """The notebook without outputs and launch cells, its paths leading to the course's files.

    A published lesson's launch links open the original on another machine, without the copy's work.
    """
    cells = notebook["cells"]
    notebook["cells"] = [c for c in cells if "launch" not in c["metadata"].get("tags", [])]
    for cell in notebook["cells"]:
        # In code '"../data', in Markdown '](../README.md'
        cell["source"] = re.sub(r'(["(])\.\./', rf"\g<1>{home}/", "".join(cell["source"]))
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            cell["metadata"].pop("collapsed", None)
            cell["metadata"].get("jupyter", {}).pop("outputs_hidden", None)
    notebook["metadata"] |= _kernel_metadata()
    return notebook


def _kernel_metadata() -> dict[str, Any]:
    """What JupyterLab writes once the kernel runs, so that an opened copy counts as saved."""
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelspec import get_kernel_dict

    spec = get_kernel_dict()
    return {
        "kernelspec": {
            "name": "python3",
            "display_name": spec["display_name"],
            "language": spec["language"],
        },
        "language_info": IPythonKernel.language_info,
    }
