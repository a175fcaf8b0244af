"""The portrait studio: choose, write, paint, watch the noise go, keep what you like."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import traitlets

from course_lib.plotting import CourseFigure, image_grid, new_figure
from course_lib.tensors import from_pil
from course_lib.widgets.base import CourseWidget, page_script, page_style
from course_lib.widgets.messages import one_sentence
from course_lib.widgets.studio_files import caption_of, file_name, numbers_of, png_bytes, webp_bytes
from course_lib.widgets.studio_words import (
    check_choices,
    compose_prompt,
    form_groups,
    random_choices,
)
from course_lib.widgets.studio_work import CourseBackend, Order, Painted, Worker, say

_FORM = ("choices", "words", "negative_prompt", "seed", "steps", "guidance")
_NAMES = ("_info", "_prompt", "_status", "_preview", "_gallery", *_FORM)
_OPTIONS = ("negative_prompt", "seed", "steps", "guidance")
_KEPT = 24  # pictures in the gallery of the page; Python keeps them all
_LARGEST_SEED = 2**32 - 1


class PortraitStudio(CourseWidget):
    """Paint portraits with drop-down lists or free words, and watch every step.

    Painting runs in the background: the notebook stays free, and Stop (or Escape) ends it after
    the present step. Errors appear in the widget, in words.

    Parameters
    ----------
    model : str or pipeline
        What `course_lib.load_pipeline` takes, or what it returned. A name is loaded with the
        first picture.
    prompt : str
        Free words; they follow the choices in the prompt.
    choices : dict of attribute to value, optional
        What the drop-down lists show first; see `course_lib.portraits.VOCABULARY`.
    negative_prompt : str
        What to keep away from.
    seed : int
        0 to 2**32 - 1.
    steps, guidance : number, optional
        Default: what the model recommends.
    size : int, optional
        Pixels along an edge; by default the model's own.
    caption : str
        A sentence above the widget.
    backend : object, optional
        Stands in for `course_lib.pipelines`; see `studio_work.CourseBackend`.

    Attributes
    ----------
    gallery : list of Painted
        Every finished picture, the oldest first: ``.image`` (PIL), ``.caption``, ``.settings``.
    prompt : str
        The whole prompt. Setting it clears the choices.

    Examples
    --------
    >>> studio = PortraitStudio(choices={"gender": "woman", "hair_color": "red"})
    >>> studio.prompt
    'a woman with red hair'
    """

    _needs_kernel = True
    _scripts = ("studio_form.js", "studio.js")
    _styles, _names = ("studio.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _info = traitlets.Dict().tag(sync=True)
    _prompt = traitlets.Unicode("").tag(sync=True)
    _status = traitlets.Dict().tag(sync=True)
    _preview = traitlets.Bytes(b"").tag(sync=True)
    _gallery = traitlets.List().tag(sync=True)
    choices = traitlets.Dict(help="attribute to value").tag(sync=True)
    words = traitlets.Unicode("", help="free words of the prompt").tag(sync=True)
    negative_prompt = traitlets.Unicode("").tag(sync=True)
    seed = traitlets.Int(0, min=0, max=_LARGEST_SEED).tag(sync=True)
    steps = traitlets.Int(None, allow_none=True, min=1, max=1000).tag(sync=True)
    guidance = traitlets.Float(None, allow_none=True, min=0.0, max=100.0).tag(sync=True)

    def __init__(
        self,
        model: Any = "mini",
        *,
        prompt: str = "",
        choices: Mapping[str, str] | None = None,
        negative_prompt: str = "",
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        caption: str = "",
        backend: Any | None = None,
    ) -> None:
        backend = backend or CourseBackend()
        self._worker = Worker(backend, model, self._hear_worker)
        self._size, self._serial = size, 0
        self._lock = threading.RLock()  # the page and the painting thread both set traits
        self.gallery: list[Painted] = []
        known = dict(backend.defaults(model)) if hasattr(backend, "defaults") else {}
        self._only = known.pop("only", {})
        info = {"groups": form_groups(self._only), "defaults": known, "caption": caption}
        info["model"] = model if isinstance(model, str) else type(model).__name__
        super().__init__(_info=info, _status={"state": "idle", "text": say("idle", {})})
        start = {"choices": check_choices(choices or {}), "words": prompt, "seed": seed}
        start |= {"negative_prompt": negative_prompt, "steps": steps, "guidance": guidance}
        try:
            self.set_trait_values(start)
        except traitlets.TraitError as error:
            raise ValueError(str(error)) from None
        self.on_msg(self._hear_page)

    def set_trait_values(self, values: Mapping[str, Any]) -> None:
        """Fill in several fields of the form at once."""
        with self._lock, self.hold_sync():
            for name, value in values.items():
                setattr(self, name, value)

    # ---- the prompt

    @property
    def prompt(self) -> str:
        """The whole prompt: choices and words."""
        return compose_prompt(self.choices, self.words)

    @prompt.setter
    def prompt(self, text: str) -> None:
        self.set_trait_values({"choices": {}, "words": text})

    @traitlets.validate("choices")
    def _valid_choices(self, proposal: dict[str, Any]) -> dict[str, str]:
        try:
            return check_choices(proposal["value"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error

    @traitlets.observe("choices", "words")
    def _form_changed(self, change: dict[str, Any]) -> None:
        self._prompt = self.prompt

    def surprise(self) -> None:
        """Choose a portrait at random, show the choice in the form, and paint it."""
        if self._worker.busy:
            raise RuntimeError("a portrait is being painted; stop it or wait for it.")
        rng = np.random.default_rng()
        chosen = random_choices(rng, self._info["groups"], self._only)
        fresh = {"choices": chosen, "words": "", "seed": int(rng.integers(10_000))}
        self.set_trait_values(fresh)
        self.paint()

    # ---- painting

    def paint(self) -> None:
        """Begin to paint, as the button does. `wait` returns the picture.

        Raises
        ------
        ValueError
            If the prompt is empty.
        RuntimeError
            While another picture is being painted.
        """
        if not self.prompt:
            raise ValueError("the prompt is empty; choose something or write some words.")
        form = {name: getattr(self, name) for name in _FORM} | {"prompt": self.prompt}
        options = {name: form[name] for name in _OPTIONS}
        self._worker.start(Order(form["prompt"], **options, size=self._size, form=form))

    def stop(self) -> None:
        """End the painting after the present step."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the painting to end and return the newest picture (PIL).

        Raises
        ------
        TimeoutError
            If it takes longer than `timeout` seconds.
        Exception
            Whatever went wrong while painting.
        """
        if not self._worker.wait(timeout):
            raise TimeoutError(f"the portrait was not ready after {timeout} s; it goes on.")
        if self._worker.error is not None:
            raise self._worker.error
        return self.gallery[-1].image if self.gallery else None

    @property
    def pipe(self) -> Any:
        """The pipeline, once it is loaded; None before."""
        return self._worker.pipe

    def _hear_worker(self, state: str, image: Any = None, **details: Any) -> None:
        """Called from the painting thread: tell the page."""
        error, order = details.pop("error", None), details.pop("order", None)
        text = one_sentence(error) if error is not None else say(state, details)
        with self._lock, self.hold_sync():
            if state == "done":
                self._keep(image, order.form)
            if image is not None:
                self._preview = webp_bytes(image)
            elif state == "loading" or details.get("total") == 0:
                self._preview = b""
            self._tell(state, text, **details)

    def _tell(self, state: str, text: str, **details: Any) -> None:
        self._serial += 1  # without it, the same error twice would be no news to the page
        self._status = {"state": state, "text": text, "serial": self._serial, **details}

    def _keep(self, image: Any, ordered: dict[str, Any]) -> None:
        self.gallery.append(Painted(image, caption_of(ordered), ordered))
        entry = {"caption": caption_of(ordered, short=True), "picture": webp_bytes(image)}
        entry |= {"settings": {name: ordered[name] for name in _FORM}}
        self._gallery = [*self._gallery, entry | {"number": len(self.gallery) - 1}][-_KEPT:]

    # ---- saving

    def save(self, path: str | Path | None = None, index: int = -1) -> Path:
        """Write a picture of the gallery as PNG, with its recipe inside, and return the path.

        Parameters
        ----------
        path : str or Path, optional
            By default a name made of prompt and seed, in the working folder.
        index : int
            Which one; -1 is the newest.
        """
        if not -len(self.gallery) <= index < len(self.gallery):
            raise ValueError(f"the gallery holds {len(self.gallery)} pictures, none is {index}.")
        from course_lib.pipelines.metadata import save_png

        return save_png(self.gallery[index].image, path or file_name(self.gallery[index]))

    # ---- the page

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the page sent, not amid a report of the painting thread."""
        with self._lock:
            super().set_state(sync_data)

    def _hear_page(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        try:
            self._obey(message)
        except Exception as error:  # in words on the page; the kernel's log is out of sight
            with self._lock:
                self._tell("error", one_sentence(error))

    def _obey(self, message: dict[str, Any]) -> None:
        action = message.get("do")
        if action == "paint":
            self.paint()
        elif action == "stop":
            self.stop()
        elif action == "surprise":
            self.surprise()
        elif action == "ping":
            pass  # `_answer` has heard it
        elif action == "save":
            painted = self.gallery[message["number"]]
            answer = {"do": "download", "name": file_name(painted)}
            self.send(answer, buffers=[png_bytes(painted.image)])
        else:
            raise ValueError(f"the page asked for {action!r}, which the studio does not know.")

    def still(self) -> CourseFigure:
        """The gallery as a figure, or a card that says what to do."""
        if self.gallery:
            newest = self.gallery[-8:]
            size = newest[-1].image.size
            images = [from_pil(one.image.resize(size)) for one in newest]
            titles = [caption_of(one.settings, short=True) for one in newest]
            if len({one.settings["prompt"] for one in newest}) == 1:  # it need not stand above each
                titles = [numbers_of(one.settings) for one in newest]
            return image_grid(images, titles, columns=min(4, len(newest)), alt=self.alt_text())
        figure = new_figure(7, 1.3, alt=self.alt_text(), layout=None)
        figure.text(0.02, 0.62, "Portrait studio", fontsize=14, weight="bold")
        words = "Run this cell in Jupyter, choose what to paint and press Paint."
        figure.text(0.02, 0.25, words, fontsize=11)
        return figure

    def alt_text(self) -> str:
        """The gallery in one sentence."""
        shown = [caption_of(one.settings, short=True) for one in self.gallery[-8:]]
        return f"Portrait studio: {'; '.join(shown) or 'nothing painted yet'}"

    def __repr__(self) -> str:
        return f"PortraitStudio({self._info['model']!r}, {len(self.gallery)} painted)"
