"""The quizzes: five questions a lesson, read from ``quiz/lesson_NN.json`` and checked.

A file holds ``{"lesson": "01", "questions": [...]}``. A question has three or four choices, each
with a ``why``: why it is right, or what one would have to believe to choose it. Texts are plain,
but for code in backticks.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "quiz"
QUESTIONS = 5
_NUMBER = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True)
class Choice:
    """One answer to choose: its text, whether it is right, and why."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """A question, its choices in the order in which they are shown, and where the lesson answers.

    `section` is the number of a heading of the lesson, ``"3"`` or ``"3.2"``, or its whole text.
    """

    text: str
    choices: tuple[Choice, ...]
    section: str

    @property
    def place(self) -> str:
        """Where the lesson answers it, in words."""
        return f"section {self.section}" if _NUMBER.fullmatch(self.section) else f"“{self.section}”"

    @property
    def answer(self) -> int:
        """The index of the right choice."""
        return next(k for k, choice in enumerate(self.choices) if choice.right)


@dataclass(frozen=True)
class Quiz:
    """The questions to one lesson; `lesson` is its number in two digits."""

    lesson: str
    questions: tuple[Question, ...]

    @property
    def title(self) -> str:
        """A heading."""
        return f"Quiz of lesson {self.lesson}"


def quiz_lessons(folder: Path | None = None) -> list[str]:
    """The numbers of the lessons that have a quiz, in two digits."""
    return sorted(
        path.stem.removeprefix("lesson_") for path in (folder or FOLDER).glob("lesson_*.json")
    )


def load_quiz(lesson: str | int, *, folder: Path | None = None) -> Quiz:
    """Read the quiz of a lesson.

    Parameters
    ----------
    lesson : str or int
        The lesson's number: 1, ``"1"`` or ``"01"``.
    folder : Path, optional
        Where the files ``lesson_NN.json`` are; by default those of the course.

    Raises
    ------
    ValueError
        If there is no such lesson, or its file is not a quiz; the message names what is wrong.
    """
    wanted = "" if isinstance(lesson, bool) else str(lesson).strip()
    number = f"{int(wanted):02d}" if re.fullmatch(r"[0-9]{1,2}", wanted) else wanted
    known = quiz_lessons(folder)
    if number not in known:
        have = f"The lessons with one are {', '.join(known)}" if known else "No lesson has one"
        raise ValueError(f"there is no quiz of lesson {lesson!r}. {have}; give its number.")
    path = (folder or FOLDER) / f"lesson_{number}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _quiz(data, number)
    except ValueError as error:  # also of JSON and of UTF-8
        raise ValueError(f"{path.name} is not a quiz: {error}") from error


def _quiz(data: Any, number: str) -> Quiz:
    lesson, questions = _fields(data, "the file", lesson=str, questions=list)
    if lesson != number:
        raise ValueError(f'"lesson" is {lesson!r}; by its name it is {number!r}.')
    if len(questions) != QUESTIONS:
        raise ValueError(f"it has {len(questions)} questions; a quiz has {QUESTIONS}.")
    made = [_question(one, f"question {k}", number) for k, one in enumerate(questions, 1)]
    texts = [question.text for question in made]
    for text in texts:
        if texts.count(text) > 1:
            raise ValueError(f"it asks the same question twice: {text!r}.")
    return Quiz(number, tuple(made))


def _question(data: Any, where: str, number: str) -> Question:
    text, choices, section = _fields(data, where, question=str, choices=list, section=str)
    if not 3 <= len(choices) <= 4:
        raise ValueError(f"{where} has {len(choices)} choices; give 3 or 4.")
    made = [
        Choice(*_fields(one, f"choice {k} of {where}", text=str, right=bool, why=str))
        for k, one in enumerate(choices, 1)
    ]
    right = sum(choice.right for choice in made)
    if right != 1:
        raise ValueError(f"{where} has {right} right choices; exactly one must be right.")
    if len({choice.text for choice in made}) < len(made):
        raise ValueError(f"{where} has the same choice twice.")
    # Authors tend to write the right choice first; the page and the print show one fixed order.
    random.Random(f"{number} {text}").shuffle(made)
    return Question(text, tuple(made), section)


def _fields(data: Any, where: str, **kinds: type) -> list[Any]:
    """The values of an object that has exactly these keys, none of them empty."""
    if not isinstance(data, dict) or set(data) != set(kinds):
        keys = f"has {', '.join(sorted(data))}" if isinstance(data, dict) else "is no object"
        raise ValueError(f"{where} {keys}; it must have exactly {', '.join(kinds)}.")
    for key, kind in kinds.items():
        value = data[key]
        if not isinstance(value, kind) or (kind is str and not value.strip()):
            words = {str: "a text", bool: "true or false", list: "a list"}[kind]
            raise ValueError(f'"{key}" of {where} must be {words}, not {value!r}.')
    return [data[key] for key in kinds]
