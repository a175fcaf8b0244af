"""The exercise framework: every kind of answer gets the verdict that helps the learner."""

from __future__ import annotations

import re

import pytest
import torch

import course_lib as cl
from course_lib import checks
from course_lib.checks import attempted, exercise, expect, expect_close


def make_checker():
    @exercise(hints=("Think of squares.", "Multiply x by itself."), success="Well squared.")
    def square(answer):
        x = torch.tensor([1.0, 2.0, -3.0])
        expect_close(answer(x), x * x, "the square")

    return square


def _raises(x):
    raise IndexError("index 7 is out of range")


@pytest.mark.parametrize(
    ("answer", "status", "fragment"),
    [
        (..., "not attempted", "cell above"),
        (None, "not attempted", "cell above"),
        (lambda x: ..., "not attempted", "cell above"),
        (lambda x: None, "not attempted", "cell above"),
        (lambda x: x**2, "passed", "Well squared."),
        (lambda x: x + 0.01, "try again", "The square is off by as much as"),
        (lambda x: x.sum(), "try again", "has shape (), expected (3,)"),
        (lambda x: x * float("nan"), "try again", "NaN"),
        (lambda x: "nine", "try again", "should be a number or a tensor, not 'nine'"),
        (_raises, "try again", "Your code raised IndexError: index 7 is out of range."),
        (lambda: 0, "try again", "Your code raised TypeError"),
        (9, "try again", "not callable"),
    ],
)
def test_every_answer_gets_its_verdict(answer, status, fragment):
    result = make_checker()(answer)
    assert result.status == status
    assert fragment in str(result)
    assert str(result).startswith(f"square: {status}. ")
    assert ("Hint: Think of squares." in str(result)) == (status == "try again")


def test_hints_grow_with_different_tries_and_start_again_after_success():
    @exercise(hints=("one", "two", "the answer"))
    def square(answer):
        expect_close(answer(torch.tensor(3.0)), 9.0)

    assert [square(lambda x: x).hint for _ in range(4)] == [
        "one"
    ] * 4  # unchanged: no hint is spent
    assert square(lambda x: x + 1).hint == "two"
    assert square(...).hint == "" and square(lambda x: x).hint == "two"  # a blank, an old try
    assert [square(lambda x, k=k: x + k).hint for k in (2, 3)] == ["the answer"] * 2
    assert square(lambda x: x * x).hint == ""
    assert square(lambda x: x).hint == "one"


def test_the_last_hint_waits_for_three_different_tries():
    square = make_checker()  # two hints
    hints = [square(answer).hint for answer in (torch.sin, torch.cos, torch.tan, torch.exp)]
    assert hints == ["Think of squares."] * 2 + ["Multiply x by itself."] * 2


def test_a_half_answer_is_not_attempted():
    @exercise(hints=())
    def both(a, b):
        expect(a + b == 3, "the sum should be 3")

    assert both(1, ...).status == "not attempted"
    assert both(1, 2).status == "passed"
    assert both(1, 1).hint == "" and "The sum should be 3." in str(both(1, 1))


def test_require_passes_solutions_and_raises_for_the_rest():
    square = make_checker()
    solution = square(lambda x: x * x).require()
    assert str(solution) == "square: the solution passes. Open the cell to read it."
    assert solution._repr_html_() != square(lambda x: x * x)._repr_html_()
    for answer in (..., lambda x: x):
        with pytest.raises(AssertionError, match="square: "):
            square(answer).require()


def test_signed_errors_do_not_cancel_and_tolerance_follows_the_scale():
    with pytest.raises(AssertionError, match="off by"):
        expect_close(torch.tensor([1.0, -1.0]), torch.zeros(2))
    expect_close(torch.tensor([1e6 + 1]), torch.tensor([1e6]))  # 1e-6 of the largest value
    with pytest.raises(AssertionError):
        expect_close(1.01e-4, 0.0)
    assert attempted(0) == 0  # zero is an answer


def test_messages_become_sentences_but_names_stay_as_they_are():
    @exercise(hints=())
    def named(answer):
        expect_close(answer, 1.0, "x_t")

    assert named(2.0).message == "x_t is off by as much as 1."


def test_a_check_leaves_the_learners_random_numbers_alone():
    @exercise(hints=())
    def noisy(answer):
        torch.randn(5)

    state = torch.get_rng_state()
    noisy(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "status", "note"),
    [
        (lambda x, s, pair: x.mul_(2), "passed", "changes x in place"),
        (lambda x, s, pair: pair[0].zero_(), "passed", "changes pair in place"),
        (lambda x, s, pair: s.betas.mul_(0.5), "try again", "changes tensors of the schedule s"),
    ],
)
def test_an_answer_that_changes_its_inputs_is_noticed_and_does_no_harm(change, status, note):
    x, s, pair = torch.ones(3), cl.NoiseSchedule.cosine(5), [torch.ones(2)]
    kept = x.clone(), s.betas.clone(), pair[0].clone()

    @exercise(hints=(), copies=True)
    def total(answer):
        expect_close(answer(x, s, pair), torch.tensor(8.0), "the total")

    def in_place(x, s, pair):
        result = x.sum() + len(s.betas)
        change(x, s, pair)
        return result

    result = total(in_place)
    assert result.status == status and note in result.message
    assert all(map(torch.equal, (x, s.betas, pair[0]), kept))


def test_the_checkers_own_exception_is_not_blamed_on_the_learner():
    @exercise(hints=())
    def whole(answer):
        int(answer(1))

    assert "Your code raised" not in whole(lambda x: float("nan")).message
    assert "cannot use this answer" in whole(lambda x: float("nan")).message
    assert "Your code raised ZeroDivisionError" in whole(lambda x: x / 0).message


def test_html_is_escaped_and_lessons_load_by_name():
    result = checks.CheckResult("a", "try again", "x < 1", "use <b>")
    assert "x &lt; 1" in result._repr_html_() and "use &lt;b&gt;" in result._repr_html_()
    assert repr(result) == str(result)
    with pytest.raises(AttributeError, match="lesson_99"):
        checks.lesson_99  # noqa: B018


def contrast(one, other):
    """Ratio of the luminances of two colours such as #ffffff, by WCAG 2."""

    def luminance(colour):
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_verdicts_bring_their_own_background_and_differ_in_colour():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    colours = set()
    for status in ("not attempted", "passed", "try again", "the solution passes"):
        shown = checks.CheckResult("square", status, "")._repr_html_()
        background, text = re.search(r"background-color: (#\w{6}); color: (#\w{6})", shown).groups()
        assert contrast(background, text) >= 4.5, status
        colours.add(background)
    assert len(colours) == 4
