"""The evaluation's tables as text, and the thresholds for shipped weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

from course_lib.mini.evaluation.evaluators import ADHERENCE
from course_lib.mini.evaluation.generate import Table

Tables = dict[str, Table]

# Goals for shipped weights: the least and the largest value that pass
MEAN_ADHERENCE, ADHERENCE_EACH = (0.95, 1.0), (0.88, 1.0)
TOLD_APART, KID_MULTIPLE = (0.0, 0.80), (-math.inf, 3.0)
SHARPNESS, GRAIN = (0.85, 1.15), (0.0, 2.0)
PSNR, SSIM = (30.0, math.inf), (0.93, 1.0)
NEAR_DUPLICATES, LOST_BY_FREE_LANGUAGE = (0, 0), (-1.0, 0.08)


def check_thresholds(results: dict[str, Tables]) -> list[dict]:
    """Each goal whose part was run: ``{"name", "value", "low", "high", "met"}``."""
    checks = []
    for part, goals in _GOALS.items():
        for name, value, (low, high) in goals(results[part]) if part in results else ():
            met = bool(low <= value <= high)
            checks.append({"name": name, "value": value, "low": low, "high": high, "met": met})
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
        lines.append(f"  {verdict}  {c['name']:40}{_number(c['value']):>8}   goal {bounds}")
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


def _adherence(tables: Tables):
    table = tables["prompted attributes found"]
    yield "adherence, mean", table["mean of the nine"]["generated"]["value"], MEAN_ADHERENCE
    for name in ADHERENCE:
        yield f"adherence, {name}", table[name]["generated"]["value"], ADHERENCE_EACH


def _two_sample(tables: Tables):
    for name, row in tables["told apart from real images"].items():
        yield f"told apart by {name}", row["generated"]["value"], TOLD_APART


def _sharpness(tables: Tables):
    for style, row in tables["sharpness"].items():
        yield f"sharpness, {style}", row["generated / real"]["value"], SHARPNESS


def _grain(tables: Tables):
    for style, row in tables["grain in flat parts"].items():
        yield f"grain, {style}", row["generated / real"]["value"], GRAIN


def _kid(tables: Tables):
    row = tables["kernel distance in the classifier's features"]["generated"]
    yield "kernel distance / floor", row["multiple of the floor"]["value"], KID_MULTIPLE


def _autoencoder(tables: Tables):
    row = tables["reconstruction of real images"]["all"]
    yield "PSNR of reconstructions, dB", row["PSNR, dB"]["value"], PSNR
    yield "SSIM of reconstructions", row["SSIM"]["value"], SSIM


def _memorization(tables: Tables):
    yield "near-duplicates", tables["near-duplicates"]["generated"]["count"], NEAR_DUPLICATES


def _paraphrases(tables: Tables):
    lost = tables["lost by free language"]["all"]["share"]
    yield "lost by free language", lost, LOST_BY_FREE_LANGUAGE


_GOALS = {
    "attributes": _adherence,
    "two_sample": _two_sample,
    "sharpness": _sharpness,
    "grain": _grain,
    "kid": _kid,
    "autoencoder": _autoencoder,
    "memorization": _memorization,
    "paraphrases": _paraphrases,
}
