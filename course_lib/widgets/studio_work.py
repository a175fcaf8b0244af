"""Painting in the background for the studio: one picture at a time, previews, stop, errors."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from course_lib.tensors import to_pil
from course_lib.widgets.messages import warnings_to

_PREVIEW_SHARE = 0.25  # of the time, at most, goes into decoding previews


class Busy(RuntimeError):
    """One studio paints one picture at a time."""


@dataclass(frozen=True)
class Order:
    """What to paint."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    form: dict[str, Any] = field(default_factory=dict)  # the fields as they stood

    def options(self) -> dict[str, Any]:
        """Keyword arguments of ``paint_steps`` and ``paint``."""
        names = ("negative_prompt", "seed", "steps", "guidance", "size")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class Painted:
    """A finished picture: the image (PIL), its caption, and all settings of the form."""

    image: Any
    caption: str
    settings: dict[str, Any] = field(default_factory=dict)


class CourseBackend:
    """Load and paint with `course_lib.pipelines`.

    A stand-in for tests or for another library needs `load`, `stream` and `decode`; `stream`
    yields objects with ``i``, ``t``, ``total``, ``x_0_hat`` and ``latents_next``.
    """

    def _module(self) -> Any:
        return importlib.import_module("course_lib.pipelines")

    def defaults(self, model: Any) -> dict[str, Any]:
        """Recommended steps and guidance, and what it can paint ``only``, as far as known."""
        from course_lib.mini.config import MINI_PORTRAITS
        from course_lib.pipelines.registry import REGISTRY

        loaded = getattr(model, "course_report", None)  # of a pipeline that `load_pipeline` made
        name = loaded.model if loaded else str(model)
        spec = REGISTRY.get(name)
        known = {"steps": spec.steps, "guidance": spec.guidance} if spec else {}
        return known | ({"only": MINI_PORTRAITS} if name == "mini" else {})

    def load(self, model: Any) -> Any:
        """The pipeline for a name or path; a pipeline stays what it is."""
        if hasattr(model, "components"):
            return model
        return self._module().load_pipeline(model, verbose=False)

    def lock(self, pipe: Any) -> Any:
        """Held by whoever needs the pipeline alone, such as a recording of its attention."""
        from course_lib.pipelines.locks import model_lock

        return model_lock(pipe)

    def stream(self, pipe: Any, order: Order) -> Iterator[Any] | None:
        """Steps while they run; None for pipelines that cannot be followed step by step."""
        from course_lib.pipelines.sampling import supports_steps

        if not supports_steps(pipe):
            return None
        return self._module().paint_steps(pipe, order.prompt, **order.options())

    def decode(self, pipe: Any, latents: Any) -> Any:
        """Latents to pictures (B, 3, H, W) in [-1, 1]."""
        return self._module().decode_latents(pipe, latents)

    def notices(self, pipe: Any, order: Order) -> list[str]:
        """Sentences about what the model never learned."""
        return self._module().prompt_notices(pipe, order.prompt, order.negative_prompt)

    def whole(self, pipe: Any, order: Order) -> Any:
        """A picture in one go, where `stream` gives None."""
        return self._module().paint(order.prompt, pipe, **order.options())[0]

    def sign(self, image: Any, pipe: Any, order: Order) -> None:
        """Put the recipe into the picture, from where a PNG file keeps it."""
        from course_lib import __version__
        from course_lib.pipelines.metadata import attach
        from course_lib.pipelines.sampling import settings_for
        from course_lib.pipelines.tuning import report_of

        report = report_of(pipe)
        used = settings_for(pipe, steps=order.steps, guidance=order.guidance, size=order.size)
        recipe = {
            "prompt": order.prompt, "negative_prompt": order.negative_prompt, "seed": order.seed,
            "model": report.model, "source": report.source, "revision": report.revision,
            "steps": used.steps, "guidance": used.guidance, "scheduler": used.scheduler,
            "height": used.height, "width": used.width, "weighting": "interpolate",
            "dtype": str(report.dtype).removeprefix("torch."), "version": __version__,
        }  # fmt: skip
        attach(image, recipe)


class Worker:
    """Runs orders in a thread, so that the notebook stays free and Stop is heard.

    Parameters
    ----------
    backend : object
        See `CourseBackend`.
    model : str or pipeline
        Loaded with the first order.
    report : callable
        ``report(state, image=None, **details)`` with a state of ``"loading"``, ``"waiting"``,
        ``"painting"``, ``"done"``, ``"stopped"`` or ``"error"``, and ``notices``, a list of
        sentences; called from the thread.
    """

    def __init__(self, backend: Any, model: Any, report: Callable[..., None]) -> None:
        self.backend, self.model, self._tell = backend, model, report
        self._notices: list[str] = []
        self.pipe: Any = None
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether a picture is being painted."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, order: Order) -> None:
        """Begin; raises RuntimeError while another picture is being painted."""
        if self.busy:
            raise Busy("a portrait is being painted; stop it or wait for it.")
        self.error = None
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(order,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the painting to end after the present step."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being painted; False if the time ran out first."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.busy

    def _report(self, state: str, **details: Any) -> None:
        self._tell(state, notices=list(self._notices), **details)

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.append(text)

    def _run(self, order: Order) -> None:
        self._notices = []
        with warnings_to(self._notice):
            try:
                self._work(order)
            except Exception as error:  # whatever it is, the page says it
                self.error = error
                self._report("error", error=error)

    def _work(self, order: Order) -> None:
        if self.pipe is None:
            self._report("loading")
            self.pipe = self.backend.load(self.model)
        if hasattr(self.backend, "notices"):
            for text in self.backend.notices(self.pipe, order):
                self._notice(text)
        self._wait_for_others()
        image = self._paint(order)
        if image is None:
            self._report("stopped")
            return
        if hasattr(self.backend, "sign"):
            self.backend.sign(image, self.pipe, order)
        self._report("done", image=image, order=order)

    def _wait_for_others(self) -> None:
        """Return when nobody holds the pipeline any more, or when the reader presses Stop."""
        if not hasattr(self.backend, "lock"):
            return
        lock = self.backend.lock(self.pipe)
        told = False
        while not lock.acquire(timeout=0.1):
            if self._stop.is_set():
                return
            if not told:
                self._report("waiting")
            told = True
        lock.release()

    def _paint(self, order: Order) -> Any | None:
        """The picture, or None if the reader stopped it."""
        if self._stop.is_set():
            return None
        self._report("painting", i=0, total=0)
        steps = self.backend.stream(self.pipe, order)
        if steps is None:
            image = self.backend.whole(self.pipe, order)
            return None if self._stop.is_set() else image
        pace, last = _Pace(), None
        for step in steps:
            if self._stop.is_set():
                steps.close()
                return None
            last = step.latents_next
            preview = None
            if step.i + 1 < step.total and pace.due():
                with pace:
                    preview = to_pil(self.backend.decode(self.pipe, step.x_0_hat)[0])
            self._report("painting", image=preview, i=step.i + 1, total=step.total, t=float(step.t))
        if last is None:
            raise RuntimeError("the pipeline painted no step at all.")
        return to_pil(self.backend.decode(self.pipe, last)[0])


class _Pace:
    """Lets previews take only a part of the time, however slow the decoder is."""

    def __init__(self) -> None:
        self._cost, self._end = 0.0, 0.0

    def due(self) -> bool:
        """Whether it is time for another preview; the first is always due."""
        waited = time.monotonic() - self._end
        return waited >= self._cost * (1 - _PREVIEW_SHARE) / _PREVIEW_SHARE

    def __enter__(self) -> None:
        self._begin = time.monotonic()

    def __exit__(self, *exception: Any) -> None:
        self._end = time.monotonic()
        self._cost = self._end - self._begin


def say(state: str, details: Mapping[str, Any]) -> str:
    """The state in words for the reader."""
    if state == "loading":
        return "Loading the model ..."
    if state == "waiting":
        return "Waiting for the other painting ..."
    if state == "painting":
        if not details.get("total"):
            return "Reading the prompt ..."
        return f"Step {details['i']} of {details['total']}, t = {details['t']:.0f}"
    return {"done": "Painted.", "stopped": "Stopped.", "idle": "Ready."}.get(state, "")
