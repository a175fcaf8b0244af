"""The course map: every lesson with its link, what it is, its time, and what is done of it."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from course_lib.classroom.lessons import Lesson, course_lessons, lessons_folder
from course_lib.classroom.verdicts import Record, read_record

_LEFT = 'style="text-align: left"'  # JupyterLab sets tables to the right
_TRIED = ("tried", "check changed")
_HEADINGS = ("lesson", "you will", "time", "exercises")


@dataclass(frozen=True)
class CourseMap:
    """The lessons and what one learner has done of them; a table where it is displayed.

    Links lead from `folder` to the learner's notebooks or to those in `course`, if it is there.
    """

    lessons: tuple[Lesson, ...]
    record: Record
    folder: Path
    course: Path | None

    def state(self, lesson: Lesson) -> str:
        """ "2 of 5 passed, 1 tried", or "5, all open"."""
        total, passed, tried = len(lesson.exercises), self._passed(lesson), self._tried(lesson)
        if not passed and not tried:
            return f"{total}, all open"
        return f"{passed} of {total} passed" + (f", {tried} tried" if tried else "")

    def link(self, lesson: Lesson) -> str:
        """The path from `folder` to the learner's notebook, or else to the course's own."""
        mine = self.record.files.get(lesson.number, [])
        if not mine and self.course is None:
            return lesson.file
        # JupyterLab's NAME-Copy1.ipynb comes before the notebook itself
        mine = [*(path for path in mine if path.name == lesson.file), *mine]
        path = mine[0] if mine else self.course / lesson.file
        try:
            return Path(os.path.relpath(path, self.folder)).as_posix()
        except ValueError:  # another drive of Windows
            return path.as_posix()

    def next_step(self) -> str:
        """One line: how many exercises are passed, and where to go on."""
        total = sum(len(lesson.exercises) for lesson in self.lessons)
        begun = f"Exercises: {self.record.count('passed')} of {total} passed."
        left = [one for one in self.lessons if self._passed(one) < len(one.exercises)]
        touched = [one for one in self.lessons if self._passed(one) or self._tried(one)]
        if not left:
            return f"{begun} That is all of them."
        following = [one for one in left if not touched or one.number >= touched[-1].number]
        lesson = (following or left)[0]
        return f"{begun} Go on with lesson {lesson.number}, {lesson.title}."

    def _passed(self, lesson: Lesson) -> int:
        return self.record.count("passed", lesson.number)

    def _tried(self, lesson: Lesson) -> int:
        return sum(self.record.count(status, lesson.number) for status in _TRIED)

    def __str__(self) -> str:
        names = [f"{lesson.number} {lesson.title}" for lesson in self.lessons]
        width = max(map(len, names), default=0) + 2
        rows = zip(names, self.lessons, strict=True)
        lines = [f"{name:<{width}}{one.time:<9}{self.state(one)}" for name, one in rows]
        return "\n".join([f"{'lesson':<{width}}{'time':<9}exercises", *lines, self.next_step()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" {_LEFT}>{heading}</th>' for heading in _HEADINGS)
        rows = "".join(map(self._row, self.lessons))
        caption = f'<caption style="text-align: left">{html.escape(self.next_step())}</caption>'
        table = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        return f"<table>{caption}{table}</table>"

    def _row(self, lesson: Lesson) -> str:
        name = html.escape(f"{lesson.number} {lesson.title}")
        link = f'<a href="{html.escape(quote(self.link(lesson)))}">{name}</a>'
        rest = (lesson.purpose, lesson.time, self.state(lesson))
        cells = "".join(f"<td {_LEFT}>{html.escape(text)}</td>" for text in rest)
        return f'<tr><th scope="row" {_LEFT}>{link}</th>{cells}</tr>'


def course_map(folder: str | Path = ".") -> CourseMap:
    """The lessons, with what is passed and tried in the saved notebooks of a folder.

    Parameters
    ----------
    folder : path
        Where the learner's notebooks are; default: the current folder, which in a lesson is that
        of the lesson. Save a notebook before you look, since only files are read.

    Returns
    -------
    CourseMap
        Displays as a table with links. Nothing is executed.
    """
    folder, lessons = Path(folder), course_lessons()
    record = read_record("you", sorted(folder.glob("*.ipynb")), lessons)
    try:
        course = lessons_folder()
    except FileNotFoundError:  # the package alone
        course = None
    return CourseMap(tuple(lessons), record, folder, course)
