"""The evaluation's tables as text, and the thresholds for shipped weights."""

from __future__ import annotations

import math

from course_lib.mini.evaluation.evaluators import ADHERENCE
from course_lib.mini.evaluation.generate import Table
from course_lib.tables import format_number, table_as_text

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
    return "\n".join(table_as_text(title, table) for title, table in tables.items())


def format_thresholds(checks: list[dict]) -> str:
    """One line on how many goals are met, and one on each."""
    if not checks:
        return "no thresholds for these parts"
    lines = [f"{sum(c['met'] for c in checks)} of {len(checks)} goals met"]
    for c in checks:
        bounds = f"{format_number(c['low'])} to {format_number(c['high'])}"
        verdict = "met   " if c["met"] else "missed"
        lines.append(f"  {verdict}  {c['name']:44}{format_number(c['value']):>8}   goal {bounds}")
    return "\n".join(lines)
