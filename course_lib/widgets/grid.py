"""Painted beforehand: the same prompt with other steps, guidance and seeds, to be scrubbed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
import traitlets
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.plotting import CourseFigure, as_frames, image_grid
from course_lib.tensors import from_pil
from course_lib.widgets.base import CourseWidget, page_script, page_style
from course_lib.widgets.progress import with_bar
from course_lib.widgets.sprite import pack_sprite

_NAMES = ("_sprite", "_layout", "_info", "steps", "guidance", "seed")
_STILL_ROWS, _STILL_COLUMNS = 4, 6


class GuidanceGrid(CourseWidget):
    """Pictures over steps, guidance and seed: sliders, keys or a touch choose one.

    Parameters
    ----------
    images : dict of (steps, guidance, seed) to picture
        A picture for each combination: tensors (3, H, W) in [-1, 1] or PIL images, of one size.
    caption, alt : str
        A sentence above the widget, such as the prompt; a text alternative.
    quality : int
        WebP quality, 1 to 100.
    frame_size : int
        Width of the large picture in CSS pixels, 64 to 1024.
    labels : dict of str to str, optional
        Other names for the axes ``steps``, ``guidance`` and ``seed``, such as
        ``{"guidance": "strength"}``: any two or three numbers may be compared.
    steps, guidance, seed : number, optional
        What is shown first; by default the most steps, the middle guidance and the first seed.
        The traits of these names follow the page and move it.

    Raises
    ------
    ValueError
        If a combination is missing, or pictures differ in size or are none.
    """

    _scripts, _styles, _names = ("grid.js",), ("grid.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _sprite = traitlets.Bytes().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _info = traitlets.Dict().tag(sync=True)
    steps = traitlets.Int(help="sampling steps of the picture shown").tag(sync=True)
    guidance = traitlets.Float(help="guidance scale of the picture shown").tag(sync=True)
    seed = traitlets.Int(help="seed of the picture shown").tag(sync=True)

    def __init__(
        self,
        images: Mapping[tuple[int, float, int], Any],
        *,
        caption: str = "",
        alt: str = "",
        quality: int = 85,
        frame_size: int = 320,
        labels: Mapping[str, str] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
    ) -> None:
        axes = _axes(images)
        if not 64 <= frame_size <= 1024:
            raise ValueError(f"frame_size must lie in 64..1024 CSS pixels, not {frame_size}.")
        frames = as_frames([_as_tensor(images[key]) for key in product(*axes.values())])
        sprite, layout = pack_sprite({"picture": frames}, quality=quality)
        info = {**axes, "caption": caption, "frame_size": frame_size}
        for name in labels or ():
            check_choice("axis", name, axes)
        info["labels"] = {name: name for name in axes} | dict(labels or {})
        info["alt"] = (
            alt or caption or f"{len(frames)} pictures over {', '.join(info['labels'].values())}"
        )
        first = {
            "steps": max(axes["steps"]) if steps is None else steps,
            "guidance": axes["guidance"][len(axes["guidance"]) // 2]
            if guidance is None
            else guidance,
            "seed": axes["seed"][0] if seed is None else seed,
        }
        for name, value in first.items():
            _check_value(name, value, axes[name])
        self._shape = [len(values) for values in axes.values()]
        self._frames = frames
        super().__init__(_sprite=sprite, _layout=layout, _info=info, **first)

    @classmethod
    def from_pipeline(
        cls,
        pipe: Any,
        prompt: str,
        *,
        steps: Sequence[int] = (4, 8, 16, 30),
        guidance: Sequence[float] = (1.0, 2.0, 4.0, 7.5, 12.0),
        seeds: Sequence[int] = (0, 1),
        negative_prompt: str = "",
        size: int | None = None,
        progress: bool = True,
        backend: Any | None = None,
        **options: Any,
    ) -> GuidanceGrid:
        """Paint every combination now, with a progress bar, and show them.

        Parameters
        ----------
        pipe : pipeline or str
            A loaded pipeline, or the name of a model.
        prompt, negative_prompt : str
            What to paint and what to avoid.
        steps, guidance, seeds : sequence of numbers
            The axes. The number of pictures is the product of their lengths.
        size : int, optional
            Pixels along an edge; by default the model's own.
        progress : bool
            Show a progress bar.
        backend : object, optional
            Something with a function ``paint``; `course_lib.pipelines` by default.
        **options
            Everything else that `GuidanceGrid` takes.
        """
        backend = backend or importlib.import_module("course_lib.pipelines")
        keys = list(product(steps, guidance, seeds))
        if not keys:
            raise ValueError("steps, guidance and seeds each need at least one value.")
        painted = {}
        for key in with_bar(keys, "Painting") if progress else keys:
            painted[key] = backend.paint(
                prompt, model=pipe, steps=key[0], guidance=key[1], seed=key[2],
                negative_prompt=negative_prompt, size=size,
            )[0]  # fmt: skip
        return cls(painted, **{"caption": prompt, **options})

    def picture(self) -> Tensor:
        """The picture shown now, shape (3, H, W) in [-1, 1]."""
        return self._frames[self._index(self.steps, self.guidance, self.seed)]

    def _index(self, *key: float) -> int:
        index = 0
        for name, size, value in zip(("steps", "guidance", "seed"), self._shape, key, strict=True):
            index = index * size + self._info[name].index(value)
        return index

    def still(self) -> CourseFigure:
        """Guidance over steps for the present seed, as a figure."""
        rows, columns = (
            _thin(self._info[name], most)
            for name, most in (("steps", _STILL_ROWS), ("guidance", _STILL_COLUMNS))
        )
        keys = list(product(rows, columns))
        names = self._info["labels"]
        second = "g =" if names["guidance"] == "guidance" else names["guidance"]
        titles = [f"{steps} {names['steps']}, {second} {guidance:g}" for steps, guidance in keys]
        picked = [self._index(*key, self.seed) for key in keys]
        return image_grid(self._frames[picked], titles, columns=len(columns), alt=self.alt_text())

    def alt_text(self) -> str:
        """The picture in one sentence."""
        return self._info["alt"]

    @traitlets.validate("steps", "guidance", "seed")
    def _valid(self, proposal: dict[str, Any]) -> float:
        try:
            name = proposal["trait"].name
            return _check_value(name, proposal["value"], self._info[name])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error

    def __repr__(self) -> str:
        counts = " x ".join(f"{len(self._info[name])} {name}" for name in ("steps", "guidance"))
        return f"GuidanceGrid({counts} x {len(self._info['seed'])} seeds)"


def _axes(images: Any) -> dict[str, list]:
    """The sorted values of the three axes; every combination must be there."""
    if not isinstance(images, Mapping) or not images:
        raise ValueError("images must be a dict {(steps, guidance, seed): picture}, not empty.")
    for key in images:
        if not isinstance(key, tuple) or len(key) != 3:
            raise ValueError(f"keys of images are (steps, guidance, seed), not {key!r}.")
    steps, guidance, seeds = (sorted({key[axis] for key in images}) for axis in range(3))
    axes = {
        "steps": [int(value) for value in steps],
        "guidance": [float(value) for value in guidance],
        "seed": [int(value) for value in seeds],
    }
    missing = [key for key in product(*axes.values()) if key not in images]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(steps) * len(guidance) * len(seeds)} combinations are "
            f"missing, such as (steps, guidance, seed) = {missing[0]}; paint every combination."
        )
    return axes


def _as_tensor(picture: Any) -> Tensor:
    if isinstance(picture, Tensor):
        return picture.expand(3, -1, -1) if picture.ndim == 3 and len(picture) == 1 else picture
    if hasattr(picture, "convert"):
        return from_pil(picture)
    raise ValueError(
        f"a picture must be a tensor (3, H, W) or a PIL image, not {type(picture).__name__}."
    )


def _check_value(name: str, value: float, allowed: Sequence[float]) -> float:
    if value not in allowed:
        raise ValueError(f"there is no picture with {name} = {value}; there are {allowed}.")
    return value


def _thin(values: Sequence[float], most: int) -> list[float]:
    """At most `most` of the values, evenly spread."""
    picked = torch.linspace(0, len(values) - 1, min(most, len(values))).round().long()
    return [values[int(k)] for k in picked]
