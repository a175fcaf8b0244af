"""The pictures of a folder and their captions, in the layouts that people have.

Captions stand in ``metadata.jsonl`` or ``metadata.csv`` (the ImageFolder layout of `datasets`), in
a text file beside each picture (the layout of most LoRA trainers), or in the folders' names.
"""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from course_lib.portraits.picture_files import FOREIGN_SUFFIXES, SUFFIXES

LISTS = ("metadata.jsonl", "metadata.csv")  # where both stand, the first is used
CAPTION_KEYS = ("text", "caption", "prompt", "additional_feature")
TEXT_SUFFIXES = (".txt", ".caption")
_OTHER_LISTS = (".csv", ".json", ".jsonl", ".parquet", ".tsv", ".xlsx")
# Folders that name a part of a data set, not what its pictures show.
_PART_NAMES = ("train", "test", "val", "valid", "validation", "images")
_LARGEST_TEXT = 64 * 2**10  # bytes; a caption is far shorter


@dataclass
class Captions:
    """Every picture that belongs to a data set.

    Attributes
    ----------
    named : dict of Path to str or None
        Pictures and captions; None where nothing gives a caption.
    skipped : dict of str to str
        Pictures and entries that are left out, relative to the folder, and why.
    notes : list of str
        What was found but is not used.
    """

    named: dict[Path, str | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_captions(root: Path) -> Captions:
    """Look for pictures in `root` and its subfolders, and for their captions."""
    files = [f for f in root.rglob("*") if f.is_file() and not _is_hidden(f, root)]
    pictures = sorted(f for f in files if f.suffix.lower() in (*SUFFIXES, *FOREIGN_SUFFIXES))
    lists = sorted(f for f in files if f.name in LISTS)
    twice = {f for f in lists if f.name != LISTS[0] and f.with_name(LISTS[0]) in lists}
    stems = {picture.with_suffix("") for picture in pictures}
    beside = {f.with_suffix(""): f for f in files if f.suffix.lower() in TEXT_SUFFIXES}
    beside = {stem: f for stem, f in beside.items() if stem in stems}
    found = Captions()
    for file in files:
        other = file.suffix.lower() in _OTHER_LISTS and file not in lists
        if file in twice or (other and file.with_suffix("") not in stems):
            found.notes.append(f"{_relative(file, root)} is not used, only {' or '.join(LISTS)} is")
    if not lists:
        for picture in pictures:
            text = beside.get(picture.with_suffix(""))
            caption = None if text is None else _read_text(text, root, found)
            found.named[picture] = _folder_caption(picture, root) if caption is None else caption
        return found
    if beside:
        found.notes.append(
            f"{len(beside)} text files beside pictures are not used, since there is a "
            f"{lists[0].name}"
        )
    # One name can be spelled in Unicode in two ways, and macOS prefers the other one.
    by_name = {_same_spelling(picture): picture for picture in pictures}
    for file in lists:
        if file not in twice:
            _read_list(file, root, by_name, found)
    names = " or ".join(sorted({file.name for file in lists if file not in twice}))
    for picture in pictures:
        if picture not in found.named:
            found.skipped.setdefault(_relative(picture, root), f"{names} does not name it")
    return found


def _read_list(file: Path, root: Path, by_name: dict[str, Path], found: Captions) -> None:
    """Add what one list says to `found`, entry by entry."""
    unknown: set[str] = set()
    for number, entry, fault in _entries(file):
        where = f"{_relative(file, root)}, line {number}"
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if fault or not isinstance(name, str):
            found.skipped[where] = fault or 'it has no "file_name"'
            continue
        if _same_spelling(file.parent / name) not in by_name:
            name = name.replace("\\", "/")  # as Windows writes it
        if _leads_outside(root, file.parent, name):
            found.skipped[where] = f"{name!r} lies outside the folder"
            continue
        picture = by_name.get(_same_spelling(file.parent / name))
        text = next((entry[key] for key in CAPTION_KEYS if entry.get(key) is not None), None)
        if picture is None:
            found.skipped[where] = f"there is no picture {name!r}"
        elif text is not None and not isinstance(text, str):
            found.skipped[where] = f"the caption of {name!r} is not a text"
        elif picture in found.named:
            found.skipped[where] = f"{name!r} is named twice; the first caption stands"
        else:
            found.named[picture] = text
            unknown |= set() if text is not None else {str(k) for k in entry} - {"file_name"}
    if unknown:
        found.notes.append(
            f"{_relative(file, root)} has {', '.join(sorted(unknown))}, but captions are read from "
            f"{', '.join(CAPTION_KEYS)}"
        )


def _entries(file: Path) -> Iterator[tuple[int, Any, str]]:
    """Line number, entry and fault of each entry of a list."""
    try:
        # Bytes that are not UTF-8 become lone surrogates, which spoil their own entry alone
        text = _decoded(file.read_bytes(), errors="surrogateescape")
    except (OSError, UnicodeError) as error:
        yield 1, None, f"it cannot be read ({error})"
        return
    if file.suffix == ".csv":
        yield from _csv_entries(text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            line.encode()
            yield number, json.loads(line), ""
        except (ValueError, RecursionError):
            yield number, None, "it is not JSON in UTF-8"


def _csv_entries(text: str) -> Iterator[tuple[int, Any, str]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets of many countries write semicolons
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        if "file_name" not in (rows.fieldnames or ()):
            yield 1, None, "it has no column file_name"
            return
        for row in rows:
            # A row that is too short has None for what it lacks, one too long its rest under None
            entry = {k: v or None for k, v in row.items() if k is not None}
            try:
                "".join(v for v in entry.values() if v).encode()
                yield rows.line_num, entry, ""
            except UnicodeEncodeError:
                yield rows.line_num, None, "it is not in UTF-8; save the table as CSV UTF-8"
    except csv.Error as error:
        yield rows.line_num, None, f"it is not CSV ({error})"


def _read_text(file: Path, root: Path, found: Captions) -> str | None:
    """The caption in a text file, on one line; None, and a note, if it is none."""
    try:
        if file.stat().st_size > _LARGEST_TEXT:
            raise ValueError("it is too long")
        return " ".join(_decoded(file.read_bytes()).split()) or None
    except (OSError, ValueError) as error:
        found.notes.append(f"{_relative(file, root)} is not used ({error})")
        return None


def _decoded(data: bytes, errors: str = "strict") -> str:
    """Text in UTF-8, or in UTF-16 with a mark at its start, as Windows' editor writes it."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    return data.decode("utf-8-sig", errors)


def _folder_caption(picture: Path, root: Path) -> str | None:
    folders = [p for p in picture.relative_to(root).parts[:-1] if p.lower() not in _PART_NAMES]
    return folders[-1].replace("_", " ") if folders else None


def _leads_outside(root: Path, folder: Path, name: str) -> bool:
    """Whether a name would read a file that is none of this folder's, such as "../secret"."""
    if "\0" in name or Path(name).is_absolute() or PureWindowsPath(name).drive:
        return True
    return not os.path.abspath(folder / name).startswith(os.path.abspath(root) + os.sep)


def _is_hidden(file: Path, root: Path) -> bool:
    # .git, .ipynb_checkpoints, and the "._name" files that macOS leaves on other disks
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _same_spelling(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.normpath(path))
