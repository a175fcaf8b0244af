"""Make a deck of slides from each lesson, by nbconvert and reveal.js.

    python tools/build_slides.py             # all lessons, into build/slides
    python tools/build_slides.py 01 03       # only these

A deck is one HTML file beside the folder `reveal`, which has reveal.js and MathJax: copy both. No
network is needed. Keys: arrows and Space to go on, S for the speaker's notes, F for the full
screen, Esc for the overview, ? for all keys. Add ``?print-pdf`` to the address to print.
slide_rules.py says what becomes a slide.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from output_folder import check_folder, check_packages, chosen_lessons  # noqa: E402
from slide_rules import Slide, slides_of  # noqa: E402  (after the path)

from course_lib.file_writing import write_atomically  # noqa: E402

PACKAGES = {"nbconvert": "nbconvert", "sphinx_revealjs": "sphinx-revealjs",
            "sphinx-mathjax-offline": "sphinx-mathjax-offline"}  # fmt: skip
# What a deck asks for, in the package that ships reveal.js, with its licences.
REVEAL = (
    "LICENSE", "dist/reveal.js", "dist/reveal.css", "dist/theme/white.css", "plugin/notes/notes.js",
    "dist/theme/fonts/source-sans-pro", "dist/theme/fonts/league-gothic",
)  # fmt: skip
# A folder that has this file was made by this command, and its decks may be replaced.
MARK = "reveal/LICENSE"


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if the decks were made, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="NN", help="lessons (default: all)")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "build" / "slides", metavar="FOLDER",
        help="a new folder, or one with earlier slides (default: build/slides)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        check_packages("slides", PACKAGES)
        import nbformat

        check_folder(options.to, "slides", MARK)
        lessons = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        if options.lessons:
            lessons = chosen_lessons(lessons, options.lessons)
        copy_reveal(options.to / "reveal")
        for path in lessons:
            slides = slides_of(nbformat.read(path, 4))
            deck = write_atomically(options.to / f"{path.stem}.html", export(slides, path).encode())
            print(f"{deck}: {len(slides)} slides, {deck.stat().st_size / 1e3:.0f} kB", flush=True)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def copy_reveal(folder: Path) -> None:
    """Put reveal.js, its theme and fonts, and MathJax beside the decks."""
    source = _package("sphinx_revealjs") / "_static" / "revealjs"
    for name in REVEAL:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / name, target)
    mathjax = _package("sphinx-mathjax-offline") / "static" / "mathjax"
    shutil.copyfile(mathjax / "tex-svg-full.js", folder / "mathjax.js")


def _package(module: str) -> Path:
    return Path(importlib.util.find_spec(module).origin).parent


def export(slides: list[Slide], lesson: Path) -> str:
    """The deck as HTML."""
    import nbformat
    from nbconvert.exporters import SlidesExporter

    exporter = SlidesExporter(
        template_name="slides",
        extra_template_basedirs=[str(ROOT / "tools" / "nbconvert")],
        reveal_url_prefix="reveal",
        reveal_theme="white",
        exclude_anchor_links=True,
    )
    notebook = nbformat.v4.new_notebook(metadata={"title": slides[0].title})
    for slide in slides:
        notebook.cells += cells(slide)
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": lesson.stem}})
    return html


def cells(slide: Slide) -> list[Any]:
    """The cells of one slide: heading, text, notes, and what is shown."""
    from nbformat import from_dict
    from nbformat.v4 import new_markdown_cell

    def text(source: str, kind: str, part: str) -> Any:
        return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}, "part": part})

    if slide.layout == "title":
        body = "\n\n".join([f"# {slide.title}", *slide.body])
        made = [text(body, "slide", "title")]
    else:
        made = [text(f"## {slide.title}", "slide", "heading")]
        made.append(text("\n\n".join(slide.body), "-", slide.layout))
    made.append(text("\n\n".join(slide.notes), "notes", "notes"))
    if slide.shown:
        cell = from_dict(slide.shown.cell)
        cell.metadata = from_dict(
            {"slideshow": {"slide_type": "fragment" if slide.answers else "-"}}
        )
        made.append(cell)
    return made


if __name__ == "__main__":
    sys.exit(main())
