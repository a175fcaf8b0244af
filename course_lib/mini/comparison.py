"""Compare two folders of pictures: ``cl.compare`` and ``python -m course_lib compare``."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from course_lib import metrics
from course_lib.device import get_device, make_generator
from course_lib.errors import check_choice, check_whole
from course_lib.metrics.comparison import COLUMNS, MIN_IMAGES, Comparison, compare_features
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.config import IMAGE_SIZE
from course_lib.pipelines.registry import SHIPPED
from course_lib.portraits import PortraitFolder
from course_lib.tensors import to_uint8

ENCODERS = {
    "classifier": "the attribute classifier of the mini, which was trained on painted portraits",
    "random": "fixed random filters, which see texture and colour but not what is shown",
}
LIMIT = 2000  # pictures of a folder: the kernel between all pairs then takes 32 MB
_SHOWN = 3
_FolderPath = str | os.PathLike[str]


def compare(
    real: _FolderPath,
    generated: _FolderPath,
    *,
    features: str | Callable[[Tensor], Tensor] = "classifier",
    limit: int = LIMIT,
    seed: int = 0,
) -> Comparison:
    """Compare two folders of pictures by metrics of distributions.

    Pictures are read as `course_lib.PortraitFolder` reads them; of each the largest centred square
    is resized to 128 x 128 pixels. Besides the metrics of
    `course_lib.metrics.comparison.compare_features`, the table has the share of pictures that
    nearly repeat a real one: at 16 x 16 pixels, less than a third as far from their nearest real
    picture as from the second nearest (the criterion of arXiv:2505.17638).

    Parameters
    ----------
    real, generated : path
        Folders with at least 20 pictures each, also in subfolders.
    features : {"classifier", "random"} or callable
        The image encoder: `ENCODERS`, or a function from bytes (N, 3, 128, 128) to (N, F).
    limit : int
        Of a folder with more pictures, so many are drawn at random.
    seed : int
        Of all random choices.

    Returns
    -------
    Comparison
        It prints as a table; ``.rows`` holds the numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no usable picture in it.
    ValueError
        If a folder has too few pictures, or both are the same.
    """
    check_whole("limit", limit, low=MIN_IMAGES)
    if not callable(features):
        check_choice("features", features, ENCODERS)
    if Path(real).expanduser().resolve() == Path(generated).expanduser().resolve():
        raise ValueError(f"{str(real)!r} is given twice; give two folders, real pictures first.")
    folders = [_open_folder(path) for path in (real, generated)]
    paths = [_chosen(folder, limit, seed) for folder in folders]
    notes = [note for f, p in zip(folders, paths, strict=True) for note in _notes(f, p)]
    notes += _note_on_copies(folders, paths)
    pixels = [_read(folder, chosen) for folder, chosen in zip(folders, paths, strict=True)]
    encode, name = _encoder(features)
    result = compare_features(*map(encode, pixels), encoder=name, seed=seed)
    rows = result.rows | {"nearly repeats a real one": _near_copies(*pixels)}
    return replace(result, rows=rows, notes=(*notes, *result.notes))


def _open_folder(path: _FolderPath) -> PortraitFolder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what was skipped becomes a note
        folder = PortraitFolder(path, size=IMAGE_SIZE)
    if len(folder) < MIN_IMAGES:
        raise ValueError(
            f"{str(path)!r} has {len(folder)} usable pictures, but a comparison needs at least "
            f"{MIN_IMAGES} in each folder, and 200 or more for narrow intervals.{_skipped(folder)}"
        )
    return folder


def _skipped(folder: PortraitFolder) -> str:
    if not folder.skipped:
        return ""
    shown = [f"{name} ({why})" for name, why in list(folder.skipped.items())[:_SHOWN]]
    more = ", ..." if len(folder.skipped) > _SHOWN else ""
    return f" {len(folder.skipped)} files cannot be used: {', '.join(shown)}{more}."


def _chosen(folder: PortraitFolder, limit: int, seed: int) -> list[int]:
    """Indices of at most `limit` pictures."""
    return (
        torch.randperm(len(folder), generator=make_generator(seed))[:limit].sort().values.tolist()
    )


def _notes(folder: PortraitFolder, chosen: list[int]) -> list[str]:
    """What is left out of a folder, and how its pictures were cut."""
    notes, name = [_skipped(folder)[1:]] if folder.skipped else [], folder.path.name
    if len(chosen) < len(folder):
        notes.append(f"{len(chosen)} of the {len(folder)} pictures in {name} were drawn at random.")
    sizes = {_size_of(folder.paths[i]) for i in chosen}
    if len(sizes) > 1 or any(width != height for width, height in sizes):
        edges = " to ".join(f"{w} x {h}" for w, h in dict.fromkeys((min(sizes), max(sizes))))
        notes.append(
            f"The pictures in {name} have {len(sizes)} size{'s' * (len(sizes) > 1)} ({edges}): the "
            f"largest centred square of each was resized to {IMAGE_SIZE} x {IMAGE_SIZE}."
        )
    if min(map(min, sizes)) < IMAGE_SIZE:
        notes.append(
            f"Pictures in {name} have fewer than {IMAGE_SIZE} pixels a side and were enlarged, "
            "which blurs them: they can be told apart by that alone."
        )
    return notes


def _size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _note_on_copies(folders: list[PortraitFolder], chosen: list[list[int]]) -> list[str]:
    """Say how many files are in both folders; all of them are an error."""
    real, generated = (
        [hashlib.sha256(folder.paths[i].read_bytes()).digest() for i in indices]
        for folder, indices in zip(folders, chosen, strict=True)
    )
    shared = len(set(real) & set(generated))
    if set(real) == set(generated):
        raise ValueError(
            f"{str(folders[0].path)!r} and {str(folders[1].path)!r} hold the same files; give two "
            "different folders, real pictures first."
        )
    return [f"{shared} files are in both folders, byte for byte."] if shared else []


def _read(folder: PortraitFolder, chosen: list[int]) -> Tensor:
    """Bytes (N, 3, 128, 128)."""
    pixels = torch.empty(len(chosen), 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    for row, index in enumerate(chosen):
        pixels[row] = torch.from_numpy(to_uint8(folder[index][0])).movedim(-1, 0)
    return pixels


def _encoder(features: str | Callable[[Tensor], Tensor]) -> tuple[Callable, str]:
    if callable(features):
        return features, getattr(features, "__name__", "given by the caller")
    if features == "random":
        return metrics.random_features, ENCODERS["random"]
    classifier = AttributeClassifier.load(SHIPPED / "mini").to(get_device())
    return classifier.all_features, ENCODERS["classifier"]


def _near_copies(real: Tensor, generated: Tensor) -> dict[str, metrics.Estimate]:
    """The share of pictures that nearly repeat a real one, for both columns of the table."""
    real, generated = metrics.thumbnails(real), metrics.thumbnails(generated)
    apart = torch.cdist(real, real).fill_diagonal_(torch.inf)
    found = {}
    for column, distances in zip(COLUMNS, (torch.cdist(generated, real), apart), strict=True):
        nearest, second = distances.topk(2, dim=1, largest=False).values.unbind(dim=1)
        found[column] = metrics.proportion(nearest < second / 3)
    return found
