"""The exercise framework: every kind of answer gets the verdict that helps the learner."""

from __future__ import annotations

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


def test_hints_grow_and_start_again_after_success():
    square = make_checker()
    wrong, right = (lambda x: x), (lambda x: x * x)
    hints = [square(wrong).hint for _ in range(3)]
    assert hints == ["Think of squares.", "Multiply x by itself.", "Multiply x by itself."]
    square(...)  # a blank is no failed try
    assert square(wrong).hint == "Multiply x by itself."
    assert square(right).hint == ""
    assert square(wrong).hint == "Think of squares."


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
    assert solution.status == "passed" and "solution" in solution.message
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
