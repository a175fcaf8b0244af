"""Sets of pictures from folders, lists and tensors, and the pairs that are to be compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from course_lib.errors import check_whole
from course_lib.portraits.picture_files import SUFFIXES, find_fault, read_picture
from course_lib.tensors import to_pil_list

LONGEST_EDGE = 768  # pixels of a picture on the page: twice 384 for dense screens
_SHOWN = 3


@dataclass(frozen=True)
class Picture:
    """A picture of a set: its name as ``"set/file"``, and a file or an image."""

    name: str
    source: Path | Image.Image

    @property
    def key(self) -> str:
        """What equal pictures of two sets have in common: the file's name without its ending."""
        inner = PurePath(self.name.partition("/")[2])
        return (
            inner.with_suffix("").as_posix()
            if inner.suffix.lower() in SUFFIXES
            else inner.as_posix()
        )

    def load(self) -> Image.Image:
        """The picture as RGB; larger ones than `LONGEST_EDGE` are reduced."""
        if isinstance(self.source, Path):
            image = read_picture(self.source, LONGEST_EDGE)
        else:
            image = self.source.convert("RGB")
        image.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
        return image


@dataclass(frozen=True)
class Pair:
    """Two pictures, and which of them stands on the left: ``"a"`` or ``"b"``."""

    a: Picture
    b: Picture
    left: str

    @property
    def names(self) -> frozenset[str]:
        """The pictures' names, in no order."""
        return frozenset((self.a.name, self.b.name))

    def sides(self) -> tuple[Picture, Picture]:
        """The left picture and the right one."""
        return (self.a, self.b) if self.left == "a" else (self.b, self.a)


def gather_sets(first: Any, second: Any = None) -> tuple[dict[str, list[Picture]], list[str]]:
    """The pictures of each set by its name, and sentences about files that are left out.

    Parameters
    ----------
    first, second
        Two sources, or a dict of names to sources. A source is a folder, a sequence of PIL images
        or of (name, PIL image), or a Tensor (N, 3, H, W) in [-1, 1].
    """
    if isinstance(first, Mapping):
        if second is not None:
            raise TypeError("give either a dict of sets or two folders, not a dict and a folder.")
        sources = dict(first)
    elif second is None:
        raise TypeError('give two folders, or a dict such as {"mini": folder, "gan": folder}.')
    else:
        sources = dict(zip(_two_names(first, second), (first, second), strict=True))
    if len(sources) < 2:
        raise ValueError(f"two sets or more can be compared, not {len(sources)}.")
    for name in sources:
        if not isinstance(name, str) or not name.strip() or "/" in name:
            raise ValueError(f"the name of a set is a text without '/', not {name!r}.")
    _check_different(sources)
    notices: list[str] = []
    return {name: _pictures(name, source, notices) for name, source in sources.items()}, notices


def plan_pairs(
    sets: Mapping[str, Sequence[Picture]], count: int | None, seed: int
) -> tuple[list[Pair], list[str]]:
    """The pairs in the order in which they are asked, and how they were found, in sentences.

    Each two sets are paired by file name if every name of the smaller one is also in the larger,
    else at random; no picture is used twice for the same two sets. In half of the pairs the first
    set stands on the left. Fewer pairs (`count`) are a part of those that a larger number gives.
    """
    rng = np.random.default_rng(check_whole("seed", seed, low=0))
    found, sentences = [], []
    for names in combinations(sets, 2):
        couples, sentence = _couples(*(sets[name] for name in names), rng)
        left = rng.permutation(np.arange(len(couples)) % 2)
        chosen = [Pair(*two, "ab"[side]) for two, side in zip(couples, left, strict=True)]
        found += enumerate(chosen)
        sentences.append(sentence.format(*names))
    found.sort(key=lambda item: item[0])  # stable: all sets have their share of the first pairs
    pairs = [pair for _, pair in found]
    if count is not None and check_whole("pairs", count) > len(pairs):
        raise ValueError(f"pairs={count} are wanted, but these sets give only {len(pairs)}.")
    pairs = pairs[:count]
    return [pairs[k] for k in rng.permutation(len(pairs))], sentences


def _couples(
    first: Sequence[Picture], second: Sequence[Picture], rng: np.random.Generator
) -> tuple[list[tuple[Picture, Picture]], str]:
    keys = [{one.key: one for one in some} for some in (first, second)]
    smaller, larger = sorted(keys, key=len)
    unique = len(smaller) + len(larger) == len(first) + len(second)
    if unique and smaller.keys() <= larger.keys():
        couples = [(keys[0][key], keys[1][key]) for key in smaller]
        order = rng.permutation(len(couples))
        return [
            couples[k] for k in order
        ], "Pictures of {} and {} with equal file names are paired."
    count = min(len(first), len(second))
    left, right = (rng.permutation(len(some))[:count] for some in (first, second))
    couples = [(first[i], second[j]) for i, j in zip(left, right, strict=True)]
    return couples, "The file names of {} and {} differ, so their pictures are paired at random."


def _is_folder(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike))


def _two_names(first: Any, second: Any) -> tuple[str, str]:
    """The folders' own names, with their parents' if they are alike; "a" and "b" for the rest."""
    folders = [
        Path(source).expanduser().resolve() if _is_folder(source) else Path(letter)
        for source, letter in ((first, "a"), (second, "b"))
    ]
    names = tuple(folder.name for folder in folders)
    if len(set(names)) == 1 and folders[0] != folders[1]:
        names = tuple(f"{folder.parent.name}-{folder.name}".lstrip("-") for folder in folders)
    if len(set(names)) == 1:
        same = _is_folder(first) and _is_folder(second) and folders[0] == folders[1]
        raise ValueError(
            f"both sets are the folder {str(first)!r}; give two different ones."
            if same
            else f"both sets would be called {names[0]!r}; name them: "
            'PictureComparison({"first": ..., "second": ...}).'
        )
    return names


def _check_different(sources: Mapping[str, Any]) -> None:
    """The same pictures under two names would be compared with themselves."""
    seen: dict[Any, str] = {}
    for name, source in sources.items():
        mark = Path(source).expanduser().resolve() if _is_folder(source) else id(source)
        if mark in seen:
            raise ValueError(
                f"the sets {seen[mark]!r} and {name!r} hold the same pictures; "
                "give two different folders or lists."
            )
        seen[mark] = name


def _pictures(name: str, source: Any, notices: list[str]) -> list[Picture]:
    if _is_folder(source):
        return _of_folder(name, Path(source).expanduser(), notices)
    if isinstance(source, Tensor):
        source = to_pil_list(source)
    if not isinstance(source, Sequence):
        raise TypeError(
            f"the set {name!r} must be a folder, a list of PIL images or a tensor (N, 3, H, W), "
            f"not {type(source).__name__}."
        )
    named = [one if isinstance(one, tuple) else (f"{k:03}", one) for k, one in enumerate(source)]
    for item in named:
        if len(item) != 2 or not isinstance(item[1], Image.Image):
            raise TypeError(
                f"the set {name!r} must hold PIL images or pairs (name, PIL image), not "
                f"{type(item[-1]).__name__}."
            )
    if not named:
        raise ValueError(f"the set {name!r} is empty; give at least one picture.")
    if len({label for label, _ in named}) < len(named):
        raise ValueError(f"two pictures of the set {name!r} have the same name; rename one.")
    return [Picture(f"{name}/{label}", image) for label, image in named]


def _of_folder(name: str, folder: Path, notices: list[str]) -> list[Picture]:
    """The pictures in a folder and its subfolders, sorted by name; hidden files do not count."""
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {str(folder)!r} (looked in {Path.cwd()}).")
    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file; give the folder that holds it.")
    inner = {path: path.relative_to(folder) for path in folder.rglob("*")}
    files = sorted(
        path for path, place in inner.items()
        if path.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in place.parts)
    )  # fmt: skip
    faults = {path: fault for path in files if (fault := find_fault(path, LONGEST_EDGE))}
    if faults:
        shown = [f"{inner[path]} ({why})" for path, why in list(faults.items())[:_SHOWN]]
        more = ", ..." if len(faults) > _SHOWN else ""
        notices.append(f"{len(faults)} files of {name} are left out: {', '.join(shown)}{more}.")
    kept = [path for path in files if path not in faults]
    if not kept:
        raise FileNotFoundError(
            f"there is no readable picture in {str(folder)!r}; files that count end in "
            f"{', '.join(SUFFIXES)}. {' '.join(notices)}".rstrip()
        )
    return [Picture(f"{name}/{inner[path].as_posix()}", path) for path in kept]
