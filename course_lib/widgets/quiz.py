"""The quiz of a lesson: five questions with one right choice each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import traitlets

from course_lib.classroom.quiz import Quiz as QuizData
from course_lib.classroom.quiz import load_quiz
from course_lib.classroom.quiz_pages import plain_part
from course_lib.widgets.base import CourseWidget, page_script, page_style
from course_lib.widgets.display import WIDGET_VIEW

_NAMES = ("_quiz",)


class Quiz(CourseWidget):
    """Five questions on a lesson; each choice says why it is right or not.

    Choose with the mouse or the arrow keys, answer with the button or Enter. A wrong choice can be
    followed by another; the result counts what was right at the first try. Nothing is stored, and
    no kernel is needed. Readers without scripts see the questions, and the answers folded away.

    Parameters
    ----------
    lesson : str or int
        The lesson's number: 1, ``"1"`` or ``"01"``.

    Raises
    ------
    ValueError
        If there is no quiz of this lesson.
    """

    _scripts, _styles, _names = ("quiz.js",), ("quiz.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _quiz = traitlets.Dict().tag(sync=True)

    def __init__(self, lesson: str | int | QuizData) -> None:
        self._data = lesson if isinstance(lesson, QuizData) else load_quiz(lesson)
        questions = [{**asdict(one), "place": one.place} for one in self._data.questions]
        super().__init__(_quiz={"title": self._data.title, "questions": questions})

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """As of every widget; as a picture, text, since a picture of text would serve nobody."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        if "text/html" not in data and WIDGET_VIEW not in data:
            data = {"text/html": plain_part(self._data), **data}
        return data, metadata

    def _page_options(self) -> dict[str, Any]:
        return {**super()._page_options(), "plain": plain_part(self._data)}

    def _png(self) -> bytes:
        return b""

    def alt_text(self) -> str:
        """The quiz in one sentence."""
        return f"{self._data.title}: {len(self._data.questions)} questions"

    def __repr__(self) -> str:
        return f"Quiz({self._data.lesson!r})"
