"""Answers to comparisons in a file of JSON lines: one object for each answer, written at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from course_lib.file_writing import write_atomically

WINNERS = ("a", "b", "same")


def read_answers(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The answers in the file, the oldest first, and a sentence for each line that is none.

    A missing file has no answers. A last line that was cut off, as by a full disk, is skipped.
    """
    lines = _lines(path)
    answers, notices = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        answer = _parsed(line)
        if answer is not None:
            answers.append(answer)
        elif number == len(lines):
            notices.append(f"The last line of {path.name} is cut off; its pair is asked again.")
        else:
            notices.append(f"Line {number} of {path.name} is not an answer and does not count.")
    return answers, notices


def append_answer(path: Path, answer: dict[str, Any]) -> None:
    """Add an answer; the file is replaced in one step, so it is whole at every moment.

    Raises
    ------
    OSError
        If it cannot be written; the earlier file stays.
    """
    _write(path, [*_lines(path), json.dumps(answer, ensure_ascii=False)])


def remove_answer(path: Path, answer: dict[str, Any]) -> None:
    """Remove the last line that holds this answer, if there is one; the others stay as they are."""
    lines = _lines(path)
    for number in range(len(lines) - 1, -1, -1):
        if _parsed(lines[number]) == answer:
            del lines[number]
            _write(path, lines)
            return


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # Not splitlines, which also divides at rarer characters that may stand in a file's name
    lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _write(path: Path, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(path, text.encode("utf-8", "surrogateescape"))


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    if not isinstance(answer, dict) or answer.get("winner") not in WINNERS:
        return None
    return answer if all(isinstance(answer.get(name), str) for name in ("a", "b")) else None
