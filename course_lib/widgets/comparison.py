"""Blind comparison of pictures, two at a time; the answers are kept in a file."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import traitlets
from PIL import Image

from course_lib.errors import check_choice, check_whole
from course_lib.plotting import CourseFigure, image_grid
from course_lib.tensors import from_pil
from course_lib.widgets.base import CourseWidget, page_script, page_style
from course_lib.widgets.comparison_answers import append_answer, read_answers, remove_answer
from course_lib.widgets.comparison_pairs import Pair, gather_sets, plan_pairs
from course_lib.widgets.messages import one_sentence

CHOICES = ("left", "same", "right")
_NAMES = ("_info", "_pair")
_STILL_EDGE = 320


class PictureComparison(CourseWidget):
    """Two pictures side by side, without names: which one is better?

    Keys: the left and right arrows choose a picture, the down arrow or Space says "same",
    Backspace takes the last answer back. Each answer is written to the file at once; a comparison
    that is made again, in this kernel or another, goes on where the file ends.

    Parameters
    ----------
    folder_a, folder_b : folder, sequence of PIL images or of (name, PIL image), or Tensor
        Two sets of any pictures; a tensor has shape (N, 3, H, W) and values in [-1, 1]. The sets
        are called like their folders. Instead of both, a dict of names to two or more sets:
        each is compared with each.
    answers : path
        The file of JSON lines; it is created with the first answer.
    pairs : int, optional
        How many pairs are asked; by default all. For two sets there are as many as the smaller one
        has pictures.
    question : str
        What is asked. Answers to another question in the same file do not count.
    seed : int
        Of the pairing, the order, and the sides.
    caption : str
        A sentence above the widget.
    frame_size : int
        The largest width of one picture on the page, 64 to 1024 CSS pixels. Smaller pictures are
        enlarged by a whole factor, without smoothing.

    Attributes
    ----------
    answers : list of dict
        The answers to these pairs, the oldest first: ``a`` and ``b``, the pictures as
        ``"set/file"``; ``left``, which of them stood on the left, ``"a"`` or ``"b"``; ``winner``,
        ``"a"``, ``"b"`` or ``"same"``; ``question``; ``time`` (ISO 8601, UTC).
        `course_lib.metrics.preferences.bradley_terry` makes scores of them.
    remaining : int
        How many pairs are not answered yet.
    notices : list of str
        What the page says about the pairing, unusable files, and lines of the file that are no
        answers.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no readable picture in it.
    TypeError, ValueError
        For sets of another kind, one set twice, and numbers out of range.
    """

    _needs_kernel = True
    _scripts, _styles, _names = ("comparison.js",), ("comparison.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _info = traitlets.Dict().tag(sync=True)
    # What the page shows now. It tells no names: the comparison is blind.
    _pair = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        folder_a: Any,
        folder_b: Any = None,
        *,
        answers: str | Path = "comparisons.jsonl",
        pairs: int | None = None,
        question: str = "Which is the better portrait?",
        seed: int = 0,
        caption: str = "",
        frame_size: int = 384,
    ) -> None:
        self._file = Path(answers).expanduser()
        if self._file.is_dir():
            raise ValueError(f"answers={str(answers)!r} is a folder; give a file in it.")
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"question must be a sentence, not {question!r}.")
        check_whole("frame_size", frame_size, low=64, high=1024)
        sets, left_out = gather_sets(folder_a, folder_b)
        self._pairs, pairing = plan_pairs(sets, pairs, seed)
        self._sets, self._question, self._serial = list(sets), question, 0
        known, skipped = read_answers(self._file)
        self._by_names = {pair.names: pair for pair in self._pairs}
        self._answered: dict[frozenset[str], dict[str, Any]] = {}
        for answer in known:
            names = frozenset((answer["a"], answer["b"]))
            if answer.get("question") == question and names in self._by_names:
                self._answered.pop(names, None)  # of two answers to a pair, the later one
                self._answered[names] = answer
        self.notices = [*pairing, *left_out, *skipped]
        info = {"question": question, "caption": caption, "frame_size": frame_size}
        info |= {"notices": self.notices, "file": self._file.name, "total": len(self._pairs)}
        super().__init__(_info=info, _pair=self._shown(self._next()))
        self.on_msg(self._hear_page)

    # ---- answers

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The answers to these pairs, the oldest first."""
        return [dict(answer) for answer in self._answered.values()]

    @property
    def remaining(self) -> int:
        """How many pairs are not answered yet."""
        return len(self._pairs) - len(self._answered)

    def answer(self, choice: str) -> None:
        """Answer the pair that is shown, as the buttons do.

        Parameters
        ----------
        choice : str
            ``"left"``, ``"right"`` or ``"same"``.

        Raises
        ------
        RuntimeError
            If all pairs are answered.
        OSError
            If the file cannot be written; the answer then does not count.
        """
        check_choice("answer", choice, CHOICES)
        pair = self._next()
        if pair is None:
            raise RuntimeError("all pairs are answered; take_back() removes the last answer.")
        other = "b" if pair.left == "a" else "a"
        record = {
            "a": pair.a.name,
            "b": pair.b.name,
            "left": pair.left,
            "winner": {"left": pair.left, "right": other, "same": "same"}[choice],
            "question": self._question,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        append_answer(self._file, record)
        self._answered[pair.names] = record
        self._pair = self._shown(self._next())

    def take_back(self) -> None:
        """Remove the last answer, from the file too, and show its pair again.

        Raises
        ------
        RuntimeError
            If there is no answer yet.
        """
        if not self._answered:
            raise RuntimeError("there is no answer to take back.")
        names, record = next(reversed(self._answered.items()))
        remove_answer(self._file, record)
        del self._answered[names]
        self._pair = self._shown(self._by_names[names])

    def _next(self) -> Pair | None:
        return next((pair for pair in self._pairs if pair.names not in self._answered), None)

    # ---- the page

    def _shown(self, pair: Pair | None) -> dict[str, Any]:
        """What the page gets: two PNG files without names, and how far the reader is."""
        self._serial += 1
        shown = {"serial": self._serial, "answered": len(self._answered)}
        if pair is not None:
            images = [picture.load() for picture in pair.sides()]
            shown |= {"pictures": [_png(image) for image in images]}
            shown |= {"width": max(image.width for image in images)}
        return shown

    def _hear_page(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        try:
            if message.get("do") == "ping" or message.get("serial") != self._serial:
                return  # a key that was pressed twice answers one pair
            if message["do"] == "back":
                self.take_back()
            else:
                self.answer(message["choice"])
        except Exception as error:  # in words on the page; the kernel's log is out of sight
            self.send({"do": "problem", "text": one_sentence(error)})

    def still(self) -> CourseFigure:
        """The first pair side by side, as a figure."""
        images = [picture.load() for picture in self._pairs[0].sides()]
        size = max(image.width for image in images), max(image.height for image in images)
        factor = max(1, _STILL_EDGE // max(size))
        tiles = []
        for image in images:
            tile = Image.new("RGB", size, "white")
            tile.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
            larger = (size[0] * factor, size[1] * factor)
            tiles.append(from_pil(tile.resize(larger, Image.Resampling.NEAREST)))
        return image_grid(tiles, ["left", "right"], scale=2, alt=self.alt_text())

    def alt_text(self) -> str:
        """The comparison in one sentence."""
        count, total = len(self._answered), len(self._pairs)
        return f"Two pictures side by side. {self._question} ({count} of {total} pairs answered)"

    def __repr__(self) -> str:
        names, total = ", ".join(self._sets), len(self._pairs)
        return f"PictureComparison({total} pairs of {names}; {len(self._answered)} answered)"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
