"""A progress bar that a saved notebook can show: HTML, where tqdm's own bar is a widget."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

from course_lib.widgets.display import kernel_shell


def with_bar(items: Sequence[Any], what: str) -> Iterator[Any]:
    """Yield the items; a bar counts them and goes when they end, however they end.

    Parameters
    ----------
    items : sequence
    what : str
        What is being done, such as "Painting".
    """
    if kernel_shell() is None:
        from tqdm import tqdm

        yield from tqdm(items, desc=what, leave=False)
        return
    from IPython.display import display

    bar = display(_bar(what, 0, len(items)), raw=True, display_id=True)
    try:
        for done, item in enumerate(items, start=1):
            yield item
            bar.update(_bar(what, done, len(items)), raw=True)
    finally:
        bar.update({"text/plain": ""}, raw=True)


def _bar(what: str, done: int, total: int) -> dict[str, str]:
    """The bar as an output's data."""
    words = f"{what} {done} / {total}"
    label = html.escape(words)
    page = f'<label>{label} <progress max="{total}" value="{done}"></progress></label>'
    return {"text/html": page, "text/plain": words}
