"""Curves: schedules, losses, time against quality, hits against false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from course_lib.errors import check_choice
from course_lib.plotting.checks import check_mapping, check_numbers
from course_lib.plotting.style import (
    MARKERS,
    CourseFigure,
    course_style,
    line_look,
    new_figure,
    plain_numbers,
)

_QUANTITIES = {
    "alphas_cumprod": r"$\bar\alpha_t$ (square of the factor on x_0)",
    "snr": "signal-to-noise ratio (log scale)",
    "betas": r"noise added per step, $\beta_t$ (variance)",
    "alphas": r"$\alpha_t$ (square of the factor of one step)",
}


def schedule_curves(
    schedules: Mapping[str, Any], quantities: Sequence[str] = ("alphas_cumprod", "snr")
) -> CourseFigure:
    """Compare noise schedules over the timestep, one panel for each quantity.

    Parameters
    ----------
    schedules : dict of str to NoiseSchedule
        Legend name to schedule. Schedules of different length share the axis t / (T - 1).
    quantities : sequence of str
        Any of ``alphas_cumprod``, ``snr``, ``betas``, ``alphas``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_mapping(schedules, "schedules", '{"cosine": NoiseSchedule.cosine(1000)}')
    quantities = [quantities] if isinstance(quantities, str) else list(quantities)
    if not quantities:
        raise ValueError(f"quantities is empty; choose from {', '.join(_QUANTITIES)}.")
    for quantity in quantities:
        check_choice("quantity", quantity, _QUANTITIES)
    lengths = {schedule.num_timesteps for schedule in schedules.values()}
    with course_style():
        figure = new_figure(
            min(3.9 * len(quantities), 8.2) if len(quantities) > 1 else 5.0,
            3.1,
            alt=f"{' and '.join(quantities)} of {', '.join(schedules)} over the timestep",
        )
        panels = figure.subplots(1, len(quantities), squeeze=False)[0]
        for ax, quantity in zip(panels, quantities, strict=True):
            for index, (name, schedule) in enumerate(schedules.items()):
                y = getattr(schedule, quantity)
                x = torch.arange(len(y)) / (1 if len(lengths) == 1 else max(len(y) - 1, 1))
                ax.plot(x.numpy(), y.numpy(), label=name, **line_look(index))
            ax.set_xlabel("timestep t" if len(lengths) == 1 else "timestep t / (T - 1)")
            ax.set_ylabel(_QUANTITIES[quantity], fontsize=10)
            if quantity == "snr":
                ax.set_yscale("log")
                ax.axhline(1.0, color="#777777", linewidth=1)
                ax.annotate(
                    "SNR = 1",
                    (0.98, 1.0),
                    xycoords=ax.get_yaxis_transform(),
                    ha="right",
                    va="bottom",
                    fontsize=9,
                    color="#555555",
                )
        panels[0].legend()
    return figure


def _smooth(values: list[float], smoothing: float) -> list[float]:
    """Exponential moving average without the bias towards the first value."""
    out, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = smoothing * mean + (1 - smoothing) * value
        weight = smoothing * weight + (1 - smoothing)
        out.append(mean / weight)
    return out


def loss_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    log: bool = False,
    *,
    smooth: float = 0.0,
    xlabel: str = "training step",
    ylabel: str = "loss (mean squared error)",
) -> CourseFigure:
    """Compare training curves.

    Parameters
    ----------
    curves : dict of str to (steps, losses)
        Two sequences of equal length for each name.
    log : bool
        Logarithmic loss axis; every loss must then be positive.
    smooth : float in [0, 1)
        Weight of the past in a moving average; the raw values stay visible behind it.
    xlabel, ylabel : str
        What the axes mean, with units.
    """
    check_mapping(curves, "curves", '{"train": (steps, losses)}')
    if not 0 <= smooth < 1:
        raise ValueError(f"smooth must lie in [0, 1), not {smooth}; 0 draws the raw losses.")
    with course_style():
        figure = new_figure(6.4, 3.3, alt=f"{ylabel} over {xlabel} for {', '.join(curves)}")
        ax = figure.subplots()
        for index, (name, (steps, losses)) in enumerate(curves.items()):
            x, y = (
                check_numbers(steps, f"steps of {name!r}"),
                check_numbers(losses, f"losses of {name!r}"),
            )
            if len(x) != len(y):
                raise ValueError(f"{name!r} has {len(x)} steps but {len(y)} losses.")
            if log and min(y) <= 0:
                raise ValueError(f"{name!r} has a loss of {min(y)}; log=True needs losses > 0.")
            look = line_look(index)
            # A few points deserve markers and no smoothing; many markers would hide the line.
            few = len(x) <= 25
            if smooth and not few:
                ax.plot(x, y, color=look["color"], alpha=0.25, linewidth=1)
            marker = MARKERS[index % len(MARKERS)] if few else None
            y = y if few else _smooth(y, smooth)
            ax.plot(x, y, label=name, marker=marker, markersize=5, **look)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        if log:
            ax.set_yscale("log")
            plain_numbers(ax.yaxis)
        ax.legend()
    return figure


def time_quality(
    results: Mapping[str, Sequence[Sequence[float]]],
    steps: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    *,
    xlabel: str = "time for the batch (s)",
    ylabel: str = "distance to the reference (mean squared error)",
) -> CourseFigure:
    """Compare methods by the time they take and the error they leave; lower left is better.

    Parameters
    ----------
    results : dict of str to (seconds, errors) or (seconds, errors, steps)
        One point for each setting, in the order in which the line joins them. All values > 0.
    steps : sequence of int, or dict of str to sequence, optional
        The number written beside each point, where `results` does not carry it.
    xlabel, ylabel : str
        What the axes mean, with units.
    """
    check_mapping(results, "results", '{"ddim": (seconds, errors, steps)}')
    with course_style():
        figure = new_figure(6.8, 4.0, alt=f"{ylabel} against {xlabel} for {', '.join(results)}")
        ax = figure.subplots()
        ax.set_xscale("log")
        ax.set_yscale("log")
        for index, (name, series) in enumerate(results.items()):
            if len(series) not in (2, 3):
                raise ValueError(f"{name!r} must be (seconds, errors) or (seconds, errors, steps).")
            own = steps.get(name) if isinstance(steps, Mapping) else steps
            notes = list(series[2]) if len(series) == 3 else list(own or [])
            x = check_numbers(series[0], f"seconds of {name!r}")
            y = check_numbers(series[1], f"errors of {name!r}")
            if len(x) != len(y) or (notes and len(notes) != len(x)):
                raise ValueError(
                    f"{name!r} has {len(x)} times, {len(y)} errors and {len(notes)} step counts; "
                    "they must match."
                )
            if min(x) <= 0 or min(y) <= 0:
                raise ValueError(f"{name!r} has a value <= 0, which a log axis cannot show.")
            look = line_look(index)
            ax.plot(x, y, label=name, marker=MARKERS[index % len(MARKERS)], markersize=6, **look)
            for here, there, note in zip(x, y, notes, strict=False):
                ax.annotate(
                    str(note),
                    (here, there),
                    textcoords="offset points",
                    xytext=(5, 5),
                    fontsize=9,
                    color=look["color"],
                )
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel, fontsize=10)
        plain_numbers(ax.xaxis)
        plain_numbers(ax.yaxis)
        ax.legend(title="numbers: steps" if steps or _carries(results) else None)
    return figure


def roc_curves(
    curves: Mapping[str, Sequence[Any]], *, title: str | None = None, log: bool = False
) -> CourseFigure:
    """Hit rate against false-alarm rate; the dotted diagonal is guessing.

    Parameters
    ----------
    curves : dict of str to (false_alarm_rate, hit_rate)
        The first two results of `course_lib.metrics.roc_curve`.
    title : str, optional
    log : bool
        A logarithmic axis of false alarms, from 0.001, which shows the rare ones.
    """
    check_mapping(curves, "curves", '{"watermark": roc_curve(scores, labels)[:2]}')
    with course_style():
        names = ", ".join(curves)
        figure = new_figure(4.6, 4.0, alt=f"hit rate against false-alarm rate for {names}")
        ax = figure.subplots()
        ends = torch.linspace(0.0, 1.0, 101) if not log else torch.logspace(-3, 0, 101)
        ax.plot(ends, ends, color="#888888", linestyle=":", linewidth=1)
        for index, (name, (false_alarm_rate, hit_rate)) in enumerate(curves.items()):
            x = check_numbers(false_alarm_rate, f"false-alarm rate of {name!r}")
            y = check_numbers(hit_rate, f"hit rate of {name!r}")
            if len(x) != len(y):
                raise ValueError(f"{name!r} has {len(x)} false-alarm rates, {len(y)} hit rates.")
            ax.plot([max(v, 1e-3) for v in x] if log else x, y, label=name, **line_look(index))
        if log:
            ax.set_xscale("log")
            plain_numbers(ax.xaxis)
        ax.set_xlabel("false-alarm rate")
        ax.set_ylabel("hit rate")
        if title:
            ax.set_title(title)
        ax.legend(loc="lower right")
    return figure


def _carries(results: Mapping[str, Sequence[Sequence[float]]]) -> bool:
    return any(len(series) == 3 for series in results.values())
