"""The course map: links, states, where to go on; the same on every machine for the lessons."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import course_lib as cl
from course_lib.checks import CheckResult
from course_lib.classroom.lessons import course_lessons, tags

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def passed(lesson, count: int) -> dict:
    """A lesson whose first `count` exercises are passed and whose next one was tried."""
    notebook = json.loads((NOTEBOOKS / lesson.file).read_text(encoding="utf-8"))
    checks = [cell for cell in notebook["cells"] if "exercise-check" in tags(cell)]
    for place, (cell, exercise) in enumerate(zip(checks, lesson.exercises, strict=True)):
        status = "passed" if place < count else "try again" if place == count else "not attempted"
        text = str(CheckResult(exercise.checker, status, "So it is."))
        cell["outputs"] = [{"output_type": "execute_result", "data": {"text/plain": text}}]
    return notebook


class Page(HTMLParser):
    """Collects what the accessibility of a table rests on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.starts, self.open = [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.starts.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_map_of_the_delivered_lessons_is_open_and_names_no_place(monkeypatch):
    monkeypatch.chdir(NOTEBOOKS)
    shown = cl.course_map()
    page = Page(shown._repr_html_())
    links = [attributes["href"] for tag, attributes in page.starts if tag == "a"]
    assert links == [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    scopes = [attributes.get("scope") for tag, attributes in page.starts if tag == "th"]
    assert scopes == ["col"] * 4 + ["row"] * 11 and ("caption", page.starts[1][1]) in page.starts
    text = str(shown)
    assert text.count("all open") == 11 and "Go on with lesson 00, Start here." in text
    assert str(Path.home()) not in text + shown._repr_html_() and "/" not in text


def test_what_a_learner_did_is_counted_and_linked_whatever_the_files_are_named(tmp_path):
    lessons = course_lessons()
    (tmp_path / "my & first.ipynb").write_text(json.dumps(passed(lessons[0], 3)))
    (tmp_path / "b.ipynb").write_text(json.dumps(passed(lessons[2], 2)))
    (tmp_path / "broken.ipynb").write_text("{")
    shown = cl.course_map(tmp_path)
    assert "3 of 3 passed" in str(shown) and "2 of 5 passed, 1 tried" in str(shown)
    assert shown.next_step() == (
        "Exercises: 5 of 63 passed. Go on with lesson 02, The loss, line by line."
    )
    page = shown._repr_html_()
    assert 'href="my%20%26%20first.ipynb"' in page
    assert re.search(r'href="[^"]*notebooks/01_forward_noising.ipynb"', page)
    (tmp_path / "b.ipynb").write_text(json.dumps(passed(lessons[2], 5)))
    assert "Go on with lesson 03" in cl.course_map(tmp_path).next_step()
    for lesson in lessons:
        (tmp_path / lesson.file).write_text(json.dumps(passed(lesson, len(lesson.exercises))))
    assert cl.course_map(tmp_path).next_step().endswith("63 of 63 passed. That is all of them.")
