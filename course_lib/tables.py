"""Rows of (label, text) for a reader: as lines in a terminal, as a table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence


def rows_as_text(rows: Sequence[tuple[str, str]], width: int) -> str:
    """One line a row; the texts begin in column `width`."""
    return "\n".join(f"{label + ':':<{width}}{text}" for label, text in rows)


def rows_as_html(rows: Sequence[tuple[str, str]]) -> str:
    """A table with the labels as row headings."""
    left = 'style="text-align: left; vertical-align: top"'
    cells = (
        f"<tr><th {left}>{html.escape(label)}</th><td {left}>{html.escape(text)}</td></tr>"
        for label, text in rows
    )
    return f"<table>{''.join(cells)}</table>"
