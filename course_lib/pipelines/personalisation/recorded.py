"""LoRAs and textual inversions in a picture's recipe: written, checked, and found again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib.pipelines.personalisation.lora_files import read_file
from course_lib.pipelines.registry import SHIPPED

_SHIPPED_LORAS = SHIPPED / "lora"


def parameters_fields(loras: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """What other programs read: ``<lora:name:0.8>`` for the prompt, and fields with hashes."""
    adapters = [one for one in loras if one["kind"] == "lora"]
    words = "".join(f" <lora:{one['name']}:{one['scale']:g}>" for one in adapters)
    fields = {}
    for label, kind in (("Lora hashes", "lora"), ("TI hashes", "embedding")):
        hashes = [f"{one['name']}: {one['hash']}" for one in loras if one["kind"] == kind]
        fields |= {label: ", ".join(hashes)} if hashes else {}
    return words, fields


def find_recorded(recipe: Mapping[str, Any], folders: Sequence[Path]) -> list[tuple[Path, float]]:
    """The files of a recipe's LoRAs, from the given folders, the current one and the course's own.

    A file counts only if its content is the recorded one.

    Warns
    -----
    UserWarning
        For each file that is not found.
    """
    found = []
    places = [*folders, Path.cwd(), _SHIPPED_LORAS]
    for one in recipe.get("loras") or ():
        name = Path(one["file"]).name  # a stranger's recipe names files, never folders
        path = next((p / name for p in places if _is_same(p / name, one["hash"])), None)
        if path is None:
            warnings.warn(
                f"the picture was painted with {name} (scale {one['scale']:g}), which is neither "
                f"beside it nor in {Path.cwd()}: it is painted without. Give the file with --lora.",
                stacklevel=3,
            )
        else:
            found.append((path, float(one["scale"])))
    return found


def _is_same(path: Path, digits: str) -> bool:
    try:
        return path.is_file() and read_file(path).hash == digits
    except (OSError, ValueError):
        return False
