"""The quiz in a browser, without a kernel: keys alone, words and not only colours, two sheets."""

from __future__ import annotations

import re

import pytest
from browser_lab import recorded_page

from course_lib.classroom.quiz import Quiz as QuizData
from course_lib.classroom.quiz import load_quiz, quiz_lessons
from course_lib.classroom.quiz_pages import print_page
from course_lib.widgets import Quiz

pytestmark = pytest.mark.browser
ROOT = ".course-widget.quiz"
QUIZ = load_quiz(quiz_lessons()[0])


@pytest.fixture(params=["light", "dark"])
def page(request, chromium):
    """A page without a network, and what it asks for and what goes wrong."""
    size = {"width": 900, "height": 1000}
    with recorded_page(chromium, offline=True, color_scheme=request.param, viewport=size) as page:
        page.scheme = request.param
        yield page


def wrong_choice(k: int) -> int:
    return next(i for i, choice in enumerate(QUIZ.questions[k].choices) if not choice.right)


def choose(page, k: int, i: int) -> None:
    """Move to choice `i` of the focused group with the arrow keys, as a keyboard user does."""
    page.keyboard.press("Space")
    for _ in QUIZ.questions[k].choices:
        if page.evaluate("Number(document.activeElement.value)") == i:
            return
        page.keyboard.press("ArrowDown")
    raise AssertionError(f"the arrows do not reach choice {i}")


def answer_all(page, *, stumble: int) -> None:
    """Answer with keys alone; the question `stumble` gets a wrong answer first."""
    for k, question in enumerate(QUIZ.questions):
        page.keyboard.press("Tab")
        if k == stumble:
            choose(page, k, wrong_choice(k))
            page.keyboard.press("Enter")
            verdict = page.locator(f"{ROOT} fieldset >> nth={k}").locator(".verdict")
            assert verdict.inner_text().startswith("Not right. ")
            assert f"read {question.place} of the lesson again" in verdict.inner_text()
        choose(page, k, question.answer)
        page.keyboard.press("Tab")  # to the button
        page.keyboard.press("Enter")
        field = page.locator(f"{ROOT} fieldset").nth(k)
        assert field.locator(".verdict").inner_text().startswith("Right. ")
        assert "✓ right" in field.locator("label").nth(question.answer).inner_text()
        assert page.evaluate("document.activeElement.tagName") == "BUTTON"  # the focus is not lost
        page.keyboard.press("Tab")  # to "Why not the others"


def test_it_is_answered_with_keys_alone(page, axe, tmp_path, screenshots):
    page.goto(Quiz(QUIZ).export_html(tmp_path / "quiz.html").as_uri())
    page.wait_for_selector(f"{ROOT}[data-ready=true]")
    assert axe(page, "html") == []
    answer_all(page, stumble=1)
    result = page.locator(f"{ROOT} .result")
    assert result.inner_text() == "Result: 4 of 5 at the first try."
    assert result.get_attribute("role") == "status"
    assert page.locator(f"{ROOT} .verdict[aria-live=polite]").count() == 5
    assert axe(page, "html") == []
    if screenshots:
        page.screenshot(path=screenshots / f"quiz_{page.scheme}.png", full_page=True)
    page.get_by_role("button", name="Begin again").click()
    assert result.inner_text() == "0 of 5 answered."
    assert page.locator(f"{ROOT} input:checked, {ROOT} .mark, {ROOT} :disabled").count() == 0
    page.get_by_role("button", name="Answer question 1").click()
    assert page.locator(f"{ROOT} .verdict").first.inner_text() == "Choose one first."
    assert result.inner_text() == "0 of 5 answered."
    assert [url for url in page.asked if not url.startswith("file:")] == []
    assert page.wrong == []


def test_two_outputs_on_one_page_keep_their_choices_apart(page, axe, tmp_path):
    outputs = [Quiz(QUIZ)._repr_mimebundle_()[0]["text/html"] for _ in range(2)]
    book = tmp_path / "book.html"
    book.write_text(
        f"<!doctype html><meta charset=utf-8><title>book</title>{''.join(outputs)}", "utf-8"
    )
    page.goto(book.as_uri())
    page.wait_for_function(f"document.querySelectorAll('{ROOT}[data-ready=true]').length === 2")
    for k in range(2):
        page.locator(ROOT).nth(k).locator("input").nth(k).check()
    assert page.locator(f"{ROOT} input:checked").count() == 2
    assert page.locator("details").count() == 0  # the plain text gave way
    assert page.wrong == []


def test_the_plain_text_serves_a_page_without_scripts(chromium, tmp_path):
    path = Quiz(QUIZ).export_html(tmp_path / "quiz.html")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.get_by_text(QUIZ.questions[4].choices[0].why).count() == 1
    assert not page.get_by_text(QUIZ.questions[4].choices[0].why).is_visible()
    page.get_by_text("Answers to the quiz").click()
    assert page.get_by_text(QUIZ.questions[4].choices[0].why).is_visible()
    context.close()


def sheets(page, quiz: QuizData, *, answers: bool) -> int:
    page.set_content(print_page(quiz, answers=answers))
    return len(re.findall(rb"/Type /Page\b", page.pdf(prefer_css_page_size=True)))


def test_every_quiz_fits_on_two_sheets(chromium, axe):
    page = chromium.new_page()
    for quiz in map(load_quiz, quiz_lessons()):
        assert sheets(page, quiz, answers=False) <= 2, quiz.lesson
        assert sheets(page, quiz, answers=True) <= 2, quiz.lesson
    assert axe(page, "html") == []
    page.close()
