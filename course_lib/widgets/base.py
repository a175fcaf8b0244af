"""What every widget of the course does alike: a picture for all readers, a page, spoken errors."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from course_lib.widgets.display import WIDGET_VIEW, say_problem, view_of
from course_lib.widgets.export import framed


class CourseWidget(anywidget.AnyWidget):
    """A widget that can stand without a kernel.

    A subclass has ``to_html()``, the widget as a page of its own; ``alt_text()``, one sentence;
    ``_png()``, the still picture; and ``_page_height()``, in pixels.
    """

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
            page = framed(self.to_html(), self.alt_text(), self._page_height())
            return {"text/html": page, **still}, notes
        parent = getattr(super(), "_repr_mimebundle_", None)  # absent under ipywidgets 7
        data, metadata = (parent(**kwargs) if parent else None) or ({}, {})
        return {WIDGET_VIEW: view_of(self.model_id), **data, **still}, {**metadata, **notes}

    def export_html(self, path: str | Path) -> Path:
        """Write `to_html`, one file that works offline, and return its path."""
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent}; make it first.")
        path.write_text(self.to_html(), encoding="utf-8")
        return path
