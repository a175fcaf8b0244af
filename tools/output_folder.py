"""What a tool that fills a folder from the lessons checks first; each fault is one sentence."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def check_packages(extra: str, packages: Mapping[str, str]) -> None:
    """Name what is missing of an extra of the project; `packages` by their modules' names."""
    missing = [name for module, name in packages.items() if not importlib.util.find_spec(module)]
    if missing:
        raise ValueError(
            f"not installed, but needed for the {extra}: {', '.join(missing)}; run "
            f'python -m pip install -e "{ROOT}[{extra}]".'
        )


def check_folder(folder: Path, kind: str, mark: str) -> None:
    """Refuse a folder that holds something, but not the file `mark` of an earlier output."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder.")
    if folder.exists() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise ValueError(
            f"{folder} holds something that is no {kind} of this course; nothing was changed. "
            "Name another folder with --to, or empty this one."
        )


def chosen_lessons(lessons: Sequence[Path], numbers: Sequence[str]) -> list[Path]:
    """The lessons with these numbers."""
    known = [path.name[:2] for path in lessons]
    for number in numbers:
        if number not in known:
            raise ValueError(f"there is no lesson {number!r}; there are {', '.join(known)}.")
    return [path for path in lessons if path.name[:2] in numbers]
