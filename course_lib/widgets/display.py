"""How a widget meets the notebook: shown early, shown once, and its exceptions said aloud."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def view_of(model_id: str) -> dict[str, Any]:
    """What the widget MIME type holds."""
    return {"version_major": 2, "version_minor": 0, "model_id": model_id}


def _kernel_shell() -> Any | None:
    """IPython's shell if this is a notebook's kernel, else None."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell if hasattr(shell, "kernel") else None


def show_view(model_id: str) -> Any | None:
    """Display a widget now, before its cell ends; None outside a notebook.

    Returns
    -------
    IPython.display.DisplayHandle
        To replace the output later.
    """
    if _kernel_shell() is None:
        return None
    from IPython.display import display

    data = {WIDGET_VIEW: view_of(model_id), "text/plain": "painting ..."}
    return display(data, raw=True, display_id=True)


def shown_once(widget: Any) -> Callable[[], None]:
    """An ``_ipython_display_`` that stays silent for the rest of the cell that is running."""
    shown_in = _kernel_shell().execution_count

    def show() -> None:
        if _kernel_shell().execution_count == shown_in:
            return
        from IPython.display import display

        data, metadata = widget._repr_mimebundle_()
        display(data, raw=True, metadata=metadata)

    return show


def say_problem(error: BaseException) -> str:
    """The exception and the line of code that raised it, for a line in the page."""
    text = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return text
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    place = (own or frames)[-1]
    return f"{text}\n(in {place.name}, line {place.lineno}: {place.line})"
