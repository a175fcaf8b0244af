"""What a pre-flight check found, and the table of all findings."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

VERDICTS = ("ok", "warn", "stop")
_WIDTHS = {"what": 17, "found": 42, "verdict": 8, "what to do": 46}


@dataclass(frozen=True)
class Finding:
    """One row: what was looked at, what was found, "ok", "warn" or "stop", and what to do."""

    what: str
    found: str
    verdict: str = "ok"
    advice: str = ""


def ask(what: str, question: Callable[[], Finding | Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; on a broken machine anything may be raised, and the rest goes on."""
    try:
        answer = question()
        yield from [answer] if isinstance(answer, Finding) else answer
    except Exception as error:
        reason = str(error) or type(error).__name__
        yield Finding(what, f"could not be checked: {reason}", "warn", "Mend it, or look yourself.")


def findings_as_text(findings: Iterable[Finding]) -> str:
    """The table for a terminal of 120 columns."""
    rule = ["-" * width for width in _WIDTHS.values()]
    lines = [*_lines(list(_WIDTHS)), *_lines(rule)]
    for one in findings:
        lines += _lines([one.what, one.found, one.verdict, one.advice])
    return "\n".join(lines)


def _lines(cells: list[str]) -> Iterator[str]:
    """One row, each cell wrapped in its column."""
    columns = [
        textwrap.wrap(cell, width) or [""]
        for cell, width in zip(cells, _WIDTHS.values(), strict=True)
    ]
    for k in range(max(map(len, columns))):
        texts = [column[k] if k < len(column) else "" for column in columns]
        pairs = zip(texts, _WIDTHS.values(), strict=True)
        yield "| ".join(f"{text:<{width}}" for text, width in pairs).rstrip()
