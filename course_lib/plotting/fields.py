"""Vector fields in the plane: where each point is sent, and paths that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.plotting.checks import check_mapping
from course_lib.plotting.style import PALETTE, CourseFigure, course_style, new_figure

_SIDE = 2.55  # inches: three panels fill the text width


def vector_fields(
    panels: Mapping[str, Mapping[str, Any]],
    *,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    labels: tuple[str, str] = ("first number", "second number"),
    alt: str | None = None,
) -> CourseFigure:
    """Draw a row of vector fields over a plane, each with a cloud of points and with paths.

    Parameters
    ----------
    panels : dict of str to dict
        Title to what the panel shows. ``points``, a Tensor (N, 2), are small grey dots; an arrow
        begins at each row of ``at`` and ends at ``at + arrows``, Tensors (M, 2); ``paths``, an
        optional sequence of Tensors (S, 2), begin with a ring and end with a dot.
    xlim, ylim : tuple of float
        What part of the plane the panels show.
    labels : tuple of str
        Names of the two axes.
    alt : str, optional
        Text alternative.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a tensor has another shape or holds NaN, or an arrow has no place.
    """
    check_mapping(panels, "panels", '{"t = 100": {"points": x_t, "at": grid, "arrows": arrows}}')
    with course_style():
        figure = new_figure(
            _SIDE * len(panels) + 0.5, _SIDE + 0.7, alt=alt or f"vector fields: {', '.join(panels)}"
        )
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (title, panel) in zip(axes, panels.items(), strict=True):
            _draw_field(ax, title, panel)
            ax.set(title=title, xlim=xlim, ylim=ylim, xlabel=labels[0], aspect="equal")
        axes[0].set_ylabel(labels[1])
        for ax in axes[1:]:
            ax.set_ylabel(" ")
    return figure


def _draw_field(ax: Any, title: str, panel: Mapping[str, Any]) -> None:
    points = _plane(panel["points"], f"points of {title!r}")
    at, arrows = (_plane(panel[name], f"{name} of {title!r}") for name in ("at", "arrows"))
    if len(at) != len(arrows):
        raise ValueError(f"{title!r} has {len(arrows)} arrows at {len(at)} places; give one each.")
    ax.plot(points[:, 0], points[:, 1], ".", color="#999999", markersize=2, alpha=0.5)
    ax.quiver(
        at[:, 0], at[:, 1], arrows[:, 0], arrows[:, 1],
        angles="xy", scale_units="xy", scale=1, color=PALETTE[0], width=0.006,
    )  # fmt: skip
    paths: Sequence[Tensor] = panel.get("paths", ())
    for path in paths:
        path = _plane(path, f"a path of {title!r}")
        ax.plot(path[:, 0], path[:, 1], color=PALETTE[1], linewidth=2)
        ax.plot(path[0, 0], path[0, 1], "o", color=PALETTE[1], fillstyle="none", markersize=7)
        ax.plot(path[-1, 0], path[-1, 1], "o", color=PALETTE[1], markersize=5)


def _plane(values: Tensor, name: str) -> Any:
    """Points of the plane as a NumPy array (N, 2)."""
    values = torch.as_tensor(values).detach().cpu().float()
    if values.ndim != 2 or values.shape[1] != 2 or not len(values):
        raise ValueError(f"{name} must have shape (N, 2), not {tuple(values.shape)}.")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} contain NaN or infinity.")
    return values.numpy()
