"""Pictures that the model paints itself: previews on the way, and the class's for DreamBooth."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from course_lib.pipelines.metadata import save_png
from course_lib.pipelines.painting import paint
from course_lib.pipelines.tuning import report_of
from course_lib.portraits.cache import default_cache_dir
from course_lib.portraits.picture_files import read_picture
from course_lib.tensors import from_pil
from course_lib.weights import checksum

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


def paint_prior(pipe, prompt: str, count: int, size: int, *, progress: bool = False) -> Tensor:
    """Pictures of the class for prior preservation (arXiv:2208.12242), painted by the model itself.

    They are kept in the course's cache folder, so that a run that is resumed, or another one on
    the same model, need not paint them again.

    Returns
    -------
    Tensor, shape (count, 3, size, size)
        In [-1, 1].
    """
    from tqdm.auto import tqdm

    folder = default_cache_dir() / "prior" / _key(pipe, prompt, size)
    paths = [folder / f"{k:04d}.png" for k in range(count)]
    for start in tqdm(range(0, count, _AT_ONCE), "class pictures", disable=not progress):
        block = paths[start : start + _AT_ONCE]
        if not all(path.is_file() for path in block):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                images = paint(prompt, pipe, seed=start, n=len(block), size=size)
            for image, path in zip(images, block, strict=True):
                save_png(image, path)
    return torch.stack([from_pil(read_picture(path, size), size=size) for path in paths])


def _key(pipe, prompt: str, size: int) -> str:
    """A name for the pictures of one model, whatever the model is called, and one prompt."""
    unet = pipe.unet
    ends = {"in": unet.conv_in.weight.detach().cpu(), "out": unet.conv_out.weight.detach().cpu()}
    settings = report_of(pipe).settings
    used = [checksum(ends), settings.steps, settings.guidance, settings.scheduler, prompt, size]
    return hashlib.sha256(json.dumps(used).encode()).hexdigest()[:16]
