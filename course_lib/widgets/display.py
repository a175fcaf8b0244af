"""How a widget meets the notebook: the form of its output, shown early, shown once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from course_lib.errors import check_choice

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# What stands in a widget's output: HTML with all of its data, the front end's view of the
# kernel's model, or only the still picture.
FORMS = ("page", "live", "picture")


def output_form(needs_kernel: bool) -> str:
    """One of `FORMS`: ``COURSE_WIDGETS`` if set, else what the front end can do.

    JupyterLab and Notebook know the model of a widget that has no view, so that a page finds its
    kernel; Colab and VS Code do not, and a widget that `needs_kernel` gets a view there.
    """
    chosen = os.environ.get("COURSE_WIDGETS")
    if chosen:
        return check_choice("form of COURSE_WIDGETS", chosen, FORMS)
    shell = kernel_shell()
    in_code = shell is not None and "__vsc_ipynb_file__" in shell.user_ns
    return "live" if needs_kernel and (in_code or "google.colab" in sys.modules) else "page"


def view_of(model_id: str) -> dict[str, Any]:
    """What the widget MIME type holds."""
    return {"version_major": 2, "version_minor": 0, "model_id": model_id}


def kernel_shell() -> Any | None:
    """IPython's shell if this is a notebook's kernel, else None."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell if hasattr(shell, "kernel") else None


def show_early(widget: Any) -> Any | None:
    """Display a widget now, before its cell ends; None outside a notebook.

    Returns
    -------
    IPython.display.DisplayHandle
        To replace the output later.
    """
    if kernel_shell() is None:
        return None
    from IPython.display import display

    data, metadata = widget._repr_mimebundle_()
    return display(data, raw=True, metadata=metadata, display_id=True)


def shown_once(widget: Any) -> Callable[[], None]:
    """An ``_ipython_display_`` that stays silent for the rest of the cell that is running."""
    shown_in = kernel_shell().execution_count

    def show() -> None:
        if kernel_shell().execution_count == shown_in:
            return
        from IPython.display import display

        data, metadata = widget._repr_mimebundle_()
        display(data, raw=True, metadata=metadata)

    return show
