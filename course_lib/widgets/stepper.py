"""Step through the timesteps of a diffusion process, in the page and without the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import traitlets
from torch import Tensor

from course_lib.plotting import CourseFigure, film_strip, image_grid
from course_lib.plotting.images import pick_evenly
from course_lib.widgets.base import CourseWidget, page_script, page_style
from course_lib.widgets.moments import moment_label
from course_lib.widgets.stepper_state import STRIP_FRAMES, describe_stepper
from course_lib.widgets.trajectories import TRAJECTORY_ROWS, lock, record

_NAMES = ("_sprite", "_layout", "_info", "_chunk", "value", "fps", "loop")


class TimestepStepper(CourseWidget):
    r"""Frames of a trajectory with a slider, play button and keys; drawn by the page itself.

    All frames go to the page once, as one compressed picture. After that a step needs no kernel,
    so it keeps up with the slider. Keys: arrows, Page Up / Down, Home, End, space to play. The
    mouse brings a lens to all pictures at once; a finger that moves over a picture steps.

    Parameters
    ----------
    frames : Tensor (N, C, H, W), sequence of (C, H, W), or dict of str to either
        Frames in [-1, 1], or one such batch for each row, such as
        ``{"x_t": ..., "predicted x_0": ..., "eps": ...}``. C is 1 or 3. Values beyond the range
        are clipped. Rows whose names start with eps, noise, score or velocity are shown
        from -3 (black) over 0 (grey) to 3 (white).
    **options
        ``rows`` (str or sequence of str): which rows of the dict to show, in this order; for a
        single batch, its name.
        ``lines`` (dict of str to sequence of str): label to names of rows; each stands on a line
        of its own.
        ``timesteps`` (sequence of N numbers): the timestep t of each frame; -1 stands for a picture
        without noise. With a schedule of exactly N steps they default to 0 ... N - 1.
        ``schedule`` (NoiseSchedule): adds alpha-bar and SNR and their curves with a marker.
        ``alphas_cumprod`` (Tensor (T,)): the same from bare numbers in (0, 1].
        ``target`` (Tensor (C, H, W), or dict of row name to one): adds the MSE of pictures to it.
        By default the frame at t = -1, where there is exactly one; False for none.
        ``target_name`` (str): what the target is called, "x_0".
        ``attention`` (dict of str to Tensor (N, h, w) in [0, 1]): word to its maps, laid over the
        pictures; with lines also a dict of label to such a dict.
        ``histogram`` (bool): show each picture's pixel values beside the standard normal; the
        reader can switch it.
        ``titles`` (sequence of N str): a line of text for each frame.
        ``limits`` (dict of str to float): row name to the value shown as white.
        ``frame_size`` (int): width of a picture on the page in CSS pixels; by default a whole
        multiple of its own.
        ``quality`` (int): WebP quality, 1 to 100, 80 by default.
        ``lossless`` (bool): send exact pixels (PNG), at several times the size.
        ``caption`` (str): a sentence shown above the pictures.
        ``alt`` (str): text alternative; the caption or the row names by default.
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

    _scripts = ("transport.js", "inspect.js", "pictures.js", "stepper.js", "stepper_view.js")
    _styles, _names = ("stepper.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _sprite = traitlets.Bytes().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _info = traitlets.Dict().tag(sync=True)
    _chunk = traitlets.Dict().tag(sync=True)  # a moment that has just been sampled
    value = traitlets.Int(0, help="index of the frame shown").tag(sync=True)
    fps = traitlets.Float(10.0, min=0.5, max=60.0, help="frames per second").tag(sync=True)
    loop = traitlets.Bool(False, help="play for ever").tag(sync=True)

    def __init__(
        self,
        frames: Tensor | Sequence[Tensor] | Mapping[str, Tensor | Sequence[Tensor]],
        *,
        value: int = 0,
        fps: float = 10.0,
        loop: bool = False,
        **options: Any,
    ) -> None:
        state = describe_stepper(frames, **options)
        if not 0 <= value < state.count:
            raise ValueError(f"value must be a frame index in 0..{state.count - 1}, not {value}.")
        if not 0.5 <= fps <= 60:
            raise ValueError(f"fps must lie in 0.5..60 frames per second, not {fps}.")
        self._keep(state)
        super().__init__(**state.traits(), value=value, fps=fps, loop=loop)

    def _keep(self, state: Any) -> None:
        """Remember what the static film strip needs; the rest lives in the sprite."""
        self._strip_rows = state.strip_rows
        self._strip_png = b""

    @classmethod
    def from_trajectory(
        cls,
        steps: Iterable[Any],
        schedule: Any | None = None,
        *,
        rows: str | Sequence[str] = tuple(TRAJECTORY_ROWS),
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
            One frame for each step, and a last one with the result (the final ``x_prev``). The
            MSE is that to the result, unless a `target` is given.
        """
        reel = record(steps, rows, sample)
        options.setdefault("target_name", "x_0" if "target" in options else "result")
        options.setdefault("target", reel.result)
        return cls(reel.rows, schedule=schedule, timesteps=reel.times, **options)

    @classmethod
    def compare(
        cls,
        trajectories: Mapping[str, Iterable[Any]],
        schedule: Any | None = None,
        *,
        rows: str | Sequence[str] = ("x_t", "predicted x_0"),
        sample: int = 0,
        **options: Any,
    ) -> TimestepStepper:
        """Step through several trajectories side by side, locked together by their timesteps.

        Parameters
        ----------
        trajectories : dict of str to iterable of SampleStep
            Label to what a sampler yields: two samplers, two guidance scales, two seeds. The one
            with the most steps sets the time line; the others show the frame nearest in t.
        schedule, rows, sample, **options
            As in `from_trajectory`.
        """
        if not isinstance(trajectories, Mapping) or not trajectories:
            raise ValueError('trajectories must be a dict such as {"ddim": steps, "ddpm": steps}.')
        reels = {str(k): record(steps, rows, sample) for k, steps in trajectories.items()}
        return cls(schedule=schedule, **{**lock(reels), **options})

    @classmethod
    def from_pipeline(cls, pipe: Any, prompt: str, **options: Any) -> TimestepStepper:
        """Paint a prompt and watch: the frames appear in the page while the sampler runs.

        In a notebook the widget shows itself at once; as the last line of a cell it is not shown
        a second time. An exception of the pipeline is raised as usual.

        Parameters
        ----------
        pipe : diffusers pipeline
            What `load_pipeline` returns.
        prompt : str
            The prompt.
        **options
            ``rows``: any of ``x_t``, ``predicted x_0`` (both decoded) and ``eps`` (the first three
            channels of the latent noise estimate). ``words``: words of the prompt whose attention
            maps are shown. ``compare``: dict of label to settings, such as
            ``{"w = 1": {"guidance": 1}, "w = 6": {"guidance": 6}}``, for trajectories side by side;
            settings may hold another ``pipe``. ``negative_prompt``, ``seed``, ``steps``,
            ``guidance``, ``size``: as in `course_lib.pipelines.paint_steps`. The rest as for
            `TimestepStepper`.

        Returns
        -------
        TimestepStepper
            One frame for each step and a last one with the finished picture.
        """
        from course_lib.widgets.streaming import stream_pipeline

        return stream_pipeline(cls, pipe, prompt, **options)

    @traitlets.validate("value")
    def _check_value(self, proposal: dict[str, Any]) -> int:
        last = len(self._layout["at"][0]) - 1
        if not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(
                f"value must be a frame index in 0..{last}, not {proposal['value']}."
            )
        return proposal["value"]

    def film_strip(self) -> CourseFigure:
        """About eight of the frames as a still figure, for pages without a kernel or script.

        A single row is cut into two lines, so that its pictures are large enough to see.
        """
        picked = pick_evenly(len(self._layout["at"][0]), STRIP_FRAMES)
        labels = [moment_label(self._info, index) for index in picked]
        if len(self._strip_rows) == 1 and len(picked) == STRIP_FRAMES:
            (frames,) = self._strip_rows.values()
            return image_grid(frames, labels, columns=STRIP_FRAMES // 2, alt=self._info["alt"])
        # The rows are already scaled to [-1, 1], hence the limit of 1 for all of them.
        ones = dict.fromkeys(self._strip_rows, 1.0)
        return film_strip(
            self._strip_rows, labels, max_frames=STRIP_FRAMES, limits=ones, alt=self._info["alt"]
        )

    still = film_strip

    def _png(self) -> bytes:
        if self._strip_rows and not self._strip_png:
            self._strip_png = super()._png()
        return self._strip_png  # empty while the frames are still to come

    def alt_text(self) -> str:
        """What the widget shows, in words."""
        return self._info["alt"]

    def __repr__(self) -> str:
        layout, times = self._layout, self._info["t"]
        text = f"{len(layout['at'][0])} frames of {layout['width']} x {layout['height']}"
        text += f"; rows: {', '.join(layout['rows'])}"
        if times and None not in times:  # None: not painted yet
            first, last = ("clean" if t < 0 else f"{t:g}" for t in (times[0], times[-1]))
            text += f"; t = {first} ... {last}"
        return f"TimestepStepper({text})"
