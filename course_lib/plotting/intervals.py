"""Numbers with their intervals: as dots beside names, and as curves with bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.plotting.checks import check_mapping
from course_lib.plotting.style import (
    MARKERS,
    CourseFigure,
    course_style,
    line_look,
    new_figure,
    plain_numbers,
)


def interval_dots(
    values: Mapping[str, Mapping[str, Any]],
    *,
    xlabel: str = "value",
    ylabel: str = "set",
    reference: float | None = None,
    log: bool = False,
    alt: str | None = None,
) -> CourseFigure:
    """Show estimates with their intervals, one row for each name.

    Parameters
    ----------
    values : dict
        Name to an estimate ``{"value", "low", "high"}``, from top to bottom. With several series:
        series to such a dict; the names are those of all series.
    xlabel, ylabel : str
        What the numbers are, with their unit, and what has the names.
    reference : float, optional
        A dotted line, such as what no difference gives.
    log : bool
        Logarithmic axis; every number must then be positive.
    alt : str, optional
        Text alternative.

    Raises
    ------
    ValueError
        If something is no estimate, or is not positive on a logarithmic axis.
    """
    check_mapping(values, "values", '{"mini": {"value": 0.5, "low": 0.4, "high": 0.6}}')
    single = all("value" in one for one in values.values())
    series = {"": values} if single else values
    names = list(dict.fromkeys(name for rows in series.values() for name in rows))
    with course_style():
        figure = new_figure(
            7.0, 1.1 + 0.42 * len(names) + 0.1 * len(names) * (len(series) - 1),
            alt=alt or f"{xlabel} with intervals for {', '.join(names)}",
        )  # fmt: skip
        ax = figure.subplots()
        ax.grid(False, axis="y")
        if reference is not None:
            ax.axvline(reference, color="#555555", linestyle=":", linewidth=1.5)
        for index, (label, rows) in enumerate(series.items()):
            shift = 0.22 * (index - (len(series) - 1) / 2)  # series lie side by side
            for name, estimate in rows.items():
                value, below, above = _ends(estimate, name, log)
                ax.errorbar(
                    value, names.index(name) + shift, xerr=[[below], [above]], label=label,
                    capsize=4, linestyle="none",
                    marker=MARKERS[index % len(MARKERS)], markersize=7,
                    color=line_look(index)["color"],
                )  # fmt: skip
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        if log:
            ax.set_xscale("log")
            plain_numbers(ax.xaxis)
        if not single:
            handles = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
            ax.legend(handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def interval_curves(
    series: Mapping[str, Sequence[Sequence[Any]]],
    *,
    xlabel: str = "x",
    ylabel: str = "value",
    levels: Mapping[str, float] | None = None,
    log: str = "",
    alt: str | None = None,
) -> CourseFigure:
    """Show curves whose points have intervals, upright, level or both.

    Parameters
    ----------
    series : dict
        Name to points (x, y) or (x, y, note), in the order in which a line joins them. x and y are
        numbers or estimates ``{"value", "low", "high"}``; the note is written beside the point.
    xlabel, ylabel : str
        What the axes mean, with units.
    levels : dict, optional
        Name to height of dotted lines, such as that of real portraits.
    log : {"", "x", "y", "xy"}
        Which axes are logarithmic; their numbers must be positive.
    alt : str, optional
        Text alternative.

    Raises
    ------
    ValueError
        If a point is none, or a number is not positive on a logarithmic axis.
    """
    check_mapping(series, "series", '{"steps": [(2, {"value": 0.9, "low": 0.8, "high": 0.95})]}')
    with course_style():
        figure = new_figure(
            7.0, 4.0, alt=alt or f"{ylabel} against {xlabel} for {', '.join(series)}"
        )  # fmt: skip
        ax = figure.subplots()
        for name, height in (levels or {}).items():
            ax.axhline(height, color="#555555", linestyle=":", linewidth=1.5)
            ax.annotate(
                name, (0.99, height), xycoords=ax.get_yaxis_transform(), ha="right", va="bottom",
                fontsize=9, color="#555555",
            )  # fmt: skip
        for index, (name, points) in enumerate(series.items()):
            _draw_curve(ax, index, name, points, log)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        for axis, setter in (("x", ax.set_xscale), ("y", ax.set_yscale)):
            if axis in log:
                setter("log")
                plain_numbers(ax.xaxis if axis == "x" else ax.yaxis)
        if len(series) > 1:
            ax.legend()
    return figure


def _draw_curve(ax: Any, index: int, name: str, points: Sequence[Sequence], log: str) -> None:
    if not points or not all(len(point) in (2, 3) for point in points):
        raise ValueError(f"{name!r} must hold at least one point (x, y) or (x, y, note).")
    x = np.array([_ends(point[0], name, "x" in log) for point in points]).T  # (3, points)
    y = np.array([_ends(point[1], name, "y" in log) for point in points]).T
    look = line_look(index)
    ax.errorbar(
        x[0], y[0], xerr=x[1:] if x[1:].any() else None, yerr=y[1:] if y[1:].any() else None,
        label=name, capsize=3, elinewidth=1.2, marker=MARKERS[index % len(MARKERS)], markersize=6,
        **look,
    )  # fmt: skip
    shift = (6, -13 if index % 2 else 5)  # notes of neighbouring curves on different sides
    for here, there, point in zip(x[0], y[0], points, strict=True):
        if len(point) == 3:
            ax.annotate(
                str(point[2]), (here, there), textcoords="offset points", xytext=shift,
                fontsize=9, color=look["color"],
            )  # fmt: skip


def _ends(given: Any, name: str, log: bool) -> tuple[float, float, float]:
    """A number, and how far its interval reaches below and above it."""
    estimate = (
        given if isinstance(given, Mapping) else {"value": given, "low": given, "high": given}
    )
    try:
        value, low, high = (float(estimate[key]) for key in ("value", "low", "high"))
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{name!r} has {given!r}, which is neither a number nor an estimate with value, low "
            "and high."
        ) from None
    if not all(map(math.isfinite, (value, low, high))) or (log and min(value, low) <= 0):
        raise ValueError(f"{name!r} has {given!r}; numbers must be finite, on a log axis positive.")
    # A percentile interval need not contain the value
    return value, max(0.0, value - low), max(0.0, high - value)
