"""Errors that teach: what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
