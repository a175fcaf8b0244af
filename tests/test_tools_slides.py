"""What becomes a slide: the lessons' own words and pictures, whole, and no answer too early."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from slide_rules import MOST, slides_of  # noqa: E402  (after the path)
from slide_units import list_items, units_of, without_links  # noqa: E402

LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAC0lEQVR4nGNgQAYAAA4AAUvqfDEAAAAASUVORK5CYII="
)


def lesson(*sections: str) -> nbformat.NotebookNode:
    """A lesson with the parts that each has, and these sections; code cells are ``shows ...``."""
    v4 = nbformat.v4
    first = "# 07. A lesson\n\nIts idea.\n\n## Objectives\n\n- do it\n- say why. In detail.\n\n"
    first += "## Prerequisites\n\nNone.\n\n## Time and hardware\n\nOne minute."
    made = [v4.new_markdown_cell(first)]
    for text in sections:
        if text.startswith("shows "):
            output = v4.new_output("display_data", {"image/png": PICTURE, "text/plain": "Figure"})
            if text != "shows picture":
                output = v4.new_output("stream", name="stdout", text=text.removeprefix("shows "))
            made.append(v4.new_code_cell("x", outputs=[output]))
        else:
            made.append(v4.new_markdown_cell(text))
    last = '## Misconceptions\n\n- **"It is so."** It is not.\n\n## Recap\n\n- Done.\n\n## Next\n\n'
    made.append(v4.new_markdown_cell(f"{last}[Lesson 08](08_x.ipynb). Then rest."))
    return v4.new_notebook(cells=made)


def test_an_answer_comes_after_its_question():
    question = "## 3. A game\n\nThe setting. Its rules:\n\n$$x = 1$$\n\n**Predict.** Which one?"
    (*_, slide, _, _) = slides_of(lesson(question, "shows picture", "It was the *second*."))
    assert slide.title == "3. A game"
    assert slide.body == ["The setting. Its rules:", "$$x = 1$$", "**Predict.** Which one?"]
    assert slide.shown.kind == "figure" and slide.answers
    assert slide.notes == ["It was the *second*."]


def test_a_picture_without_a_question_is_shown_at_once_and_printed_lines_answer_too():
    sections = [
        "## 1. One\n\nLook:",
        "shows picture",
        "## 2. Two\n\n**Predict.** And?",
        "shows 42\n",
    ]
    one, two = slides_of(lesson(*sections))[2:4]
    assert one.body == [] and one.shown.kind == "figure" and not one.answers
    assert one.notes == ["Look:"]  # what leads to a cell that is not shown is said, not shown
    assert two.shown.text == "42" and two.answers
    # A picture after what the lesson says about the answer answers nothing.
    late = slides_of(lesson("## 1. One\n\n**Predict.** And?", "It is so.", "shows picture"))[2]
    assert late.body == ["It is so."] and not late.answers and "**Predict.** And?" in late.notes


def test_a_section_borrows_from_its_subsections_and_names_the_others():
    inner = "### 1.1 A\n\nText."
    sections = ["## 1. One\n\nThe idea.", inner, "### 1.2 B\n\n**Predict.** And?", "shows picture"]
    slides = slides_of(lesson(*sections))
    assert slides[2].body == ["The idea.", "**1.2 B**", "**Predict.** And?"]
    assert slides[2].notes == ["Also in this section: 1.1 A."]
    assert [slide.title for slide in slides[3:]] == ["Misconceptions", "Recap"]


def test_exercises_and_their_cells_are_no_slides():
    exercise = "### Exercise 1.1: do it\n\nWrite the code."
    notebook = lesson("## 1. One\n\nText.\n\n" + exercise, "shows picture", "The end.")
    notebook.cells[2].metadata.tags = ["exercise-solution"]
    slide = slides_of(notebook)[2]
    assert slide.body == ["Text.", "The end."] and slide.shown is None


def test_the_last_slide_leads_on():
    recap = slides_of(lesson("## 1. One\n\nText."))[-1]
    assert recap.body == ["- Done.", "**Next.** Lesson 08. Then rest."]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name[:2])
def test_every_lesson_fits_and_says_only_what_it_says(path):
    notebook = nbformat.read(path, 4)
    slides = slides_of(notebook)
    assert 8 <= len(slides) <= MOST
    units = {unit.title: unit for unit in units_of(notebook)}
    for name in ("Objectives", "Recap"):  # each item is there, cut at most after a sentence
        slide = next(slide for slide in slides if slide.title == name)
        items = [item for block in units[name].of("list") for item in list_items(block.text)]
        shown = list_items(next(text for text in slide.body if text.startswith("- ")))
        assert len(shown) == len(items)
        assert all(item.startswith(short) for item, short in zip(items, shown, strict=True))
    sections = [title for title in units if title[0].isdigit() and units[title].level == 2]
    assert [s.title for s in slides if s.title in sections] == sections
    sources = (without_links(cell.source) for cell in notebook.cells)
    words = " ".join(" ".join(sources).split())
    for slide in slides:
        assert slide.notes and slide.title in words
        for text in slide.body:
            if not text.startswith(("- ", "**Next.**", "**Predict.**")):  # those may be cut inside
                assert " ".join(text.strip("*").split()) in words
    assert sum(slide.shown is not None for slide in slides) >= 4
