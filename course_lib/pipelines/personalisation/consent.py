"""Whose pictures these are: when consent is asked for, and what is kept of the answer.

The rule: every folder may show real people, except one in which every picture says that this course
painted it. A picture says so by the recipe that `course_lib.paint` writes into PNG files (painted
by the mini, without any file of somebody's training), or by a line of ``metadata.jsonl`` with the
painter's complete list of attributes, as `PortraitDataset.save` writes it. Such marks can be copied
on purpose; they keep honest users from being asked about drawings, and stop nobody else.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.portraits.attributes import Attributes

WORDING = (
    "Everyone who can be recognised in these pictures, or who acts for a child among them, has "
    "agreed to this training and to pictures made with its result."
)


def is_painted(folder: Path, pictures: Sequence[Path]) -> bool:
    """Whether every picture says that this course painted it."""
    listed = _listed(folder)
    return all(path.resolve() in listed or _has_recipe(path) for path in pictures)


def _listed(folder: Path) -> set[Path]:
    """Pictures that a ``metadata.jsonl`` describes by all attributes of the painter."""
    found = set()
    for file in folder.rglob("metadata.jsonl"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                Attributes(**entry["attributes"])
                if len(entry["attributes"]) == len(Attributes.__dataclass_fields__):
                    found.add((file.parent / entry["file_name"]).resolve())
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
    return found


def _has_recipe(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            recipe = json.loads(image.info["course"])
        made_of = ("loras", "init_image", "image_prompt")
        return recipe["model"] == "mini" and not any(recipe.get(name) for name in made_of)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def check_consent(folder: Path, pictures: Sequence[Path], consent: bool) -> dict[str, Any]:
    """What the file's metadata say about consent.

    Raises
    ------
    ValueError
        If it is needed and was not given. The message says what it means.
    """
    if consent is True:
        today = datetime.date.today().isoformat()
        return {"needed": True, "given": True, "date": today, "wording": WORDING}
    if is_painted(folder, pictures):
        return {"needed": False, "reason": "every picture says that this course painted it"}
    raise ValueError(
        f"{folder} may show real people, and a model that is trained on their pictures can show "
        f"them in scenes that never happened; if this is true: '{WORDING}', say so with "
        "consent=True (--i-have-consent), and it is written into the file."
    )
