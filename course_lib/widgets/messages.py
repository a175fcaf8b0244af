"""Exceptions and warnings in words, for a line on the page."""

from __future__ import annotations

import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LONGEST = 400  # letters of an error; some of torch's fill a screen
# By thread: `warnings` has one hook for the whole process, and other threads keep theirs.
_listeners: dict[int, Callable[[str], None]] = {}


def say_problem(error: BaseException) -> str:
    """The exception and the line of code that raised it, for a line in the page."""
    text = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return text
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    place = (own or frames)[-1]
    return f"{text}\n(in {place.name}, line {place.lineno}: {place.line})"


def one_sentence(error: BaseException) -> str:
    """The exception in one line; the course's own messages need no name of a class before them."""
    text = " ".join(str(error).split())
    own = type(error).__module__.startswith("course_lib.")
    spoken = own or isinstance(error, (ValueError, OSError))
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} ..."
    text = text if spoken and text else f"{type(error).__name__}: {text}".rstrip(": ")
    return text if text.endswith((".", "!", "?")) else f"{text}."


@contextmanager
def warnings_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Give the texts of this thread's warnings to `tell`; those for programmers stay in the log."""
    own = threading.get_ident()
    before = warnings.showwarning

    def show(message: Any, category: type, *place: Any, **options: Any) -> None:
        listener = _listeners.get(threading.get_ident())
        if listener is None or not issubclass(category, UserWarning):
            before(message, category, *place, **options)
        else:
            listener(str(message))

    show.dispatches = True
    if not hasattr(before, "dispatches"):
        warnings.showwarning = show  # stays, so that threads may end in any order
        # Python tells a text once; a prompt that is painted again is warned about again.
        warnings.filterwarnings("always", category=UserWarning, module=r"course_lib\.")
    _listeners[own] = tell
    try:
        yield
    finally:
        del _listeners[own]
