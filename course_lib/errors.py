"""Errors that teach: what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any


def check_choice(kind: str, given: str, allowed: Iterable[str]) -> str:
    """Return `given` if it is one of `allowed`, else raise and suggest the nearest name.

    Parameters
    ----------
    kind : str
        What the name stands for, such as ``"sampling method"``.
    given : str
        The name as the caller wrote it.
    allowed : iterable of str
        Every valid name.

    Raises
    ------
    ValueError
        If `given` is not allowed. The message lists all names and the closest one.
    """
    names = list(allowed)
    if given in names:
        return given
    near = difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"Unknown {kind} {given!r}.{hint} Allowed: {', '.join(names)}.")


def check_whole(
    name: str, given: Any, *, low: int = 1, high: int | None = None, limits: str = ""
) -> int:
    """Return `given` as a Python int if it is a whole number from `low` to `high`.

    Whatever can be an index counts, such as ``numpy.int64``; booleans and floats do not.

    Parameters
    ----------
    name : str
        What the number stands for, as the caller wrote it.
    given : int
        The number.
    low, high : int, optional
        The smallest and the largest allowed number.
    limits : str
        How the message words the limits. Default: "at least `low`" or "from `low` to `high`".

    Raises
    ------
    ValueError
        If `given` is not whole, or out of range.
    """
    limits = limits or (f"at least {low}" if high is None else f"from {low} to {high}")
    try:
        number = operator.index(given)
    except TypeError:
        number = None
    outside = number is None or number < low or (high is not None and number > high)
    if outside or isinstance(given, bool):
        raise ValueError(f"{name} must be a whole number {limits}, not {given!r}.")
    return number


def check_number(name: str, given: Any, *, low: float, high: float) -> float:
    """Return `given` as a Python float if it is a number from `low` to `high`.

    Numbers of numpy and tensors with one entry count; booleans and texts do not.

    Raises
    ------
    ValueError
        If `given` is no number, or out of range. NaN is out of every range.
    """
    try:
        number = None if isinstance(given, (bool, str, bytes)) else float(given)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several entries
        number = None
    if number is None or not low <= number <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {given!r}.")
    return number
