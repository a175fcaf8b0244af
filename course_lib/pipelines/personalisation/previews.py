"""Pictures that the model paints itself: previews on the way, and the class's for DreamBooth."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from course_lib.pipelines.metadata import save_png
from course_lib.pipelines.painting import paint
from course_lib.pipelines.tuning import report_of
from course_lib.portraits.cache import default_cache_dir
from course_lib.portraits.folder import PortraitFolder

PREVIEW_SEEDS = 3
_AT_ONCE = 8


def save_preview(pipe, prompts: Sequence[str], path: Path) -> Path:
    """Paint a row for each prompt, with the same seeds every time, into one PNG."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about words that are being learned just now
        images = paint(list(prompts), pipe, seed=0, n=PREVIEW_SEEDS)
    width, height = images[0].size
    sheet = Image.new("RGB", (PREVIEW_SEEDS * width, len(prompts) * height))
    for number, image in enumerate(images):
        row, column = divmod(number, PREVIEW_SEEDS)
        sheet.paste(image, (column * width, row * height))
    return save_png(sheet, path)


def paint_prior(pipe, prompt: str, count: int, size: int, *, progress: bool = False):
    """Pictures of the class for prior preservation (arXiv:2208.12242), painted by the model itself.

    They are kept in the course's cache folder, so that a run that is resumed, or another one on
    the same model, need not paint them again.

    Returns
    -------
    Tensor, shape (count, 3, size, size)
        In [-1, 1].
    """
    from tqdm.auto import tqdm

    report = report_of(pipe)
    key = json.dumps([report.model, report.revision, str(report.dtype), prompt, size])
    folder = default_cache_dir() / "prior" / hashlib.sha256(key.encode()).hexdigest()[:16]
    paths = [folder / f"{k:04d}.png" for k in range(count)]
    missing = [k for k, path in enumerate(paths) if not path.is_file()]
    for start in tqdm(range(0, len(missing), _AT_ONCE), "class pictures", disable=not progress):
        for k in missing[start : start + _AT_ONCE]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                save_png(paint(prompt, pipe, seed=k, size=size)[0], paths[k])
    found = PortraitFolder(folder, size=size)
    return found.images([found.paths.index(path) for path in paths])
