"""Click a word of the prompt and see its map over the portrait, over time."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import traitlets
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.plotting import CourseFigure, as_frames, film_strip
from course_lib.plotting.images import pick_evenly
from course_lib.widgets.base import CourseWidget, page_script, page_style
from course_lib.widgets.sprite import pack_sprite

MODES = ("color", "spotlight")
_NAMES = (
    "_sprite", "_layout", "_maps", "_map_layout", "_info", "word", "value", "mode", "strength",
)  # fmt: skip
# Words without a look of their own; they get no button unless their maps are given.
_QUIET = frozenset("a an the of in on at by to and or with wearing from for is".split())
_STRIP_FRAMES = 8


class AttentionExplorer(CourseWidget):
    """The words of a prompt as buttons, and the map of the chosen word over the portrait.

    Each word's button carries a small picture of its map, averaged over the steps. Keys: arrows,
    Home, End and space move through the steps; Tab goes from word to word.

    Parameters
    ----------
    frames : Tensor (N, C, H, W), sequence of (C, H, W), or one picture (C, H, W)
        The portrait at each step, in [-1, 1]; one picture stands for all steps.
    maps : dict of str to Tensor (N, h, w)
        For each word, how much each place attended to it at each step, in [0, 1].
    prompt : str
        The whole prompt; its words that have maps become buttons. Default: the words alone.
    timesteps : sequence of N numbers, optional
        The timestep of each frame.
    word : str, optional
        The word shown first; by default the first that has maps.
    mode : str
        ``"color"`` paints the map over the portrait; ``"spotlight"`` darkens the rest.
    strength : float
        Opacity of the map, 0 to 1.
    value : int, optional
        The frame shown first; by default the last.
    caption, alt : str
        A sentence above the widget; a text alternative.
    quality, frame_size : int
        WebP quality of the frames, 1 to 100; width of the picture, 64 to 1024 CSS pixels.

    Raises
    ------
    ValueError
        For maps of another number of steps than the frames, outside [0, 1], or empty.
    """

    _scripts = ("transport.js", "explorer.js")
    _styles, _names = ("explorer.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _sprite = traitlets.Bytes().tag(sync=True)
    _layout = traitlets.Dict().tag(sync=True)
    _maps = traitlets.Bytes().tag(sync=True)
    _map_layout = traitlets.Dict().tag(sync=True)
    _info = traitlets.Dict().tag(sync=True)
    word = traitlets.Unicode(help="the word whose map is shown").tag(sync=True)
    value = traitlets.Int(0, help="index of the frame shown").tag(sync=True)
    mode = traitlets.Unicode("color", help="color or spotlight").tag(sync=True)
    strength = traitlets.Float(0.75, min=0.0, max=1.0, help="opacity of the map").tag(sync=True)

    def __init__(
        self,
        frames: Tensor | Sequence[Tensor],
        maps: Mapping[str, Tensor],
        *,
        prompt: str = "",
        timesteps: Sequence[float] | Tensor | None = None,
        word: str | None = None,
        mode: str = "color",
        strength: float = 0.75,
        value: int | None = None,
        caption: str = "",
        alt: str = "",
        quality: int = 85,
        frame_size: int = 320,
    ) -> None:
        checked = _check_maps(maps)
        steps = len(next(iter(checked.values())))
        pictures = _check_frames(frames, steps)
        if not 64 <= frame_size <= 1024:
            raise ValueError(f"frame_size must lie in 64..1024 CSS pixels, not {frame_size}.")
        times = None if timesteps is None else [float(t) for t in timesteps]
        if times is not None and len(times) != steps:
            raise ValueError(f"timesteps has {len(times)} entries for {steps} frames; one each.")
        # Each word is shown from its own least to its own most; the page tells the numbers.
        scales = {name: _scale(one) for name, one in checked.items()}
        self._bright = {
            name: (one - scales[name][0]) / scales[name][1] for name, one in checked.items()
        }
        self._frames = pictures
        sprite, layout = pack_sprite({"portrait": pictures}, quality=quality)
        map_rows = {name: one[:, None] * 2 - 1 for name, one in self._bright.items()}
        packed, map_layout = pack_sprite(map_rows, lossless=True)
        info = {
            "pieces": _pieces(prompt, list(checked)),
            "t": times,
            "scales": list(scales.values()),
            "caption": caption,
            "alt": alt or caption or "attention maps of words over a portrait",
            "frame_size": frame_size,
        }
        chosen = next(iter(checked)) if word is None else check_choice("word", word, checked)
        super().__init__(
            _sprite=sprite, _layout=layout, _maps=packed, _map_layout=map_layout, _info=info,
            word=chosen, value=_check_index(steps - 1 if value is None else value, steps),
            mode=check_choice("mode", mode, MODES), strength=_check_strength(strength),
        )  # fmt: skip

    @classmethod
    def from_pipeline(
        cls,
        pipe: Any,
        prompt: str,
        *,
        words: Sequence[str] | None = None,
        negative_prompt: str = "",
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        size: int | None = None,
        backend: Any | None = None,
        **options: Any,
    ) -> AttentionExplorer:
        """Paint now, record the attention, and explore it.

        Parameters
        ----------
        pipe : pipeline
            From `course_lib.load_pipeline`.
        prompt, negative_prompt, seed, steps, guidance, size
            As in `course_lib.paint`.
        words : sequence of str, optional
            Words of the prompt to look for; by default all but the little ones.
        backend : object, optional
            Something with ``record_attention``, ``paint_steps`` and ``decode_latents``; by
            default those of `course_lib.pipelines`.
        **options
            Everything else that `AttentionExplorer` takes.
        """
        wanted = list(words) if words is not None else loud_words(prompt)
        if not wanted:
            raise ValueError(f"the prompt {prompt!r} has no word to look for; give words=[...].")
        home = backend or importlib.import_module("course_lib.pipelines")
        recorder = backend or importlib.import_module("course_lib.pipelines.attention")
        frames, times = [], []
        with recorder.record_attention(pipe) as maps:
            for step in home.paint_steps(
                pipe, prompt, negative_prompt=negative_prompt, seed=seed, steps=steps,
                guidance=guidance, size=size,
            ):  # fmt: skip
                frames.append(home.decode_latents(pipe, step.x_0_hat)[0].detach().float().cpu())
                times.append(float(step.t))
        found = {word: maps.for_word(pipe, prompt, word) for word in wanted}
        return cls(frames, found, prompt=prompt, timesteps=times, **options)

    def still(self) -> CourseFigure:
        """The portrait and the word's map at about eight steps, as a figure."""
        picked = pick_evenly(len(self._frames), _STRIP_FRAMES)
        size = self._frames.shape[-2:]
        maps = torch.nn.functional.interpolate(
            self._bright[self.word][picked][:, None], size=size, mode="bilinear"
        )
        light = (self._frames[picked] + 1) / 2 * (0.15 + 0.85 * maps)
        rows = {"portrait": self._frames[picked], self.word: light * 2 - 1}
        times = self._info["t"]
        labels = [f"t = {times[k]:.4g}" if times else f"step {k}" for k in picked]
        return film_strip(rows, labels, limits=dict.fromkeys(rows, 1.0), alt=self.alt_text())

    def alt_text(self) -> str:
        """The picture in one sentence."""
        return f"{self._info['alt']} (word: {self.word})"

    @traitlets.validate("word", "mode", "value", "strength")
    def _valid(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        try:
            if name == "value":
                return _check_index(value, len(self._map_layout["at"][0]))
            if name == "strength":
                return _check_strength(value)
            return check_choice(name, value, MODES if name == "mode" else self._map_layout["rows"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error

    def __repr__(self) -> str:
        words = ", ".join(self._map_layout["rows"])
        return f"AttentionExplorer({len(self._frames)} steps; words: {words})"


def loud_words(prompt: str) -> list[str]:
    """The words of a prompt that may have a look of their own, each once, in order."""
    words = re.findall(r"[\w'-]+", prompt.lower())
    return list(dict.fromkeys(word for word in words if word not in _QUIET))


def _pieces(prompt: str, words: Sequence[str]) -> list[list[Any]]:
    """The prompt cut into [text, number of its word or -1]; words beyond it follow at the end."""
    pieces, seen = [], set()
    by_name = {word.lower(): k for k, word in enumerate(words)}
    # Longer words first, so that "round glasses" is not taken for "glasses".
    names = sorted(map(re.escape, by_name), key=len, reverse=True)
    pattern = rf"(?<![\w-])({'|'.join(names)})(?![\w-])"
    for k, text in enumerate(re.split(pattern, prompt, flags=re.IGNORECASE)):
        number = by_name[text.lower()] if k % 2 else -1
        seen.add(number)
        if text.strip():
            pieces.append([text.strip(), number])
    return pieces + [[word, k] for k, word in enumerate(words) if k not in seen]


def _check_maps(maps: Any) -> dict[str, Tensor]:
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError('maps must be a dict {"word": tensor (N, h, w), ...}, not empty.')
    checked = {}
    for word, one in maps.items():
        one = torch.as_tensor(one).detach().cpu().float()
        if one.ndim != 3 or one.numel() == 0:
            raise ValueError(f"map {word!r} must have shape (N, h, w), not {tuple(one.shape)}.")
        if not bool(((one >= -1e-4) & (one <= 1 + 1e-4)).all()):  # False for NaN as well
            raise ValueError(
                f"map {word!r} has values from {float(one.min()):.4g} to {float(one.max()):.4g}; "
                "maps lie in [0, 1], without NaN."
            )
        checked[str(word)] = one.clamp(0, 1)
    shapes = {word: tuple(one.shape) for word, one in checked.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"all maps need one shape (N, h, w), but they have {shapes}.")
    return checked


def _scale(one: Tensor) -> tuple[float, float]:
    """The least value of a word's maps and their range.

    A range below a tenth of the most counts as a tenth, so that the ripples of an even map do not
    look like findings.
    """
    least, most = float(one.min()), float(one.max())
    return least, max(most - least, 0.1 * most, 1e-8)


def _check_frames(frames: Any, steps: int) -> Tensor:
    single = isinstance(frames, Tensor) and frames.ndim == 3
    pictures = as_frames(frames[None] if single else frames, name="frames")
    if len(pictures) == 1:
        pictures = pictures.expand(steps, -1, -1, -1)
    if len(pictures) != steps:
        raise ValueError(
            f"there are {len(pictures)} frames and maps of {steps} steps; give one frame for each "
            "step, or a single picture for all."
        )
    return pictures


def _check_index(value: int, steps: int) -> int:
    if not 0 <= value < steps:
        raise ValueError(f"value must be a frame index in 0..{steps - 1}, not {value}.")
    return value


def _check_strength(strength: float) -> float:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in 0..1, not {strength}.")
    return float(strength)
