"""Tables for a reader: as lines in a terminal, as HTML in a notebook.

There are rows of (label, text), and tables of numbers: row -> column -> cell, where a cell is a
number or an estimate, a dictionary with ``value``, ``low`` and ``high`` and perhaps ``n``.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

Table = Mapping[str, Mapping[str, float | Mapping[str, float]]]


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


def table_as_text(title: str, table: Table) -> str:
    """A table of numbers as aligned lines; the first has the title and the columns."""
    columns, cells = _columns(table), _texts(table)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    first = max([len(title) - 2, *map(len, table)])

    def line(name: str, texts: Sequence[str]) -> str:
        pairs = zip(texts, widths, strict=True)
        return f"{name:{first + 2}}" + "".join(f"  {text:>{width}}" for text, width in pairs)

    rows = (line(f"  {name}", row).rstrip() for name, row in zip(table, cells, strict=True))
    return "\n".join([line(title, columns), *rows])


def table_as_html(title: str, table: Table) -> str:
    """A table of numbers with headings."""
    left, right = 'style="text-align: left"', 'style="text-align: right"'
    head = "".join(f"<th {right}>{html.escape(column)}</th>" for column in _columns(table))
    rows = (
        f"<tr><th {left}>{html.escape(name)}</th>"
        + "".join(f"<td {right}>{html.escape(text)}</td>" for text in row)
        + "</tr>"
        for name, row in zip(table, _texts(table), strict=True)
    )
    return f"<table><tr><th {left}>{html.escape(title)}</th>{head}</tr>{''.join(rows)}</table>"


def format_number(value: float) -> str:
    """Three or four digits, whatever the magnitude; "-" for NaN."""
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "-" if math.isnan(value) else f"{value}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if 0 < abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:.{2 if abs(value) >= 10 else 3}f}"


def _columns(table: Table) -> list[str]:
    return list(dict.fromkeys(column for row in table.values() for column in row))


def _texts(table: Table) -> list[list[str]]:
    columns = _columns(table)
    return [[_cell(row[c]) if c in row else "" for c in columns] for row in table.values()]


def _cell(value: float | Mapping[str, float]) -> str:
    if not isinstance(value, Mapping):
        return format_number(value)
    count = f" of {value['n']}" if "n" in value else ""
    value, low, high = (format_number(value[k]) for k in ("value", "low", "high"))
    return f"{value} ({low} to {high}){count}"
