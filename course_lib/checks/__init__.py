"""Exercise checks that tell a learner what happened and what to try next.

A lesson's module holds one checker per exercise::

    @exercise(hints=("Look at the second moment.", "The factor is sqrt(1 - alphas_cumprod)."))
    def closed_form(answer):
        x_t = answer(x_0, t, s)
        expect(x_t.shape == x_0.shape, "the result has another shape than x_0")
        expect_close(x_t, truth, "x_t")

In a notebook ``cl.checks.lesson_01.closed_form(my_answer)`` shows the verdict, and
``cl.checks.lesson_01.closed_form(solution).require()`` insists that it passed.
"""

from __future__ import annotations

import functools
import html
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch

from course_lib.checks.watched import (
    AnswerError,
    NotAttemptedError,
    Watched,
    attempted,
    fingerprint,
    is_function,
)
from course_lib.tensors import as_float64

NOT_ATTEMPTED, PASSED, TRY_AGAIN = "not attempted", "passed", "try again"
SOLUTION = "the solution passes"
_ICONS = {NOT_ATTEMPTED: "\u25cb", PASSED: "\u2714", TRY_AGAIN: "\u21bb", SOLUTION: "\u25a1"}
# White text on these has a contrast above 4.5 : 1, whatever the theme of the page.
_COLOURS = {
    NOT_ATTEMPTED: "#5f6b7a",
    PASSED: "#1a7f37",
    TRY_AGAIN: "#9a6700",
    SOLUTION: "#0b5cad",
}
# Hints end with nearly the whole answer, so the last one waits for this many different tries.
_TRIES_FOR_THE_LAST_HINT = 3


@dataclass(frozen=True)
class CheckResult:
    """The verdict on one exercise: `status`, a `message` and, after a failure, a `hint`."""

    name: str
    status: str
    message: str
    hint: str = ""

    def require(self) -> CheckResult:
        """For solution cells: insist that the check passed, else raise `AssertionError`."""
        if self.status != PASSED:
            raise AssertionError(str(self))
        return replace(self, status=SOLUTION, message="Open the cell to read it.")

    def __str__(self) -> str:
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"{self.name}: {self.status}. {self.message}{hint}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour, icon = _COLOURS[self.status], _ICONS[self.status]
        hint = f"<br><em>Hint:</em> {html.escape(self.hint)}" if self.hint else ""
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 0.3em 0.8em">'
            f'<strong style="background-color: {colour}; color: #ffffff; padding: 0.1em 0.4em">'
            f"{icon} {html.escape(self.name)}: {self.status}.</strong> "
            f"{html.escape(self.message)}{hint}</div>"
        )


def expect(condition: Any, message: str) -> None:
    """Fail the check with `message` unless `condition` holds."""
    if not bool(condition):
        raise AssertionError(message)


def expect_close(given: Any, truth: Any, what: str = "the answer", *, tol: float = 1e-5) -> None:
    """Fail unless `given` has the shape of `truth` and equals it within `tol`.

    The tolerance is relative to the largest magnitude in `truth`, and absolute below 1.
    """
    attempted(given)
    try:
        given = as_float64(given)
    except (TypeError, ValueError, RuntimeError):
        raise AssertionError(f"{what} should be a number or a tensor, not {given!r}") from None
    truth = as_float64(truth)
    expect(
        given.shape == truth.shape,
        f"{what} has shape {tuple(given.shape)}, expected {tuple(truth.shape)}",
    )
    expect(torch.isfinite(given).all(), f"{what} contains NaN or infinity")
    if truth.numel():
        distance = (given - truth).abs().max().item()
        limit = tol * max(1.0, truth.abs().max().item())
        expect(distance <= limit, f"{what} is off by as much as {distance:.3g}")


def exercise(
    *, hints: tuple[str, ...], success: str = "Well done.", copies: bool = False
) -> Callable:
    """Turn a function of the learner's answers that asserts into a checker.

    Parameters
    ----------
    hints : tuple of str
        From gentle to strong. Each try in a row that fails and differs from those before shows the
        next one. The last one waits for the third try, and stays.
    success : str
        What to say when every assertion holds.
    copies : bool
        Call functions on copies of their inputs. One that changes them in place can then be right,
        and the message says that it changes them; a change of a schedule is a failure.
    """

    def decorate(check: Callable) -> Callable[..., CheckResult]:
        tries: list[tuple] = []  # fingerprints of what failed since the last success

        @functools.wraps(check)
        def checker(*answers: Any) -> CheckResult:
            watched = [Watched(one, copies) if is_function(one) else one for one in answers]
            status, message = _run(check, watched, success)
            notes = [one.note for one in watched if isinstance(one, Watched) and one.note]
            if status == NOT_ATTEMPTED:
                return CheckResult(check.__name__, status, message)
            message = " ".join([message, *notes])
            if status == PASSED:
                tries.clear()
                return CheckResult(check.__name__, status, message)
            attempt = tuple(map(fingerprint, answers))
            if attempt not in tries:
                tries.append(attempt)
            return CheckResult(check.__name__, status, message, _hint(hints, len(tries)))

        return checker

    return decorate


def _hint(hints: tuple[str, ...], tries: int) -> str:
    """The hint after so many different tries; empty if there is none yet."""
    shown = min(tries, len(hints))
    if shown == len(hints) and tries < _TRIES_FOR_THE_LAST_HINT:
        shown -= 1
    return hints[shown - 1] if shown > 0 else ""


def _run(check: Callable, answers: list, success: str) -> tuple[str, str]:
    """Run `check` on the answers: a status, and the message that belongs to it."""
    try:
        for answer in answers:
            attempted(answer)
        state = torch.get_rng_state()
        try:
            check(*answers)
        finally:
            torch.set_rng_state(state)
    except NotAttemptedError:
        return NOT_ATTEMPTED, "Write your answer in the cell above, then run both cells again."
    except AssertionError as error:
        return TRY_AGAIN, _sentence(str(error) or "The result is not the expected one")
    except AnswerError as error:
        return TRY_AGAIN, _sentence(f"Your code raised {error}")
    except Exception as error:  # raised by the checker, on something that it did not expect
        return TRY_AGAIN, _sentence(
            f"The check cannot use this answer ({type(error).__name__}: {error})"
        )
    return PASSED, success


def _sentence(text: str) -> str:
    first = text.split()[0]
    if first.isalpha() and len(first) > 1:  # a word, not a name such as x_t
        text = text[0].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?")) else ".")


def __getattr__(name: str) -> ModuleType:
    """Load ``lesson_NN`` on first use."""
    full_name = f"{__name__}.{name}"
    if name.startswith("lesson_") and importlib.util.find_spec(full_name):
        return importlib.import_module(full_name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
