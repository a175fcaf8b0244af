"""What the tests of several lessons' checkers do with their lists of right and wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from course_lib.schedules import NoiseSchedule


def expect_verdicts(right: Mapping, wrong: Mapping) -> None:
    """Right answers pass, wrong ones are told why, and there are enough of both.

    Parameters
    ----------
    right : dict
        Checker -> at least three answers that are written differently.
    wrong : dict
        Checker -> at least five pairs of an answer and a part of the message that it deserves.
    """
    assert right.keys() == wrong.keys()
    for check, answers in right.items():
        assert len(answers) >= 3 and len(wrong[check]) >= 5, check
        for answer in answers:
            verdict = check(answer)
            assert verdict.status == "passed", verdict
        for answer, fragment in wrong[check]:
            verdict = check(answer)
            assert verdict.status == "try again" and verdict.hint, (fragment, verdict)
            assert fragment.lower() in verdict.message.lower(), (fragment, verdict)


def expect_blanks(checks: Sequence[Callable], values: Sequence[Callable] = ()) -> None:
    """A blank is not attempted, given or returned; `values` are checkers of plain values."""

    def stub(*given):
        return ...

    for check in checks:
        assert check(...).status == "not attempted"
        assert check in values or check(stub).status == "not attempted"


def expect_spoilers_noticed(right: Mapping[Callable, Sequence[Callable]]) -> None:
    """The right value, and on the way out each input in turn overwritten: the verdict says so."""
    for check, (answer, *_) in right.items():
        for index in range(6):
            spoiled = []

            def spoil(*given, answer=answer, index=index, spoiled=spoiled):
                result = answer(*given)
                if index < len(given) and _overwrite(given[index]):
                    spoiled.append(index)
                return result

            message = check(spoil).message.lower()
            assert ("your function changes" in message) == bool(spoiled), (check, index, message)


def _overwrite(value: object) -> bool:
    """Change an input in place; False if it is of a kind that cannot be changed."""
    if isinstance(value, torch.Tensor):
        value.fill_(3)
    elif isinstance(value, NoiseSchedule):
        value.betas.mul_(0.5)
    elif isinstance(value, torch.nn.Module):
        next(value.parameters()).zero_()
    elif isinstance(value, list):
        value.clear()
    else:
        return False
    return True
