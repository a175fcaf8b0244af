"""A quiz as plain HTML: a page to print, and what stands in a notebook in place of the widget."""

from __future__ import annotations

import html
import re
from string import ascii_uppercase

from course_lib.classroom.quiz import Question, Quiz

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
@page {{ size: A4; margin: 16mm 18mm; }}
body {{ max-width: 174mm; margin: 8mm auto; padding: 0 4mm; background: #fff; color: #000;
  font: 10.5pt/1.35 Georgia, "Times New Roman", serif; }}
@media print {{ body {{ margin: 0; padding: 0; }} }}
h1 {{ margin: 0; font-size: 16pt; }}
ol {{ padding-left: 1.5em; }}
ol.questions > li {{ margin-top: 4mm; break-inside: avoid; }}
ol.choices {{ list-style: upper-alpha; margin: 1.5mm 0 0; }}
ol.choices > li {{ margin-top: 1mm; }}
p {{ margin: 1.5mm 0 0; }}
.why {{ font-size: 9.5pt; }}
code {{ font-size: 0.92em; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{note}</p>
{questions}
</main>
</body>
</html>
"""


def print_page(quiz: Quiz, *, answers: bool = False) -> str:
    """A page for A4: the questions for the class, or with `answers` the instructor's copy."""
    note = (
        "For the instructor: the right choice is marked, and every choice says why."
        if answers
        else "One choice of each question is right. Name: ______________________"
    )
    return _PAGE.format(
        title=f"{quiz.title}, with answers" if answers else quiz.title,
        note=note,
        questions=_listed(quiz, _answered if answers else _asked),
    )


def plain_part(quiz: Quiz) -> str:
    """The questions, and the answers folded away, for a page without scripts."""
    return (
        f"<p><strong>{quiz.title}</strong></p>{_listed(quiz, _asked)}"
        f"<details><summary>Answers to the quiz</summary>{_listed(quiz, _answered)}</details>"
    )


def inline(text: str) -> str:
    """Text of a quiz as HTML: escaped, with backticks as code and without the $ around maths."""
    escaped = html.escape(re.sub(r"\$([^$]+)\$", r"\1", text))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)


def _listed(quiz: Quiz, one) -> str:
    items = "".join(f"<li>{one(question)}</li>\n" for question in quiz.questions)
    return f'<ol class="questions">\n{items}</ol>\n'


def _asked(question: Question) -> str:
    items = "".join(f"<li>{inline(choice.text)}</li>" for choice in question.choices)
    # The attribute is for pages without the style sheet, as in a notebook.
    return f'{inline(question.text)}<ol class="choices" type="A">{items}</ol>'


def _answered(question: Question) -> str:
    def item(text: str, right: bool, why: str) -> str:
        marked = f"<strong>{text} (right)</strong>" if right else text
        return f'<li>{marked}<br><span class="why">{why}</span></li>'

    items = "".join(item(inline(c.text), c.right, inline(c.why)) for c in question.choices)
    letter = ascii_uppercase[question.answer]
    return (
        f"{inline(question.text)} Answer <strong>{letter}</strong>, {inline(question.place)}."
        f'<ol class="choices" type="A">{items}</ol>'
    )
