"""Paint the portraits that the lessons show, into COURSE_CACHE, so that no learner waits for them.

    COURSE_CACHE=/srv/portraits python tools/warm_caches.py            # all lessons, about a minute
    COURSE_CACHE=/srv/portraits python tools/warm_caches.py 00 03      # those that begin so

The calls of `cl.PortraitDataset` are read from the lessons' cells. Where the arguments of one come
from what the lesson computes, the lesson paints for itself. Binder and the container image run this
when they are built (postBuild); where COURSE_CACHE is set, lessons read what is there.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from execute_notebooks import NOTEBOOKS, find_notebooks
from notebook_slices import statements_of

import course_lib as cl

LONGEST = 1024  # of a longer series a lesson shows only the beginning
# What an assignment may call; whatever else a cell computes is not repeated here
_HARMLESS = ("dict", "items", "loads", "read_text", "Path")


def lesson_series(path: Path) -> list[dict]:
    """Arguments of the data sets that a notebook paints, as far as its cells tell them."""
    names: dict = {"cl": cl}
    found: list[dict] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        for statement in statements_of("".join(cell["source"])):
            found += _painted(statement, names)
            if _is_harmless(statement):
                try:
                    exec(compile(ast.Module([statement], []), path.name, "exec"), names)
                except Exception:  # it needs something that only a whole run has
                    continue
    return [series for k, series in enumerate(found) if series not in found[:k]]


def _is_harmless(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import):
        return statement.names[0].name == "json"
    if isinstance(statement, ast.ImportFrom):
        return statement.module.partition(".")[0] in ("course_lib", "pathlib")
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return isinstance(statement, (ast.Assign, ast.AugAssign)) and all(
        getattr(call.func, "id", getattr(call.func, "attr", "")) in _HARMLESS for call in calls
    )


def _painted(statement: ast.stmt, names: dict) -> Iterator[dict]:
    """The data sets of one statement, but for those whose captions alone are read."""
    bind = inspect.signature(cl.PortraitDataset).bind
    captioned = [
        node.value
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and node.attr == "captions"
    ]
    for node in ast.walk(statement):
        called = isinstance(node, ast.Call) and ast.unparse(node.func) == "cl.PortraitDataset"
        if not called or node in captioned:
            continue
        text = f"bind({', '.join(map(ast.unparse, node.args + node.keywords))}).arguments"
        # A comprehension goes through the styles; elsewhere the name stands for nothing
        loops = "[style]" in text
        for style in cl.portraits.STYLES if loops else [None]:
            try:
                yield eval(text, names | {"bind": bind} | ({"style": style} if loops else {}))
            except Exception:
                break


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prefixes", nargs="*", metavar="NN", help="only lessons that begin so")
    options = parser.parse_args()
    if not os.environ.get("COURSE_CACHE"):
        print("warm_caches.py: set COURSE_CACHE to the folder to fill.", file=sys.stderr)
        return 1
    os.environ["COURSE_CACHE"] = os.path.abspath(os.environ["COURSE_CACHE"])
    os.chdir(NOTEBOOKS)  # where lessons run, and what their paths are relative to
    try:
        for path in find_notebooks(options.prefixes):
            count = 0
            for series in lesson_series(path):
                portraits = cl.PortraitDataset(**series, cache=True)
                count += len(portraits.pixels(range(min(len(portraits), LONGEST))))
            print(f"{path.name}: {count} portraits", flush=True)
    except ValueError as error:
        print(f"warm_caches.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
