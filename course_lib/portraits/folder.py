"""`PortraitFolder`: your own pictures, in the folder layout that `datasets` and diffusers read."""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from course_lib.portraits.picture_files import FOREIGN_SUFFIXES, SUFFIXES, find_fault, read_picture
from course_lib.tensors import from_pil

METADATA = "metadata.jsonl"
CAPTION_KEYS = ("text", "caption")
# Folders that name a part of a data set, not what its pictures show.
_PART_NAMES = ("train", "test", "val", "valid", "validation", "images")
_SHOWN = 5


class PortraitFolder(Dataset):
    """Pictures from a folder and its subfolders, each with a caption.

    Captions come from ``metadata.jsonl``, one JSON object a line with ``"file_name"`` (relative
    to the folder of the metadata file) and ``"text"`` or ``"caption"``; if the folder has such a
    file, only the pictures it names belong to the data set. Without one, the name of the subfolder
    is the caption, and pictures in the folder itself have the caption ``""``.

    Pictures are checked when the folder is read, and decoded when they are asked for: turned
    upright by EXIF, transparent parts on white, the first frame of animations, the largest
    centred square resized with antialiasing. What cannot be used is left out, with one warning.

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
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be a whole number of pixels, at least 1, not {size!r}.")
        self.size, self.transform = size, transform
        self.skipped: dict[str, str] = {}
        named = self._named_pictures()
        candidates = sorted(named.items(), key=lambda item: item[0].as_posix())
        kept = [(picture, text) for picture, text in candidates if self._is_usable(picture)]
        if not kept:
            raise FileNotFoundError(self._why_empty())
        self.paths = [picture for picture, _ in kept]
        self.captions = [text for _, text in kept]
        if self.skipped:
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

    def _named_pictures(self) -> dict[Path, str]:
        """Every picture that belongs to the data set, with its caption."""
        files = [f for f in self.path.rglob("*") if f.is_file() and not self._is_hidden(f)]
        pictures = [f for f in files if f.suffix.lower() in (*SUFFIXES, *FOREIGN_SUFFIXES)]
        lists = sorted(f for f in files if f.name == METADATA)
        if not lists:
            return {picture: self._folder_caption(picture) for picture in pictures}
        # One name can be spelled in Unicode in two ways, and macOS prefers the other one.
        by_name = {_same_spelling(picture): picture for picture in pictures}
        named: dict[Path, str] = {}
        for file in lists:
            self._read_metadata(file, by_name, named)
        for picture in pictures:
            if picture not in named:
                self.skipped.setdefault(self._relative(picture), f"{METADATA} does not name it")
        return named

    def _read_metadata(self, file: Path, by_name: dict[str, Path], named: dict[Path, str]) -> None:
        """Add what one metadata file says to `named`, line by line."""
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            where = f"{self._relative(file)}, line {number}"
            if not line.strip():
                continue
            try:
                entry = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                self.skipped[where] = "it is not JSON in UTF-8"
                continue
            if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
                self.skipped[where] = 'it has no "file_name"'
                continue
            name = entry["file_name"]
            if self._leads_outside(file.parent, name):
                self.skipped[where] = f"{name!r} lies outside the folder"
                continue
            target = Path(os.path.normpath(file.parent / name))
            picture = by_name.get(_same_spelling(target))
            text = next((entry[key] for key in CAPTION_KEYS if entry.get(key) is not None), "")
            if picture is None:
                self.skipped[where] = f"there is no picture {name!r}"
            elif not isinstance(text, str):
                self.skipped[where] = f"the caption of {name!r} is not a text"
            elif picture in named:
                self.skipped[where] = f"{name!r} is named twice; the first caption stands"
            else:
                named[picture] = text

    def _leads_outside(self, folder: Path, name: str) -> bool:
        """Whether a name would read a file that is none of this folder's, such as "../secret"."""
        if "\0" in name or Path(name).is_absolute() or PureWindowsPath(name).drive:
            return True
        root = os.path.abspath(self.path)
        target = os.path.abspath(folder / name)
        return not target.startswith(root + os.sep)

    def _is_usable(self, picture: Path) -> bool:
        if fault := find_fault(picture):
            self.skipped[self._relative(picture)] = fault
        return not fault

    def _is_hidden(self, file: Path) -> bool:
        # .git, .ipynb_checkpoints, and the "._name" files that macOS leaves on other disks
        return any(part.startswith(".") for part in file.relative_to(self.path).parts)

    def _folder_caption(self, picture: Path) -> str:
        folders = [
            part
            for part in picture.relative_to(self.path).parts[:-1]
            if part.lower() not in _PART_NAMES
        ]
        return folders[-1].replace("_", " ") if folders else ""

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix()

    def _why_empty(self) -> str:
        if self.skipped:
            return f"No usable picture: {self._summary()}"
        return (
            f"There is no picture in {str(self.path)!r} or its subfolders. "
            f"Files that count end in: {', '.join(SUFFIXES)}."
        )

    def _summary(self) -> str:
        shown = [f"{name} ({why})" for name, why in list(self.skipped.items())[:_SHOWN]]
        more = len(self.skipped) - len(shown)
        rest = f"; and {more} more, all of them in .skipped" if more else ""
        return f"{len(self.skipped)} skipped in {str(self.path)!r}: {'; '.join(shown)}{rest}."


def _same_spelling(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.normpath(path))
