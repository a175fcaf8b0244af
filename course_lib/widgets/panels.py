"""What a stepper shows and where: rows of frames, lines of rows, attention maps over pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.plotting import as_frames, display_limit

ATTENTION = "attention"


@dataclass
class Panels:
    """Checked rows of one shape.

    Attributes
    ----------
    shown : dict of str to Tensor (N, C, H, W)
        What is drawn, in [-1, 1].
    raw : dict of str to Tensor (N, C, H, W)
        The values behind it, unclipped; rows of attention have none.
    limits : dict of str to float
        The value that is drawn as white; 0 for rows of attention.
    lines : list of dict
        What stands where on the page, as JSON.
    """

    shown: dict[str, Tensor]
    raw: dict[str, Tensor]
    limits: dict[str, float]
    lines: list[dict[str, Any]] = field(default_factory=list)


def build_panels(
    frames: Any,
    rows: str | Sequence[str] | None,
    limits: Mapping[str, float],
    lines: Mapping[str, Sequence[str]] | None,
    attention: Mapping[str, Any] | None,
) -> Panels:
    """Check everything that a stepper is given to draw, and lay it out."""
    panels = _check_rows(frames, rows, limits)
    if lines is None:
        panels.lines = [{"label": "", "panels": [_panel(panels, [name]) for name in panels.shown]}]
    else:
        panels.lines = _lay_out(panels, lines)
    if attention:
        _add_attention(panels, attention)
    return panels


def _check_rows(frames: Any, rows: Any, limits: Mapping[str, float]) -> Panels:
    """Turn every accepted form of `frames` into checked rows of one shape."""
    names = [rows] if isinstance(rows, str) else None if rows is None else list(rows)
    if not isinstance(frames, Mapping):
        if names is not None and len(names) != 1:
            raise ValueError(f"frames is a single batch, so rows must be one name, not {names}.")
        frames = {names[0] if names else "x_t": frames}
    if not frames or names == []:
        raise ValueError('frames is empty; give a tensor (N, C, H, W) or {"x_t": tensor, ...}.')
    for name in [*(names or []), *limits]:
        check_choice("row", name, frames)
    names = names or list(frames)
    used = {name: float(limits.get(name, display_limit(name))) for name in names}
    shown = {n: as_frames(frames[n], name=f"row {n!r}", limit=used[n]) for n in names}
    shapes = {name: (len(batch), *batch.shape[2:]) for name, batch in shown.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"all rows need the same number of frames and the same size, but (N, H, W) are "
            f"{shapes}. Resize with torch.nn.functional.interpolate(..., mode='nearest')."
        )
    return Panels(shown, {name: _raw(frames[name]) for name in names}, used)


def _raw(frames: Tensor | Sequence[Tensor]) -> Tensor:
    """The values themselves; `as_frames` has checked them, and clips what it returns."""
    stacked = frames if isinstance(frames, Tensor) else torch.stack([f.cpu() for f in frames])
    return stacked.detach().cpu().float()


def _panel(panels: Panels, names: list[str], title: str = "", choices: Sequence[str] = ()) -> dict:
    order = list(panels.shown)
    return {
        "title": title or names[0],
        "rows": [order.index(name) for name in names],
        "choices": list(choices),
    }


def _lay_out(panels: Panels, lines: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """One line of panels for each label; a row called "ddim: x_t" is titled x_t in line ddim."""
    if not isinstance(lines, Mapping) or not lines:
        raise ValueError('lines must be a dict such as {"ddim": ["ddim: x_t", "ddim: eps"]}.')
    lines = {str(k): [v] if isinstance(v, str) else list(v) for k, v in lines.items()}
    named = [name for names in lines.values() for name in names]
    for name in named:
        check_choice("row", name, panels.shown)
    if set(named) != set(panels.shown):
        missing = sorted(set(panels.shown) - set(named))
        raise ValueError(f"lines leaves out {missing}; name every row, or choose with rows=[...].")
    return [
        {
            "label": label,
            "panels": [
                _panel(panels, [name], name.removeprefix(label).lstrip(" :")) for name in names
            ],
        }
        for label, names in lines.items()
    ]


def _add_attention(panels: Panels, attention: Mapping[str, Any]) -> None:
    """Lay maps over the pictures of each line; a list on the page chooses the word."""
    for_lines = all(isinstance(maps, Mapping) for maps in attention.values())
    for label in attention if for_lines else ():
        check_choice("line", label, [line["label"] for line in panels.lines])
    order = list(panels.shown)
    for line in panels.lines:
        label = line["label"]
        maps = attention.get(label, {}) if for_lines else attention
        names = [order[panel["rows"][0]] for panel in line["panels"]]
        pictures = [name for name in names if panels.limits[name] == 1] or names
        # The predicted x_0 shows earlier than x_t what the model is painting.
        under = panels.shown[next((name for name in pictures if "x_0" in name), pictures[0])]
        added = [f"{label}: {ATTENTION} {word}".removeprefix(": ") for word in maps]
        for name, (word, one) in zip(added, maps.items(), strict=True):
            panels.shown[name] = overlay(one, under, word)
            panels.limits[name] = 0.0  # colours without a scale of their own
        if added:
            line["panels"].append(_panel(panels, added, ATTENTION, list(maps)))


def overlay(maps: Tensor, pictures: Tensor, word: str = "word") -> Tensor:
    """Colour pictures by maps: dark where a word is not looked at, bright where it is.

    Parameters
    ----------
    maps : Tensor (N, h, w) in [0, 1]
        Enlarged smoothly to the pictures' size. The largest value of all N maps is drawn as the
        brightest colour, since a word's share of the attention is seldom near 1.
    pictures : Tensor (N, C, H, W) in [-1, 1]
    word : str
        Used in the messages.

    Returns
    -------
    Tensor (N, 3, H, W) in [-1, 1]
    """
    from matplotlib import colormaps

    maps = torch.as_tensor(maps).detach().cpu().float()
    count, _, height, width = pictures.shape
    finite = bool(torch.isfinite(maps).all())
    if maps.ndim != 3 or len(maps) != count or not finite or maps.min() < 0 or maps.max() > 1:
        raise ValueError(
            f"the attention maps of {word!r} must be (N, h, w) in [0, 1] with N = {count} as for "
            f"the frames; got shape {tuple(maps.shape)}."
        )
    large = torch.nn.functional.interpolate(
        maps[:, None], (height, width), mode="bilinear", align_corners=False
    )[:, 0]
    large = large / large.max().clamp_min(1e-6)
    colours = torch.from_numpy(colormaps["inferno"](large.numpy())[..., :3]).float()
    grey = (pictures.mean(1, keepdim=True) + 1) / 2
    share = 0.35 + 0.5 * large[:, None]
    return ((1 - share) * grey + share * colours.movedim(-1, 1)) * 2 - 1


def page_width(frame_size: int | None, width: int, panels: int) -> int:
    """Width of a picture in CSS pixels; a whole multiple of its own keeps the pixels square."""
    if frame_size is not None:
        if not 16 <= frame_size <= 1024:
            raise ValueError(f"frame_size must lie in 16..1024 CSS pixels, not {frame_size}.")
        return int(frame_size)
    room = 288 if panels == 1 else 208
    whole = room // width * width
    # Much smaller than the room there is would waste it; the page then enlarges smoothly.
    return whole if whole >= 0.75 * room else room
