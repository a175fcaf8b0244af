"""What the widgets besides the stepper share: one script for notebook and page, a still picture."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from course_lib.widgets.display import say_problem
from course_lib.widgets.export import framed, read_parts, standalone_page
from course_lib.widgets.sprite import small_png

_SHARED = ("parts.js", "live.js")
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def page_script(names: Sequence[str], *files: str) -> str:
    """One ECMAScript module: the shared parts, the widget's own files, and the tie to the kernel.

    Parameters
    ----------
    names : sequence of str
        The traits that the page reads and follows.
    *files : str
        The widget's own scripts, which stand beside this file.
    """
    tie = f"export default live(MAIN, {json.dumps(list(names))});"
    return f"{read_parts(*_SHARED, *files)}\n{tie}\n"


def page_style(*files: str) -> str:
    """The shared style sheet and the widget's own."""
    return read_parts("page.css", *files)


class PageWidget(anywidget.AnyWidget):
    """A widget that draws itself in the page and can stand without a kernel.

    A subclass sets `_scripts` and `_styles` (files of this folder) and `_names` (its traits), and
    `_esm` and `_css` from them. It has two methods: ``still()``, the figure for readers without
    the widget, and ``alt_text()``, the same in one sentence.
    """

    _scripts: tuple[str, ...] = ()
    _styles: tuple[str, ...] = ()
    _names: tuple[str, ...] = ()
    # ipywidgets 7 displays through this hook, which would bypass the still picture below.
    _ipython_display_ = None

    # An exception of a callback in Python, in words; the page shows it.
    _problem = traitlets.Unicode("").tag(sync=True)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the page sent; the page shows the exception of a callback, if there is one."""
        try:
            super().set_state(sync_data)
        except Exception as error:
            self._problem = say_problem(error)
            raise  # the kernel's log has the whole traceback
        self._problem = ""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget, and beside it a picture and plain text for every other reader.

        With the environment variable ``COURSE_WIDGETS=page`` the page of `to_html` stands in for
        the live widget: books and HTML exports have no kernel, and nothing to load it from.
        """
        png = base64.b64encode(self._png()).decode("ascii")
        still = {"image/png": png, "text/plain": repr(self)}
        notes = {"image/png": {"alt": self.alt_text()}}
        if os.environ.get("COURSE_WIDGETS") == "page":
            return {"text/html": framed(self.to_html(), self.alt_text(), 560), **still}, notes
        parent = getattr(super(), "_repr_mimebundle_", None)  # absent under ipywidgets 7
        data, metadata = (parent(**kwargs) if parent else None) or ({}, {})
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {_WIDGET_VIEW: view, **data, **still}, {**metadata, **notes}

    def _png(self) -> bytes:
        return small_png(self.still().png())

    def to_html(self) -> str:
        """A page of its own that works offline: the same script, no kernel, no network."""
        return standalone_page(
            scripts=(*_SHARED, *self._scripts),
            styles=("page.css", *self._styles),
            mount="mountSaved",
            state={name: _as_json(getattr(self, name)) for name in self._names},
            blobs={},
            title=self.alt_text(),
            still=self._png(),
            alt=self.alt_text(),
        )

    def export_html(self, path: str | Path) -> Path:
        """Write `to_html` to a file and return its path."""
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent}; make it first.")
        path.write_text(self.to_html(), encoding="utf-8")
        return path


def _as_json(value: Any) -> Any:
    """The value as JSON; bytes as {"base64": ...}, which the page unpacks."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    return value
