"""Step through the timesteps of a diffusion process, in the page and without the kernel."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.plotting import CourseFigure, as_frames, display_limit, film_strip
from course_lib.plotting.images import pick_evenly
from course_lib.widgets.moments import describe_moments, moment_label
from course_lib.widgets.sprite import pack_sprite, small_png

_HERE = Path(__file__).parent
# Joined in this order they are one ECMAScript module; all but the last know nothing of Jupyter.
SCRIPTS = ("parts.js", "stepper.js", "jupyter.js")
_STRIP_FRAMES = 8
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# Row name in the widget -> field of a SampleStep
_TRAJECTORY_ROWS = {"x_t": "x_t", "predicted x_0": "x_0_hat", "eps": "eps_hat"}


class TimestepStepper(anywidget.AnyWidget):
    r"""Frames of a trajectory with a slider, play button and keys; drawn by the page itself.

    All frames go to the page once, as one compressed picture. After that a step needs no kernel,
    so it keeps up with the slider. Keys: arrows, Page Up / Down, Home, End, space to play.

    Parameters
    ----------
    frames : Tensor (N, C, H, W), sequence of (C, H, W), or dict of str to either
        Frames in [-1, 1], or one such batch for each row, such as
        ``{"x_t": ..., "predicted x_0": ..., "eps": ...}``. C is 1 or 3. Values beyond the range
        are clipped. Rows whose names start with eps, noise, score or velocity are shown
        from -3 (black) over 0 (grey) to 3 (white).
    rows : str or sequence of str, optional
        Which rows of the dict to show, in this order; for a single batch, its name.
    timesteps : sequence of N numbers, optional
        The timestep t of each frame; -1 stands for a picture without noise. With a schedule of
        exactly N steps they default to 0 ... N - 1.
    schedule : NoiseSchedule, optional
        Adds the numbers alpha-bar and SNR and their curves with a moving marker.
    alphas_cumprod : Tensor (T,), optional
        The same from bare numbers, :math:`\bar\alpha_t` in (0, 1].
    titles : sequence of N str, optional
        A line of text for each frame.
    limits : dict of str to float, optional
        Row name to the value shown as white, instead of the rule above.
    frame_size : int, optional
        Width of a picture on the page in CSS pixels; by default a whole multiple of its own.
    quality : int
        WebP quality, 1 to 100.
    lossless : bool
        Send exact pixels (PNG), at several times the size.
    caption : str
        A sentence shown above the pictures.
    alt : str, optional
        Text alternative for those who cannot see them; the caption or the row names by default.
    value : int
        The frame shown first. The trait follows the page and moves it, in both directions.
    fps : float
        Frames per second while playing, 0.5 to 60; the page shows at most 4 where the reader's
        system asks for reduced motion.
    loop : bool
        Begin again after the last frame.

    Raises
    ------
    ValueError
        For empty, mixed-size, NaN, integer or far-out frames, and for lists whose length is not N.

    Examples
    --------
    >>> TimestepStepper(torch.zeros(2, 3, 8, 8), rows="x_t", timesteps=[0, 9])
    TimestepStepper(2 frames of 8 x 8; rows: x_t; t = 0 ... 9)
    """

    _esm = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    _css = (_HERE / "stepper.css").read_text(encoding="utf-8")
    # ipywidgets 7 displays through this hook, which would bypass the film strip below.
    _ipython_display_ = None

    _sprite = traitlets.Bytes().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _info = traitlets.Dict().tag(sync=True)
    value = traitlets.Int(0, help="index of the frame shown").tag(sync=True)
    fps = traitlets.Float(10.0, min=0.5, max=60.0, help="frames per second").tag(sync=True)
    loop = traitlets.Bool(False, help="play for ever").tag(sync=True)

    def __init__(
        self,
        frames: Tensor | Sequence[Tensor] | Mapping[str, Tensor | Sequence[Tensor]],
        *,
        rows: str | Sequence[str] | None = None,
        timesteps: Sequence[float] | Tensor | None = None,
        schedule: Any | None = None,
        alphas_cumprod: Tensor | None = None,
        titles: Sequence[str] | None = None,
        limits: Mapping[str, float] | None = None,
        frame_size: int | None = None,
        quality: int = 80,
        lossless: bool = False,
        caption: str = "",
        alt: str | None = None,
        value: int = 0,
        fps: float = 10.0,
        loop: bool = False,
    ) -> None:
        checked = _check_rows(frames, rows, limits or {})
        sprite, layout = pack_sprite(checked, quality=quality, lossless=lossless)
        count = layout["count"]
        if not 0 <= value < count:
            raise ValueError(f"value must be a frame index in 0..{count - 1}, not {value}.")
        if not 0.5 <= fps <= 60:
            raise ValueError(f"fps must lie in 0.5..60 frames per second, not {fps}.")
        info = describe_moments(count, timesteps, schedule, alphas_cumprod, titles)
        alt = alt or caption or f"{count} frames of {', '.join(checked)}"
        info |= {"caption": caption, "alt": alt, "frame_size": _page_width(frame_size, layout)}
        # The static film strip needs these few only; the rest lives in the sprite.
        self._strip_indices = pick_evenly(count, _STRIP_FRAMES)
        self._strip_rows = {name: batch[self._strip_indices] for name, batch in checked.items()}
        self._png = b""
        super().__init__(
            _sprite=sprite, _layout=layout, _info=info, value=value, fps=fps, loop=loop
        )

    @classmethod
    def from_trajectory(
        cls,
        steps: Iterable[Any],
        schedule: Any | None = None,
        *,
        rows: str | Sequence[str] = tuple(_TRAJECTORY_ROWS),
        sample: int = 0,
        **options: Any,
    ) -> TimestepStepper:
        """Run or replay a sampler and step through what it did.

        Parameters
        ----------
        steps : iterable of SampleStep
            What `course_lib.sample` yields: ``t``, ``x_t``, ``x_0_hat``, ``eps_hat``, ``x_prev``.
        schedule : NoiseSchedule, optional
            The sampler's schedule, for SNR and alpha-bar.
        rows : str or sequence of str
            Any of ``x_t``, ``predicted x_0``, ``eps``.
        sample : int
            Which image of the batch.
        **options
            Everything else that `TimestepStepper` takes.

        Returns
        -------
        TimestepStepper
            One frame for each step, and a last one with the result (the final ``x_prev``).
        """
        names = [rows] if isinstance(rows, str) else list(rows)
        for name in names:
            check_choice("row", name, _TRAJECTORY_ROWS)
        frames: dict[str, list[Tensor]] = {name: [] for name in names}
        times: list[float] = []
        result = None
        for step in steps:
            if not 0 <= sample < len(step.x_t):
                raise ValueError(
                    f"sample must lie in 0..{len(step.x_t) - 1} for this batch, not {sample}."
                )
            for name in names:
                frames[name].append(getattr(step, _TRAJECTORY_ROWS[name])[sample].detach().cpu())
            times.append(float(step.t))
            result = step.x_prev[sample].detach().cpu()
        if result is None:
            raise ValueError("steps is empty; a generator can be used only once, so make it anew.")
        for name in names:
            # The model says nothing about the finished picture, so its last words stay.
            frames[name].append(result if name == "x_t" else frames[name][-1])
        return cls(frames, schedule=schedule, timesteps=[*times, -1], **options)

    @traitlets.validate("value")
    def _check_value(self, proposal: dict[str, Any]) -> int:
        last = self._layout["count"] - 1
        if not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(
                f"value must be a frame index in 0..{last}, not {proposal['value']}."
            )
        return proposal["value"]

    def film_strip(self) -> CourseFigure:
        """About eight of the frames as a still figure, for pages without a kernel or script."""
        labels = [moment_label(self._info, index) for index in self._strip_indices]
        # The rows are already scaled to [-1, 1], hence the limit of 1 for all of them.
        ones = dict.fromkeys(self._strip_rows, 1.0)
        return film_strip(
            self._strip_rows, labels, max_frames=_STRIP_FRAMES, limits=ones, alt=self._info["alt"]
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget, and beside it a film strip and plain text for every other reader."""
        parent = getattr(super(), "_repr_mimebundle_", None)  # absent under ipywidgets 7
        data, metadata = (parent(**kwargs) if parent else None) or ({}, {})
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        self._png = self._png or small_png(self.film_strip().png())
        png = base64.b64encode(self._png).decode("ascii")
        data = {_WIDGET_VIEW: view, **data, "image/png": png, "text/plain": repr(self)}
        return data, {**metadata, "image/png": {"alt": self._info["alt"]}}

    def __repr__(self) -> str:
        layout, times = self._layout, self._info["t"]
        text = f"{layout['count']} frames of {layout['width']} x {layout['height']}"
        text += f"; rows: {', '.join(layout['rows'])}"
        if times:
            first, last = ("clean" if t < 0 else f"{t:g}" for t in (times[0], times[-1]))
            text += f"; t = {first} ... {last}"
        return f"TimestepStepper({text})"


def _check_rows(frames: Any, rows: Any, limits: Mapping[str, float]) -> dict[str, Tensor]:
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
    checked = {
        name: as_frames(
            frames[name], name=f"row {name!r}", limit=limits.get(name, display_limit(name))
        )
        for name in names or frames
    }
    shapes = {name: (len(batch), *batch.shape[2:]) for name, batch in checked.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"all rows need the same number of frames and the same size, but (N, H, W) are "
            f"{shapes}. Resize with torch.nn.functional.interpolate(..., mode='nearest')."
        )
    return checked


def _page_width(frame_size: int | None, layout: Mapping[str, Any]) -> int:
    """Width of a picture in CSS pixels; a whole multiple of its own keeps the pixels square."""
    if frame_size is not None:
        if not 16 <= frame_size <= 1024:
            raise ValueError(f"frame_size must lie in 16..1024 CSS pixels, not {frame_size}.")
        return int(frame_size)
    room = 288 if len(layout["rows"]) == 1 else 208
    return max(room // layout["width"], 1) * layout["width"] if layout["width"] < room else room
