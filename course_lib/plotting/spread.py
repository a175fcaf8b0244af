"""How numbers spread: histograms against the normal density, groups side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_lib.plotting.checks import check_mapping, check_numbers
from course_lib.plotting.style import (
    MARKERS,
    PALETTE,
    CourseFigure,
    course_style,
    line_look,
    new_figure,
    plain_numbers,
)


def histogram_vs_normal(
    x_t: Tensor | Mapping[str, Tensor], *, bins: int = 80, label: str = "x_t"
) -> CourseFigure:
    """Compare the distribution of pixel values with the standard normal density.

    Parameters
    ----------
    x_t : Tensor of any shape, or dict of str to Tensor
        All values count. With a dict each entry becomes one outline.
    bins : int
        Bins over the shared range.
    label : str
        Legend name when `x_t` is a single tensor.
    """
    series = dict(x_t) if isinstance(x_t, Mapping) else {label: x_t}
    check_mapping(series, "x_t", '{"t = 100": x_t}')
    if bins < 2:
        raise ValueError(f"bins must be at least 2, not {bins}.")
    flat = {}
    for name, values in series.items():
        flat[name] = torch.as_tensor(values).detach().cpu().float().flatten()
        if flat[name].numel() == 0 or not bool(torch.isfinite(flat[name]).all()):
            raise ValueError(f"{name!r} must hold at least one value, all of them finite.")
    edge = max(3.5, min(6.0, *(float(values.abs().max()) for values in flat.values()), 6.0))
    edges = torch.linspace(-edge, edge, bins + 1)
    with course_style():
        figure = new_figure(7.4, 3.2, alt=f"histogram of {', '.join(flat)} and the standard normal")
        ax = figure.subplots()
        for index, (name, values) in enumerate(flat.items()):
            mean = round(float(values.mean()), 2) + 0.0  # + 0.0 turns -0.00 into 0.00
            text = f"{name}: mean {mean:.2f}, std {values.std(unbiased=False):.2f}"
            counts, _ = torch.histogram(values.clamp(-edge, edge), edges)
            density = counts / counts.sum() / (2 * edge / bins)
            look = line_look(index)
            ax.stairs(
                density.numpy(),
                edges.numpy(),
                label=text,
                linewidth=1.6,
                fill=len(flat) == 1,
                alpha=0.55 if len(flat) == 1 else 1,
                **look,
            )
        grid = torch.linspace(-edge, edge, 300)
        normal = torch.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
        ax.plot(
            grid.numpy(),
            normal.numpy(),
            color="black",
            linestyle="--",
            linewidth=1.5,
            label="standard normal N(0, 1)",
        )
        ax.set_xlabel("pixel value")
        ax.set_ylabel("probability density")
        ax.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def distribution(
    values: Mapping[str, Sequence[float]],
    *,
    ylabel: str = "value",
    log: bool = False,
    alt: str | None = None,
) -> CourseFigure:
    """Show how groups of numbers spread: every point, with a box from quartile to quartile.

    Parameters
    ----------
    values : dict of str to sequence of float
        Group name to its numbers, such as sampler to the error of each seed.
    ylabel : str
        What the numbers are, with their unit.
    log : bool
        Logarithmic axis; every number must then be positive.
    alt : str, optional
        Text alternative.
    """
    check_mapping(values, "values", '{"ddim": [0.1, 0.2]}')
    groups = {name: check_numbers(group, repr(name)) for name, group in values.items()}
    if log and min(min(group) for group in groups.values()) <= 0:
        raise ValueError("log=True needs numbers > 0.")
    with course_style():
        figure = new_figure(
            min(2.0 + 1.0 * len(groups), 8.0), 3.3, alt=alt or f"{ylabel} for {', '.join(groups)}"
        )
        ax = figure.subplots()
        ax.grid(False, axis="x")
        for index, group in enumerate(groups.values()):
            color = PALETTE[index % len(PALETTE)]
            # Spread by rank, not at random: the same numbers must give the same picture.
            offsets = [((7 * k) % 11 - 5) / 40 for k in range(len(group))]
            ax.plot(
                [index + d for d in offsets],
                group,
                MARKERS[index % len(MARKERS)],
                color=color,
                alpha=0.6,
                markersize=5,
            )
            ax.boxplot(
                [group],
                positions=[index],
                widths=0.55,
                showfliers=False,
                medianprops={"color": color, "linewidth": 2.5},
            )
        ax.set_xticks(range(len(groups)), list(groups))
        ax.set_xlim(-0.6, len(groups) - 0.4)
        ax.set_ylabel(ylabel)
        if log:
            ax.set_yscale("log")
            plain_numbers(ax.yaxis)
    return figure
