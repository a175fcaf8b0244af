"""Pictures of pictures: grids, film strips, before / after, maps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.plotting.pixels import as_frames, display_limit
from course_lib.plotting.style import DPI, CourseFigure, course_style, new_figure
from course_lib.tensors import to_uint8

_PAGE = 760  # pixels: the text width of a notebook
_GAP = 5
_LARGEST_TILE = 160
_LINE = 17  # pixels for a line of text
_CHARACTER = 7.4  # pixels, an average at 10 points and 100 dots per inch


def _tile_width(native: int, columns: int, left: int, scale: float) -> int:
    """Width of one picture on the page: a whole multiple of its pixels where one fits."""
    if scale <= 0:
        raise ValueError(f"scale must be positive, not {scale}.")
    room = min((_PAGE - left) / columns - _GAP, _LARGEST_TILE) * scale
    # Whole multiples keep every pixel square and sharp, and compress far better as PNG.
    return native * int(room // native) if room >= native else max(int(room), 8)


def _tiles(
    rows: int, columns: int, tile: tuple[int, int], left: int, heads: list[int], alt: str
) -> tuple[CourseFigure, list[list[Any]]]:
    """A figure with a grid of axes placed to the pixel; `heads` is the room above each row."""
    width, height = tile
    total_width = left + columns * (width + _GAP)
    total_height = sum(heads) + rows * (height + _GAP)
    figure = new_figure(total_width / DPI, total_height / DPI, alt=alt, layout=None)
    axes, top = [], 0
    for row in range(rows):
        top += heads[row]
        bottom = (total_height - top - height) / total_height
        line = []
        for column in range(columns):
            x = (left + column * (width + _GAP)) / total_width
            ax = figure.add_axes((x, bottom, width / total_width, height / total_height))
            ax.set_axis_off()
            line.append(ax)
        axes.append(line)
        top += height + _GAP
    return figure, axes


def _show(ax: Any, image: Tensor, sharp: bool) -> None:
    """Draw one (C, H, W) picture in [-1, 1]."""
    pixels = to_uint8(image)  # (H, W, C)
    if pixels.shape[-1] == 1:
        pixels = pixels.repeat(3, axis=-1)
    smooth = "antialiased"  # the name before matplotlib 3.10 of what is "auto" since
    ax.imshow(pixels, interpolation="nearest" if sharp else smooth, aspect="auto")


def _wrap(text: str, width: int) -> str:
    """Break a title to the width of its picture, three lines at most."""
    columns = max(int(width / _CHARACTER), 6)
    return "\n".join(textwrap.wrap(str(text), columns, max_lines=3, placeholder="..."))


def image_grid(
    images: Tensor | Sequence[Tensor],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    scale: float = 1.0,
    *,
    limit: float = 1.0,
    few_colors: bool = False,
    alt: str | None = None,
) -> CourseFigure:
    """Show a batch of images side by side.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W), values in [-1, 1]
        Or a sequence of (C, H, W) of one size. Values outside are clipped.
    titles : sequence of str, optional
        One line above each image; long titles are wrapped.
    columns : int, optional
        Images per row; by default at most 8.
    scale : float
        Size of the pictures on the page; 1 fits the text width.
    limit : float
        The value shown as full brightness; use 3 for noise.
    few_colors : bool
        Draw with 256 colours: half the bytes where the pictures are noisy.
    alt : str, optional
        Text alternative.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frames = as_frames(images, limit=limit)
    count, _, native_height, native = frames.shape
    if titles is not None and len(titles) != count:
        raise ValueError(f"titles has {len(titles)} entries for {count} images; give one each.")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}.")
    columns = min(columns or 8, count)
    rows = -(-count // columns)
    width = _tile_width(native, columns, 0, scale)
    height = max(round(width * native_height / native), 1)
    wrapped = [_wrap(title, width) for title in titles] if titles is not None else [""] * count
    heads = []
    for row in range(rows):
        lines = max(text.count("\n") + 1 for text in wrapped[row * columns : (row + 1) * columns])
        heads.append(_LINE * lines + 4 if titles is not None else 0)
    with course_style():
        figure, axes = _tiles(rows, columns, (width, height), 0, heads, alt or f"{count} images")
        for index in range(count):
            ax = axes[index // columns][index % columns]
            _show(ax, frames[index], width % native == 0)
            ax.set_title(wrapped[index], fontsize=10, pad=4)
        for ax in axes[-1][count - (rows - 1) * columns :]:
            ax.remove()
    figure.few_colors = few_colors
    return figure


def pick_evenly(count: int, largest: int) -> list[int]:
    """Indices of at most `largest` frames, evenly spread, the first and the last included."""
    if largest < 1:
        raise ValueError(f"at least 1 frame must be shown, not {largest}.")
    if count <= largest:
        return list(range(count))
    return [int(i) for i in torch.linspace(0, count - 1, largest).round()]


def _check_strip(
    rows: Mapping[str, Tensor], labels: Sequence[str] | None, limits: Mapping[str, float]
) -> dict[str, Tensor]:
    """The rows of a film strip, scaled for display and all of one length."""
    if not isinstance(rows, Mapping) or not rows:
        raise ValueError('rows must be a dict such as {"x_t": frames}, with at least one row.')
    checked = {
        name: as_frames(frames, name=f"row {name!r}", limit=limits.get(name, display_limit(name)))
        for name, frames in rows.items()
    }
    counts = {name: len(frames) for name, frames in checked.items()}
    count = next(iter(counts.values()))
    if len(set(counts.values())) > 1:
        raise ValueError(f"every row needs the same number of frames, but got {counts}.")
    if labels is not None and len(labels) != count:
        raise ValueError(f"labels has {len(labels)} entries for {count} frames; give one each.")
    return checked


def film_strip(
    rows: Mapping[str, Tensor],
    labels: Sequence[str] | None = None,
    *,
    scale: float = 1.0,
    max_frames: int = 10,
    limits: Mapping[str, float] | None = None,
    few_colors: bool = False,
    alt: str | None = None,
) -> CourseFigure:
    """Show trajectories as rows of frames, one column for each moment.

    Parameters
    ----------
    rows : dict of str to Tensor (N, C, H, W)
        Row name to frames in [-1, 1]; all rows have the same N. Rows whose names start with
        eps, noise, score or velocity are shown from -3 to 3 instead.
    labels : list of str, optional
        One for each of the N frames, written above its column.
    scale : float
        Size of the pictures; 1 fits the text width.
    max_frames : int
        With more frames than this, an even selection is shown, first and last included.
    limits : dict of str to float, optional
        Row name to the value shown as full brightness, instead of the rule above.
    few_colors : bool
        Draw with 256 colours: half the bytes where the pictures are noisy.
    alt : str, optional
        Text alternative.

    Returns
    -------
    matplotlib.figure.Figure
    """
    checked = _check_strip(rows, labels, limits or {})
    count = len(next(iter(checked.values())))
    picked = pick_evenly(count, max_frames)
    native = max(frames.shape[-1] for frames in checked.values())
    shape = next(iter(checked.values())).shape
    left = round(max(len(name) for name in checked) * _CHARACTER * 1.15) + 12
    width = _tile_width(native, len(picked), left, scale)
    height = max(round(width * shape[-2] / shape[-1]), 1)
    texts = [_wrap(labels[index], width) for index in picked] if labels is not None else []
    head = _LINE * (1 + max(text.count("\n") for text in texts)) + 4 if texts else 0
    heads = [head] + [0] * (len(checked) - 1)
    alt = alt or f"film strip of {', '.join(checked)}: {len(picked)} of {count} frames"
    with course_style():
        figure, axes = _tiles(len(checked), len(picked), (width, height), left, heads, alt)
        for line, (name, frames) in zip(axes, checked.items(), strict=True):
            for ax, index in zip(line, picked, strict=True):
                _show(ax, frames[index], width % frames.shape[-1] == 0)
            line[0].text(
                -8 / width, 0.5, name, transform=line[0].transAxes, ha="right", va="center"
            )
        for ax, text in zip(axes[0], texts, strict=bool(texts)):
            ax.set_title(text, fontsize=10, pad=4)
    figure.few_colors = few_colors
    return figure


def before_after(
    before: Tensor,
    after: Tensor,
    *,
    names: tuple[str, str] = ("before", "after"),
    labels: Sequence[str] | None = None,
    scale: float = 1.0,
) -> CourseFigure:
    """Show two batches of the same images as two rows, one pair in each column.

    Parameters
    ----------
    before, after : Tensor, shape (N, C, H, W), values in [-1, 1]
    names : tuple of str
        What the two rows are called.
    labels : list of str, optional
        One for each pair.
    scale : float
        Size of the pictures; 1 fits the text width.
    """
    if names[0] == names[1]:
        raise ValueError(f"the two rows need different names, not {names[0]!r} twice.")
    return film_strip(
        {names[0]: before, names[1]: after}, labels, scale=scale, max_frames=len(before) or 1
    )


def heatmap_grid(
    maps: Mapping[str, Tensor],
    *,
    label: str = "value",
    columns: int | None = None,
    scale: float = 1.0,
    shared: bool = True,
    alt: str | None = None,
) -> CourseFigure:
    """Show maps of numbers, such as attention or error, in viridis with a colour bar.

    Parameters
    ----------
    maps : dict of str to Tensor (H, W)
        Title to map; any finite values.
    label : str
        What the colour means, with its unit.
    columns : int, optional
        Maps per row; by default at most 6.
    scale : float
        Size of the maps on the page.
    shared : bool
        One colour scale for all maps (they can be compared), or each its own.
    alt : str, optional
        Text alternative.
    """
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError('maps must be a dict such as {"nose": (H, W) tensor}, not empty.')
    values = {name: torch.as_tensor(one).detach().cpu().float() for name, one in maps.items()}
    for name, one in values.items():
        if one.ndim != 2 or one.numel() == 0 or not bool(torch.isfinite(one).all()):
            raise ValueError(
                f"map {name!r} must be a finite tensor (H, W), got shape {tuple(one.shape)}."
            )
    columns = min(columns or 6, len(values))
    rows = -(-len(values) // columns)
    low = min(float(one.min()) for one in values.values())
    high = max(float(one.max()) for one in values.values())
    edge = min(1.7, 7.0 / columns) * scale
    with course_style():
        figure = new_figure(
            columns * edge + 0.8, rows * (edge + 0.3), alt=alt or f"maps of {', '.join(values)}"
        )
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (name, one) in zip(grid, values.items(), strict=False):
            span = {"vmin": low, "vmax": high} if shared else {}
            drawn = ax.imshow(one.numpy(), interpolation="nearest", **span)
            ax.set_title(_wrap(name, int(edge * DPI)), fontsize=10)
        for ax in grid:
            ax.set_axis_off()
        if shared:
            figure.colorbar(drawn, ax=list(grid), label=label, shrink=0.9)
    return figure
