"""Show a pipeline at work: frames go to the page one by one while the sampler runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.plotting import display_limit
from course_lib.tensors import to_uint8
from course_lib.widgets.base import CourseWidget
from course_lib.widgets.display import show_early, shown_once
from course_lib.widgets.moments import describe_moments
from course_lib.widgets.panels import page_width
from course_lib.widgets.sprite import compress, describe_grid, plan_grid
from course_lib.widgets.stepper_state import describe_stepper
from course_lib.widgets.trajectories import Reel, lock

ROWS = ("x_t", "predicted x_0", "eps")
_PAINT_OPTIONS = ("negative_prompt", "seed", "steps", "guidance", "size", "scheduler")


def stream_pipeline(
    widget_class: type,
    pipe: Any,
    prompt: str,
    *,
    rows: str | Sequence[str] = ("x_t", "predicted x_0"),
    words: str | Sequence[str] = (),
    compare: Mapping[str, Mapping[str, Any]] | None = None,
    value: int | None = None,
    fps: float = 10.0,
    loop: bool = False,
    **options: Any,
) -> Any:
    """Run `paint_steps`, filling a widget on the way; see `TimestepStepper.from_pipeline`."""
    names = [rows] if isinstance(rows, str) else list(rows)
    for name in names:
        check_choice("row", name, ROWS)
    words = [words] if isinstance(words, str) else list(words)
    settings = {name: options.pop(name) for name in _PAINT_OPTIONS if name in options}
    runs = {str(k): dict(v) for k, v in (compare or {"": {}}).items()}
    live = _Live(widget_class, list(runs), names, {"fps": fps, "loop": loop}, options)
    reels: dict[str, Reel] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for label, own in runs.items():
        chosen = own.pop("pipe", pipe)
        with _recording(chosen, words) as maps:
            reels[label] = _run(chosen, prompt, {**settings, **own}, names, label, live)
        attention[label] = {w: _maps(maps, chosen, prompt, w, reels[label]) for w in words}
    return live.finish(reels, attention if words else {}, value)


def _recording(pipe: Any, words: Sequence[str]) -> Any:
    if not words:
        return nullcontext()
    from course_lib.pipelines.attention import record_attention

    return record_attention(pipe)


def _maps(maps: Any, pipe: Any, prompt: str, word: str, reel: Reel) -> Tensor:
    """One map for each step; the finished picture keeps the last one."""
    found = maps.for_word(pipe, prompt, word).detach().cpu().float().clamp(0, 1)
    # Some samplers ask the model more than once in a step.
    picked = torch.linspace(0, len(found) - 1, len(reel) - 1).round().long()
    return found[[*picked.tolist(), -1]]


def _run(
    pipe: Any, prompt: str, settings: dict[str, Any], names: list[str], label: str, live: _Live
) -> Reel:
    """One trajectory; every step goes to the page as soon as it is there."""
    from course_lib.pipelines import decode_latents, paint_steps

    reel = Reel({name: [] for name in names}, [], torch.empty(0))
    alphas = getattr(pipe.scheduler, "alphas_cumprod", None)
    last = None
    for step in paint_steps(pipe, prompt, **settings):
        pictures = dict(_pictures(pipe, step, names, alphas, decode_latents))
        for name, picture in pictures.items():
            reel.rows[name].append(picture)
        reel.times.append(float(step.t))
        live.show(label, step.i, step.total + 1, float(step.t), pictures, alphas)
        last = step
    if last is None:
        raise ValueError("the pipeline made no step; ask for steps >= 1.")
    reel.result = decode_latents(pipe, last.latents_next[:1])[0].detach().cpu().float()
    return reel.finish()


def _pictures(
    pipe: Any, step: Any, names: list[str], alphas: Tensor | None, decode: Any
) -> Iterator[tuple[str, Tensor]]:
    """The rows of one step as (C, H, W); the picture's size is that of the decoded latents."""
    clean = decode(pipe, step.x_0_hat[:1])[0].detach().cpu().float()
    for name in names:
        if name == "predicted x_0":
            yield name, clean
        elif name == "x_t":
            yield name, decode(pipe, step.latents[:1])[0].detach().cpu().float()
        else:
            yield name, _enlarge(_noise(step, alphas), clean.shape[-2:])


def _noise(step: Any, alphas: Tensor | None) -> Tensor:
    """The noise estimate that goes with x_0_hat, latent channels (C, h, w)."""
    if alphas is None:
        raise ValueError("row 'eps' needs a scheduler with alphas_cumprod; leave it out of rows.")
    alpha = float(_alpha_at(step.t, alphas))
    x_t, x_0 = step.latents[0].detach().cpu().float(), step.x_0_hat[0].detach().cpu().float()
    return (x_t - alpha**0.5 * x_0) / max(1 - alpha, 1e-6) ** 0.5


def _enlarge(latent: Tensor, size: Sequence[int]) -> Tensor:
    """The first three channels, each value as a square block."""
    three = latent[:3] if len(latent) >= 3 else latent[:1]
    return torch.nn.functional.interpolate(three[None], tuple(size), mode="nearest")[0]


def _alpha_at(t: float, alphas: Tensor) -> Tensor:
    return alphas[min(max(round(float(t)), 0), len(alphas) - 1)].cpu().double()


class _Live:
    """The widget while its frames arrive: made at the first step, completed at the end."""

    def __init__(
        self,
        widget_class: type,
        labels: list[str],
        names: list[str],
        traits: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self.widget_class, self.labels, self.names = widget_class, labels, names
        self.traits, self.options = traits, options
        self.widget: Any = None
        self.alphas: Tensor | None = None
        self.handle: Any = None

    def _rows(self) -> list[str]:
        return [
            f"{label}: {name}".removeprefix(": ") for label in self.labels for name in self.names
        ]

    def _open(self, count: int, picture: Tensor, alphas: Tensor | None) -> None:
        """Show an empty widget of the right shape."""
        self.alphas = alphas
        rows, (height, width) = self._rows(), picture.shape[-2:]
        columns, lines = plan_grid(count * len(rows), width, height)
        at = [list(range(k * count, (k + 1) * count)) for k in range(len(rows))]
        layout = describe_grid(rows, at, columns, lines, width, height, False)
        layout["limits"] = [display_limit(name) for _ in self.labels for name in self.names]
        # Without a time for any frame yet, only the curve is asked for.
        info = describe_moments(1, [-1], None, alphas, None)
        for key in ("t", "alpha_bar", "snr"):
            info[key] = None if info[key] is None else [None] * count
        caption = self.options.get("caption", "")
        info |= {
            "caption": caption,
            "alt": self.options.get("alt") or caption or "a portrait being painted",
            "frame_size": page_width(self.options.get("frame_size"), width, len(self.names)),
            "lines": self._lines(),
            "mse": None,
            "bins": None,
            "histogram": False,
        }
        # Its own __init__ wants all frames at once; these are still to come.
        self.widget = self.widget_class.__new__(self.widget_class)
        self.widget._strip_rows, self.widget._strip_png = {}, b""
        CourseWidget.__init__(self.widget, _layout=layout, _info=info, **self.traits)
        self.widget._needs_kernel = True  # until all frames are there
        self.handle = show_early(self.widget)
        if self.handle is not None:
            self.widget._ipython_display_ = shown_once(self.widget)

    def _lines(self) -> list[dict[str, Any]]:
        width = len(self.names)
        return [
            {
                "label": label,
                "panels": [
                    {"title": name, "rows": [k * width + j], "choices": []}
                    for j, name in enumerate(self.names)
                ],
            }
            for k, label in enumerate(self.labels)
        ]

    def show(
        self,
        label: str,
        index: int,
        count: int,
        t: float,
        pictures: Mapping[str, Tensor],
        alphas: Tensor | None,
    ) -> None:
        """Send one moment of one trajectory to the page."""
        if self.widget is None:
            self._open(count, next(iter(pictures.values())), alphas)
        last = len(self.widget._layout["at"][0]) - 1
        column = [
            to_uint8((one / display_limit(name)).clamp(-1, 1).expand(3, -1, -1))
            for name, one in pictures.items()
        ]
        moment: dict[str, Any] = {"t": t}
        if self.alphas is not None:
            alpha = float(_alpha_at(t, self.alphas))
            moment |= {"alpha_bar": alpha, "snr": alpha / max(1 - alpha, 1e-12)}
        first = self.labels.index(label) * len(self.names)
        self.widget._chunk = {
            "index": min(index, last),  # another sampler may take more steps than the first
            "rows": list(range(first, first + len(self.names))),
            "moment": moment,
            "data": compress(torch.cat([torch.from_numpy(c) for c in column]).numpy()),
        }

    def finish(self, reels: dict[str, Reel], attention: dict[str, Any], value: int | None) -> Any:
        """Replace the passing frames by the finished set with all of its numbers."""
        options = {"alphas_cumprod": self.alphas, **self.options}
        if list(reels) == [""]:
            reel = reels[""]
            given = {"frames": reel.rows, "timesteps": reel.times}
            given |= {"target": reel.result, "target_name": "result"}
            attention = attention.get("", {})
        else:
            given = lock(reels)
        state = describe_stepper(**{**given, "attention": attention, **options})
        widget = self.widget
        widget._keep(state)
        widget._needs_kernel = False
        with widget.hold_sync():
            for name, one in {**state.traits(), "_chunk": {}}.items():
                setattr(widget, name, one)
            widget.value = state.count - 1 if value is None else value
        if self.handle is not None:
            data, metadata = widget._repr_mimebundle_()
            self.handle.update(data, raw=True, metadata=metadata)
        return widget
