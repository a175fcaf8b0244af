"""What every widget of the course does alike: a page that works without a kernel, spoken errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import numpy as np
import traitlets

from course_lib.file_writing import write_atomically
from course_lib.widgets.display import WIDGET_VIEW, output_form, view_of
from course_lib.widgets.export import page_part, read_parts, standalone_page
from course_lib.widgets.messages import say_problem
from course_lib.widgets.sprite import small_png

_SHARED = ("parts.js", "live.js")


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


class CourseWidget(anywidget.AnyWidget):
    """A widget that draws itself in the page and can stand without a kernel.

    Its output is HTML with all of its data, so a saved notebook shows it the next day. Where the
    front end knows the widget's model, the two find each other by `_key`; see live.js. In Colab
    and VS Code, traits of widgets that do not need a kernel follow the page only with
    ``COURSE_WIDGETS=live`` in the environment.

    A subclass sets `_scripts` and `_styles` (files of this folder) and `_names` (its traits), and
    `_esm` and `_css` from them. It has two methods: ``still()``, the figure for readers without
    the widget, and ``alt_text()``, the same in one sentence.
    """

    # ipywidgets 7 displays through this hook, which would bypass the output below.
    _ipython_display_ = None

    _scripts: tuple[str, ...] = ()
    _styles: tuple[str, ...] = ()
    _names: tuple[str, ...] = ()
    # Whether Python reads what the reader does, which takes a model in every front end.
    _needs_kernel = False

    # The id of the widget's model, by which the page finds it.
    _key = traitlets.Unicode("").tag(sync=True)
    # An exception of a callback in Python, in words; the page shows it.
    _problem = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        key = uuid4().hex
        super().__init__(model_id=key, _key=key, **traits)
        self.on_msg(self._answer)

    def __setattr__(self, name: str, value: Any) -> None:
        # Traits know Python's numbers only
        super().__setattr__(name, value.item() if isinstance(value, np.generic) else value)

    def _answer(self, _: Any, message: Any, buffers: Any) -> None:
        """Tell the page that Python is there; without an answer it tells the reader."""
        if isinstance(message, dict) and "do" in message:
            self.send({"do": "heard"})

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the page sent; the page shows the exception of a callback, if there is one."""
        try:
            super().set_state(sync_data)
        except Exception as error:
            self._problem = say_problem(error)
            raise  # the kernel's log has the whole traceback
        self._problem = ""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget as HTML, and beside it a picture and plain text for every other reader."""
        still, notes = {"text/plain": repr(self)}, {}
        if png := self._png():
            still = {"image/png": base64.b64encode(png).decode("ascii"), **still}
            notes = {"image/png": {"alt": self.alt_text()}}
        form = output_form(self._needs_kernel)
        if form == "picture":
            return still, notes
        if form == "page":
            part = page_part(**self._page_options(), key=self._key)
            return {"text/html": part, **still}, notes
        parent = getattr(super(), "_repr_mimebundle_", None)  # absent under ipywidgets 7
        data, metadata = (parent(**kwargs) if parent else None) or ({}, {})
        return {WIDGET_VIEW: view_of(self.model_id), **data, **still}, {**metadata, **notes}

    def _page_options(self) -> dict[str, Any]:
        """Arguments of `page_part`."""
        state = {name: _as_json(getattr(self, name)) for name in self._names}
        return {
            "scripts": (*_SHARED, *self._scripts),
            "styles": ("page.css", *self._styles),
            "mount": "mountSaved",
            "state": {"_key": self._key, **state},
            "still": self._png(),
            "alt": self.alt_text(),
        }

    def _png(self) -> bytes:
        return small_png(self.still().png())

    def to_html(self) -> str:
        """A page of its own that works offline: the same script, no kernel, no network."""
        options = self._page_options()
        del options["state"]["_key"]  # a file has no kernel to find
        return standalone_page(title=self.alt_text(), **options)

    def export_html(self, path: str | Path) -> Path:
        """Write `to_html`, one file that works offline, and return its path."""
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent}; make it first.")
        return write_atomically(path, self.to_html().encode())


def _as_json(value: Any) -> Any:
    """The value as JSON; bytes as {"base64": ...}, which the page unpacks."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    return value
