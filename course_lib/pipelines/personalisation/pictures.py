"""The pictures of a folder, checked before anything is trained on them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from course_lib.pipelines.personalisation.settings import LEAST_PICTURES
from course_lib.portraits.folder import PortraitFolder
from course_lib.weights import checksum

_THUMBNAIL = 16  # pixels: coarse enough that compression and small crops make no difference
_ALIKE = 0.02  # root mean square of thumbnails' differences, of a range of 2: 1 %


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """What a training gets to see.

    Attributes
    ----------
    folder : Path
    paths : list of Path
    images : Tensor, shape (N, 3, size, size)
        In [-1, 1].
    captions : list of str
        One for each picture.
    notes : list of str
        What the user should know: which caption is used, how pictures are cropped.
    """

    folder: Path
    paths: list[Path]
    images: Tensor
    captions: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def checksum(self) -> str:
        """SHA-256 over the pixels that are trained on."""
        return checksum({"images": self.images})


def read_pictures(
    folder: str | os.PathLike[str], size: int, *, method: str, subject: str, caption: str | None
) -> TrainingPictures:
    """Read and check a folder.

    Parameters
    ----------
    folder : path
        As `PortraitFolder` takes it.
    size : int
        Edge of the training pictures, in pixels.
    method : str
        One of `METHODS`; decides how many pictures are needed, and how captions are made.
    subject : str
        The words that stand for the person or the style: "anna person", "<anna>" or "anna".
    caption : str, optional
        The caption of every picture, instead of those of the folder.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such folder, or it has too few different pictures.
    """
    found = PortraitFolder(folder, size=size)
    _check_count(len(found), found.path, method)
    images = found.images()
    distinct = _distinct(images)
    if len(distinct) < LEAST_PICTURES[method]:
        raise ValueError(
            f"{found.path} has {len(found)} pictures, but only {len(distinct)} of them differ from "
            f"each other, and {method} needs at least {LEAST_PICTURES[method]}: add pictures with "
            "other poses, light and backgrounds."
        )
    notes = []
    if copies := len(found) - len(distinct):
        notes.append(f"{copies} of {len(found)} pictures look like another one and add nothing.")
    if sizes := _other_sizes(found.paths, size):
        notes.append(
            f"The pictures have {sizes}: of each, the largest centred square is used, resized to "
            f"{size} x {size} pixels."
        )
    captions, note = _captions(found.captions, method, subject, caption)
    return TrainingPictures(found.path, found.paths, images, captions, [*notes, note])


def _check_count(count: int, folder: Path, method: str) -> None:
    least = LEAST_PICTURES[method]
    if count < least:
        raise ValueError(
            f"{folder} has {count} usable picture{'s' * (count > 1)}, and {method} needs at least "
            f"{least}, since one in five, but at least one, is held out to see when to stop. Add "
            "some; 10 to 20 are better."
        )


def _distinct(images: Tensor) -> list[int]:
    """Indices of pictures that differ from all before them."""
    thumbnails = F.interpolate(images, (_THUMBNAIL, _THUMBNAIL), mode="area").flatten(1)
    kept: list[int] = []
    for i, own in enumerate(thumbnails):
        differences = (thumbnails[kept] - own).square().mean(dim=1).sqrt()
        if bool((differences > _ALIKE).all()):
            kept.append(i)
    return kept


def _other_sizes(paths: list[Path], size: int) -> str:
    """In words: which sizes the files have, if any differs from what is trained on."""
    from PIL import Image

    sizes = set()
    for path in paths:
        with Image.open(path) as image:
            sizes.add(image.size)
    if sizes == {(size, size)}:
        return ""
    if len(sizes) == 1:
        width, height = sizes.pop()
        return f"{width} x {height} pixels"
    edges = [edge for pair in sizes for edge in pair]
    return f"{len(sizes)} different sizes, with edges from {min(edges)} to {max(edges)} pixels"


def _captions(
    own: list[str], method: str, subject: str, caption: str | None
) -> tuple[list[str], str]:
    """A caption for each picture, and a sentence about where they come from."""
    if caption is not None:
        if subject not in caption:
            raise ValueError(
                f"the caption {caption!r} must contain {subject!r}, the words that shall stand for "
                "what the pictures show."
            )
        return [caption] * len(own), f"Caption of every picture, as given: {caption!r}."
    usual = (
        f"a portrait in the style of {subject}" if method == "lora" else f"a portrait of {subject}"
    )
    captions = [_with_subject(text, subject, method) if text else usual for text in own]
    missing = own.count("")
    if missing == len(own):
        note = f"No captions in the folder: every picture is trained with {usual!r}."
    elif missing:
        note = f"{missing} of {len(own)} pictures have no caption and are trained with {usual!r}."
    else:
        note = f"Captions from the folder, such as {captions[0]!r}."
    return captions, note


def _with_subject(text: str, subject: str, method: str) -> str:
    """The folder's caption; for one person the subject's words are added if it lacks them.

    A LoRA keeps the captions as they are: what all pictures have in common is learned whatever the
    captions say.
    """
    return text if method == "lora" or subject in text else f"a portrait of {subject}, {text}"
