"""What the widgets besides the stepper share: one script for notebook and page, a still picture."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from course_lib.widgets.base import CourseWidget
from course_lib.widgets.export import read_parts, standalone_page
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


class PageWidget(CourseWidget):
    """A widget that draws itself in the page and can stand without a kernel.

    A subclass sets `_scripts` and `_styles` (files of this folder) and `_names` (its traits), and
    `_esm` and `_css` from them. It has two methods: ``still()``, the figure for readers without
    the widget, and ``alt_text()``, the same in one sentence.
    """

    _scripts: tuple[str, ...] = ()
    _styles: tuple[str, ...] = ()
    _names: tuple[str, ...] = ()

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

    def _page_height(self) -> int:
        return 560


def _as_json(value: Any) -> Any:
    """The value as JSON; bytes as {"base64": ...}, which the page unpacks."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    return value
