"""What ``tools/train_ddpo.py`` measured and painted, as lesson 10 reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.mini.config import IMAGE_SIZE
from course_lib.mini.preference.settings import RUNS
from course_lib.pipelines.registry import SHIPPED
from course_lib.tensors import from_pil, to_pil_list

FOLDER = SHIPPED.parent / "experiments"


def load_table(folder: Path = FOLDER) -> dict[str, Any]:
    """The content of ``ddpo.json``: settings, and a run for each of `RUNS` and "dpo"."""
    return json.loads((folder / "ddpo.json").read_text(encoding="utf-8"))


def load_pictures(run: str, folder: Path = FOLDER) -> Tensor:
    """Pictures of a run from the same noise, (rows, 8, 3, 128, 128) in [-1, 1].

    Rows of "smile" are before, in the middle of and after the run; the other runs have one row,
    after it. Columns are two pictures of each prompt.
    """
    check_choice("run", run, (*RUNS, "dpo"))
    with Image.open(folder / f"ddpo_{run}.webp") as image:
        sheet = from_pil(image.convert("RGB")).reshape(3, image.height, image.width)
    # (3, R h, C w) -> (R, C, 3, h, w)
    tiles = sheet.unflatten(1, (-1, IMAGE_SIZE)).unflatten(3, (-1, IMAGE_SIZE))
    return tiles.permute(1, 3, 0, 2, 4)


def sheet(pictures: Tensor, size: int = IMAGE_SIZE) -> Image.Image:
    """Pictures (rows, columns, 3, h, w) in [-1, 1] side by side, each `size` pixels wide."""
    rows, columns = pictures.shape[:2]
    flat = F.interpolate(pictures.flatten(0, 1), size=size, mode="bilinear", antialias=True)
    # (R C, 3, h, w) -> (3, R h, C w)
    tiles = flat.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)
    return to_pil_list(tiles.flatten(3, 4).flatten(1, 2).clamp(-1, 1)[None])[0]
