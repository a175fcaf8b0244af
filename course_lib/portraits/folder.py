"""`PortraitFolder`: your own pictures, in the folder layout that `datasets` and diffusers read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from course_lib.errors import check_whole
from course_lib.portraits.caption_files import find_captions
from course_lib.portraits.picture_files import SUFFIXES, find_fault, read_picture
from course_lib.tensors import from_pil

_SHOWN = 5


class PortraitFolder(Dataset):
    """Pictures from a folder and its subfolders, each with a caption.

    Captions come from ``metadata.jsonl``, one JSON object a line, or ``metadata.csv``, with
    ``file_name`` (relative to the folder of that file) and ``text``, ``caption``, ``prompt`` or
    ``additional_feature``; if the folder has such a file, only the pictures it names belong to the
    data set. Without one, the caption is in a text file beside the picture (``a.txt`` or
    ``a.caption`` for ``a.jpg``), or it is the name of the subfolder. A picture without any has the
    caption ``""``.

    Pictures are checked when the folder is read, and decoded when they are asked for: turned
    upright by EXIF, transparent parts on white, the first frame of animations, the largest
    centred square resized with antialiasing. What cannot be used is left out; one warning says
    what, why, and how many pictures have no caption.

    Parameters
    ----------
    path : path
        The folder.
    size : int
        Width and height of the images, in pixels.
    transform : callable, optional
        Applied to each image tensor, for instance from ``torchvision.transforms.v2``.

    Attributes
    ----------
    paths : list of pathlib.Path
        The picture files, sorted by name.
    captions : list of str
        Their captions.
    skipped : dict of str to str
        What was left out, relative to the folder, and why.
    notes : list of str
        What was found in the folder but is not used, and how many captions are missing.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no usable picture in it.
    ValueError
        If `path` is a file, or `size` is less than 1.

    Examples
    --------
    >>> from torchvision.transforms import v2
    >>> mine = PortraitFolder("photos", size=64, transform=v2.RandomHorizontalFlip())
    >>> image, text = mine[0]                 # image (3, 64, 64) in [-1, 1]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int = 64,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise FileNotFoundError(
                f"There is no folder {str(path)!r} (looked in {Path.cwd()}). Give the folder that "
                "holds your pictures."
            )
        if not self.path.is_dir():
            raise ValueError(
                f"{str(path)!r} is a file; give the folder that holds it: {str(self.path.parent)!r}"
            )
        self.size, self.transform = check_whole("size", size), transform
        found = find_captions(self.path)
        self.skipped, self.notes = found.skipped, found.notes
        candidates = sorted(found.named.items(), key=lambda item: item[0].as_posix())
        kept = [(picture, text) for picture, text in candidates if self._is_usable(picture)]
        if not kept:
            raise FileNotFoundError(self._why_empty())
        self.paths = [picture for picture, _ in kept]
        self.captions = [text or "" for _, text in kept]
        if missing := [self._relative(picture) for picture, text in kept if text is None]:
            self.notes.append(
                f"{len(missing)} of {len(kept)} pictures are without a caption "
                f"({', '.join(missing[:_SHOWN])}{', ...' if len(missing) > _SHOWN else ''})"
            )
        if self.skipped or self.notes:
            warnings.warn(self._summary(), UserWarning, stacklevel=2)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        if not 0 <= index < len(self):
            raise IndexError(
                f"index {index} is out of range: this folder has pictures 0 to {len(self) - 1}."
            )
        image = from_pil(read_picture(self.paths[index], self.size), size=self.size)
        return (self.transform(image) if self.transform else image), self.captions[index]

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"PortraitFolder({str(self.path)!r}, size={self.size}): {len(self)} pictures{skipped}"
        )

    def images(self, indices: Iterable[int] | None = None) -> Tensor:
        """Some pictures, or all, as one batch (N, 3, size, size) after `transform`."""
        chosen = range(len(self)) if indices is None else indices
        return torch.stack([self[index][0] for index in chosen])

    def _is_usable(self, picture: Path) -> bool:
        if fault := find_fault(picture, self.size):
            self.skipped[self._relative(picture)] = fault
        return not fault

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix()

    def _why_empty(self) -> str:
        if self.skipped or self.notes:
            return f"No usable picture: {self._summary()}"
        return (
            f"There is no picture in {str(self.path)!r} or its subfolders. "
            f"Files that count end in: {', '.join(SUFFIXES)}."
        )

    def _summary(self) -> str:
        shown = [f"{name} ({why})" for name, why in list(self.skipped.items())[:_SHOWN]]
        more = len(self.skipped) - len(shown)
        rest = f"; and {more} more, all of them in .skipped" if more else ""
        sentences = [f"{len(self.skipped)} skipped: {'; '.join(shown)}{rest}"] if shown else []
        sentences += self.notes[:_SHOWN]
        if len(self.notes) > _SHOWN:
            sentences.append(f"{len(self.notes) - _SHOWN} notes more in .notes")
        return f"In {str(self.path)!r}: {'. '.join(sentences)}."
