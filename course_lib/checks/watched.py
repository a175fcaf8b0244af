"""Call a learner's function safely: on copies, with its blanks and its own errors recognised."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

from course_lib.schedules import NoiseSchedule


class NotAttemptedError(Exception):
    """Raised inside a check when an answer is still the blank ``...``."""


class AnswerError(Exception):
    """An exception of the learner's code, as text; one of the checker's is never wrapped so."""


def attempted(value: Any) -> Any:
    """Return `value`; end the check as not attempted if it is ``...`` or None."""
    if value is ... or value is None:
        raise NotAttemptedError
    return value


def is_function(answer: Any) -> bool:
    """Whether an answer is a function, and neither a class nor a module."""
    return isinstance(answer, (FunctionType, BuiltinFunctionType, MethodType, functools.partial))


def fingerprint(answer: Any) -> tuple:
    """What is equal for two answers that are written alike, wherever a function was defined."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return (repr(answer),)
    return (code.co_code, code.co_consts, code.co_names, repr(answer.__defaults__))


class Watched:
    """Calls the learner's function, and notices a blank or an exception of its own.

    With `copies`, the function gets copies of its inputs, because a check computes its truths from
    them; `note` then tells the learner which ones the function changes in place.
    """

    def __init__(self, function: Callable, copies: bool = False) -> None:
        self._function = function
        self._copy = _copy if copies else lambda value: value
        self._changed: dict[str, None] = {}  # names, in order, each once
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(self._names(len(args)), args, strict=True)) | kwargs
        copies = {name: self._copy(value) for name, value in given.items()}
        positional = list(copies.values())[: len(args)]
        try:
            result = self._function(*positional, **{name: copies[name] for name in kwargs})
        except (AssertionError, NotAttemptedError):
            raise
        except Exception as error:
            raise AnswerError(f"{type(error).__name__}: {error}") from error
        for name, before in given.items():
            if not _same(before, copies[name]):
                if isinstance(before, NoiseSchedule):
                    raise AssertionError(f"your function changes tensors of the schedule {name}")
                self._changed[name] = None
        return attempted(result)

    @property
    def note(self) -> str:
        """A sentence about inputs that were changed, or an empty text."""
        if not self._changed:
            return ""
        names = " and ".join(self._changed)
        return (
            f"Note: your function changes {names} in place, so the caller loses the old values; "
            "return a new tensor instead."
        )

    def _names(self, count: int) -> list[str]:
        try:
            names = list(inspect.signature(self._function).parameters)
        except (TypeError, ValueError):  # builtins have no signature
            names = []
        return [names[i] if i < len(names) else f"argument {i + 1}" for i in range(count)]


def _copy(value: Any) -> Any:
    """A copy of tensors, of schedules, and of lists, tuples and dicts of them."""
    if isinstance(value, Tensor) and not value.requires_grad:  # else its gradient would be lost
        return value.clone()
    if isinstance(value, NoiseSchedule):
        return NoiseSchedule(value.betas.clone(), name=value.name)
    if type(value) is dict:
        return {key: _copy(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copy(one) for one in value)
    return value


def _same(before: Any, after: Any) -> bool:
    """Whether a copy still equals its original."""
    if isinstance(before, Tensor):
        return before.shape == after.shape and torch.equal(before, after)
    if isinstance(before, NoiseSchedule):
        tables = ("betas", "alphas_cumprod")
        return all(torch.equal(getattr(before, k), getattr(after, k)) for k in tables)
    if type(before) is dict:
        return before.keys() == after.keys() and all(_same(before[k], after[k]) for k in before)
    if type(before) in (list, tuple):
        return len(before) == len(after) and all(map(_same, before, after))
    return True
