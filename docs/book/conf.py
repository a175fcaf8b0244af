"""Sphinx's settings for the book. `python tools/build_book.py` copies this folder and calls Sphinx.

Why these parts:

- Sphinx with myst-nb: pages from the notebooks' stored outputs without a kernel, links and anchors
  that are checked, a search that needs no server, and, should the course be translated, catalogues
  of its prose. Jupyter Book 2 (mystmd) is a program for Node and has no catalogues.
- The theme Furo: light and dark, narrow screens and a keyboard, in files of its own, with no icon
  font and no framework. sphinx-book-theme has launch buttons, which here are ten lines, and brings
  six megabytes of fonts and scripts.
- MathJax in one file (from the package sphinx-mathjax-offline), with SVG glyphs: there are no fonts
  to fetch, which browsers may refuse on pages opened from a disk. MathML alone would depend on the
  fonts of the reader's system.
"""

import importlib.util
import json
import shutil
from pathlib import Path

# build_book.py writes it: the lessons with a quiz, the line of links of each lesson
BOOK = json.loads((Path(__file__).parent / "book.json").read_text(encoding="utf-8"))

project = "Portrait Diffusion"
html_title = "Portrait Diffusion"
copyright = "the authors of Portrait Diffusion; prose CC BY 4.0, code Apache License 2.0"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
root_doc = "index"
language = "en"
exclude_patterns = ["_front", "quizzes/*.html"]
suppress_warnings = ["toc.empty_glob", "toc.not_included"]

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
mathjax_path = "mathjax.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}

html_theme = "furo"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_copy_source = False
html_show_sphinx = False
html_use_index = False
html_permalinks_icon = "#"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def finish_page(app, pagename, templatename, context, doctree):
    """The line below a lesson's title; the empty corner of a table is no heading."""
    body = context.get("body", "").replace('<th class="head"><p></p></th>', "<td></td>")
    line = BOOK["lines"].get(pagename, "")
    context["body"] = body.replace("</h1>", f"</h1>\n{line}", 1)


def copy_mathjax(app):
    """One file of the package, instead of all its 24 MB."""
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    target = Path(app.outdir) / "_static" / "mathjax.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(package / "static" / "mathjax" / "tex-svg-full.js", target)


def setup(app):
    app.connect("html-page-context", finish_page)
    app.connect("builder-inited", copy_mathjax)
