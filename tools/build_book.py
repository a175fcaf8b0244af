"""Make the course into a book for the web: pages with the lessons' outputs, widgets that step.

    python tools/build_book.py                           # build/book/index.html
    python tools/build_book.py --to FOLDER
    python tools/build_book.py --no-widgets              # pictures in their place
    python tools/build_book.py --widgets 00 06           # only those of these lessons

No lesson is executed: the outputs are those that the notebooks hold. Only the few statements that a
widget needs run again, two lessons at a time. The pages need no network and no server. Needs the
packages of `pip install -e ".[book]"`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from book_pages import buttons, lessons_in, stage, stage_quizzes  # noqa: E402  (after the path)
from launch_cells import Address  # noqa: E402
from lesson_widgets import Widget, compute  # noqa: E402
from output_folder import check_folder, check_packages, chosen_lessons  # noqa: E402

PACKAGES = {"sphinx": "sphinx", "myst_nb": "myst-nb", "furo": "furo",
            "sphinx-mathjax-offline": "sphinx-mathjax-offline"}  # fmt: skip
# A folder that has this file was made by this command, and may be replaced by it.
MARK = "portrait_diffusion_book.json"
# Widgets that stay pictures, with the reason.
PICTURES = {"03": "it steps through a network that the lesson trains for a minute before"}
WORKERS = 2  # lessons whose widgets are computed at the same time: 3 GB together


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if the book was built, 2 for bad input, 1 if Sphinx found something to mend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--to", type=Path, default=ROOT / "build" / "book", metavar="FOLDER",
        help="a new folder, or an earlier book to replace (default: build/book)",
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--no-widgets", action="store_true", help="pictures in place of widgets")
    which.add_argument("--widgets", nargs="+", metavar="NN", help="only those of these lessons")
    options = parser.parse_args(arguments)
    try:
        check_packages("book", PACKAGES)
        options.to = options.to.resolve()  # "." has no name
        check_place(options.to)
        address = published(ROOT)
        numbers = [path.name[:2] for path in lessons_in(ROOT) if path.name[:2] not in PICTURES]
        numbers = [] if options.no_widgets else options.widgets or numbers
        chosen = chosen_lessons(lessons_in(ROOT), numbers)
        started = time.monotonic()
        widgets = compute_widgets(chosen)
        warnings = build(options.to, widgets, address)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in options.to.rglob("*") if file.is_file())
    print(f"{options.to / 'index.html'}: {size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s")
    if warnings:
        print(f"Sphinx has something to mend:\n{warnings}", file=sys.stderr)
    return int(bool(warnings))


def check_place(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier book, or the course itself."""
    place = folder.resolve()
    if place == ROOT or place in ROOT.parents:
        raise ValueError(f"{folder} holds the course itself; name another folder.")
    if (folder / ".git").exists():  # of a site's own branch, say
        raise ValueError(
            f"{folder} is a git checkout, which a new book would replace together with its "
            "history. Build into another folder, then copy the pages."
        )
    check_folder(folder, "book", MARK)


def published(root: Path) -> Address | None:
    """The address in docs/address.json, which a published copy has."""
    path = root / "docs" / "address.json"
    if not path.exists():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return Address(str(note["repository"]), str(note["branch"]))
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{path} does not hold a repository and a branch; write it anew with tools/publish.py."
        ) from None


def compute_widgets(lessons: list[Path]) -> dict[str, list[Widget]]:
    """The widgets of each lesson; what stays a picture is said."""
    # One thread each: two kernels with a pool of threads each would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("COURSE_WIDGETS", "page")
    found: dict[str, list[Widget]] = {}
    lessons = lessons[::-1]  # the last lessons take longest
    with ThreadPoolExecutor(WORKERS) as pool:  # the work is done by the lessons' kernels
        for path, (widgets, seconds) in zip(
            lessons, pool.map(lambda path: compute(path, ROOT), lessons), strict=True
        ):
            found[path.name] = widgets
            for one in widgets:
                state = one.problem and f" stays a picture: {one.problem}"
                kilobytes = len(one.html) / 1000
                print(f"{path.name}, cell {one.cell}{state or f': {kilobytes:.0f} kB'}")
            if widgets:
                print(f"{path.name}: widgets in {seconds:.0f} s", flush=True)
    return found


def build(folder: Path, widgets: dict[str, list[Widget]], address: Address | None) -> str:
    """Stage the pages, call Sphinx, and put the book in its place in one step; its warnings."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="book-") as work:
        source, made = Path(work) / "source", Path(work) / "made"
        stage(ROOT, source, widgets, address)
        quizzes = stage_quizzes(ROOT, source)
        lines = {
            f"notebooks/{path.stem}": buttons(
                path.stem, address, f"lesson_{path.name[:2]}" in quizzes
            )
            for path in lessons_in(ROOT)
        }
        (source / "book.json").write_text(json.dumps({"lines": lines}), encoding="utf-8")
        warnings = run_sphinx(source, made, Path(work) / "doctrees")
        for path in lessons_in(ROOT):
            shutil.copyfile(path, made / "notebooks" / path.name)
        (made / MARK).write_text(json.dumps({"project": "Portrait Diffusion"}), encoding="utf-8")
        replace_folder(made, folder)
    return warnings


def run_sphinx(source: Path, made: Path, doctrees: Path) -> str:
    """Call Sphinx; its warnings, with paths as in the repository."""
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = _Kept()
    try:
        with patch_docutils(source), docutils_namespace():
            application = Sphinx(
                source, source, made, doctrees, "html", status=None, warning=warnings,
                parallel=min(2, os.cpu_count() or 1),
            )  # fmt: skip
            application.build()
    except SphinxError as error:
        raise ValueError(f"Sphinx made no book: {' '.join(str(error).split())}") from None
    return "".join(warnings.lines).replace(f"{source}{os.sep}", "")


class _Kept:
    """A stream that keeps what is written, in whole."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text)

    def flush(self) -> None:
        pass


def replace_folder(made: Path, folder: Path) -> None:
    """Put `made` in the place of an earlier book, which stays if anything fails before."""
    check_place(folder)
    fresh = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        shutil.copytree(made, fresh)
        if folder.exists():
            old = fresh.with_name(f"{fresh.name}-old")
            folder.rename(old)
            try:
                fresh.rename(folder)
            except OSError:
                old.rename(folder)
                raise
            shutil.rmtree(old)
        else:
            fresh.rename(folder)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(fresh)


if __name__ == "__main__":
    sys.exit(main())
