"""The evaluation's tables as text, and the thresholds for shipped weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

from course_lib.mini.evaluation.evaluators import ADHERENCE
from course_lib.mini.evaluation.generate import Table

Tables = dict[str, Table]

# Goals for shipped weights: part, table, row (None: each row), column, least and largest value
_GOALS = (
    ("attributes", "prompted attributes found", "mean of the nine", "generated", 0.95, 1.0),
    *(("attributes", "prompted attributes found", k, "generated", 0.88, 1.0) for k in ADHERENCE),
    ("two_sample", "told apart from real images", None, "generated", 0.0, 0.80),
    ("sharpness", "sharpness", None, "generated / real", 0.85, 1.15),
    ("grain", "grain in flat parts", None, "generated / real", 0.0, 2.0),
    ("kid", "kernel distance", "generated", "multiple of the floor", -math.inf, 3.0),
    ("autoencoder", "reconstruction of real images", "all", "PSNR, dB", 30.0, math.inf),
    ("autoencoder", "reconstruction of real images", "all", "SSIM", 0.93, 1.0),
    ("memorization", "near-duplicates", "generated", "count", 0, 0),
    ("paraphrases", "lost by free language", "all", "share", -1.0, 0.08),
)


def check_thresholds(results: dict[str, Tables]) -> list[dict]:
    """Each goal whose part was run: ``{"name", "value", "low", "high", "met"}``."""
    checks = []
    for part, title, row, column, low, high in _GOALS:
        table = results.get(part, {}).get(title, {})
        for name in table if row is None else [row] if row in table else []:
            cell = table[name][column]
            value = cell["value"] if isinstance(cell, dict) else cell
            bounds = {"low": low, "high": high, "met": bool(low <= value <= high)}
            checks.append({"name": f"{part}: {name}, {column}", "value": value, **bounds})
    return checks


def format_tables(tables: Tables) -> str:
    """Tables as aligned text, one after another."""
    return "\n".join(line for title, table in tables.items() for line in _lines(title, table))


def format_thresholds(checks: list[dict]) -> str:
    """One line on how many goals are met, and one on each."""
    if not checks:
        return "no thresholds for these parts"
    lines = [f"{sum(c['met'] for c in checks)} of {len(checks)} goals met"]
    for c in checks:
        bounds = f"{_number(c['low'])} to {_number(c['high'])}"
        verdict = "met   " if c["met"] else "missed"
        lines.append(f"  {verdict}  {c['name']:44}{_number(c['value']):>8}   goal {bounds}")
    return "\n".join(lines)


def _lines(title: str, table: Table) -> Iterator[str]:
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    cells = [[_cell(row[c]) if c in row else "" for c in columns] for row in table.values()]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    first = max([len(title) - 2, *map(len, table)])

    def line(name: str, texts: list[str]) -> str:
        pairs = zip(texts, widths, strict=True)
        return f"{name:{first + 2}}" + "".join(f"  {text:>{width}}" for text, width in pairs)

    yield line(title, columns)
    for name, texts in zip(table, cells, strict=True):
        yield line(f"  {name}", texts).rstrip()


def _cell(value) -> str:
    if not isinstance(value, dict):
        return _number(value)
    count = f" of {value['n']}" if "n" in value else ""
    return f"{_number(value['value'])} ({_number(value['low'])} to {_number(value['high'])}){count}"


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "-" if math.isnan(value) else f"{value}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{2 if abs(value) >= 10 else 3}f}"
