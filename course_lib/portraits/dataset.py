"""`PortraitDataset`: as many captioned portraits as you ask for, painted on demand."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from course_lib.errors import check_whole
from course_lib.file_writing import write_atomically
from course_lib.portraits.attributes import Attributes, check_only
from course_lib.portraits.batches import draw_person, paint, paint_in_processes
from course_lib.portraits.cache import CHUNK, ChunkCache, default_cache_dir
from course_lib.portraits.captions import caption
from course_lib.portraits.drawing.identity import check_variety
from course_lib.portraits.painter import MAX_SIZE, MIN_SIZE
from course_lib.tensors import uint8_to_signed


class PortraitDataset(Dataset):
    """The first `n` portraits of an endless series, each with a caption.

    Portrait number i depends on `seed`, `styles`, `only` and i alone: a longer data set begins with
    the shorter one, and the order of access does not matter. Another `seed` gives other people,
    which is how to get held-out portraits.

    Parameters
    ----------
    n : int
        How many portraits.
    size : int
        Width and height in pixels, 32 to 512. The same people appear at every size.
    seed : int
        Which series; not negative.
    styles : sequence of str, optional
        Only these art styles. Default: all ten of `STYLES`.
    only : mapping from attribute to values, optional
        Restrict other attributes alike, such as ``{"pose": ["frontal"], "framing": ["bust"]}``.
    variety : float
        From 0 to 1: how much people of equal attributes differ in build, place and shade. Below
        1 faces lie nearly where other faces lie, which a small network learns much faster.
    cache : bool, optional
        Keep painted portraits on disk, in `default_cache_dir`. Default: where the environment
        variable ``COURSE_CACHE`` names a folder, as on a hub where an instructor has filled it; it
        may be read-only then.
    cache_dir : path, optional
        Keep them in this folder instead; implies `cache`. Several processes may share it.
    transform : callable, optional
        Applied to each image tensor, for instance from ``torchvision.transforms.v2``.

    Raises
    ------
    ValueError
        If a number is out of range, a style unknown, or the cache folder cannot be written to.

    Examples
    --------
    >>> portraits = PortraitDataset(1000, size=64)
    >>> image, text = portraits[0]            # image (3, 64, 64) in [-1, 1]
    >>> from torchvision.transforms import v2
    >>> flipped = PortraitDataset(1000, transform=v2.RandomHorizontalFlip(p=0.5))

    Mind what a transform does to the caption: after a flip, "facing left" is wrong.
    """

    def __init__(
        self,
        n: int,
        size: int = 64,
        seed: int = 0,
        styles: Sequence[str] | None = None,
        *,
        only: Mapping[str, Sequence[str]] | None = None,
        variety: float = 1.0,
        cache: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.n = check_whole("n", n, low=1)
        self.size = check_whole("size", size, low=MIN_SIZE, high=MAX_SIZE)
        self.seed = check_whole("seed", seed, low=0)
        self.only = check_only(({} if styles is None else {"style": styles}) | dict(only or {}))
        self.styles = self.only.get("style")
        self.variety = check_variety(variety)
        self.transform = transform
        self._cache: ChunkCache | None = None
        asked = bool(cache) or cache_dir is not None
        if asked or (cache is None and os.environ.get("COURSE_CACHE")):
            series = f"seed={self.seed} size={self.size} styles={self.styles}"
            others = {name: values for name, values in self.only.items() if name != "style"}
            series += f" only={others}" if others else ""
            series += f" variety={self.variety}" if self.variety != 1 else ""
            folder = cache_dir if cache_dir is not None else default_cache_dir()
            self._cache = ChunkCache(folder, series=series, size=self.size, must_write=asked)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        index = self._checked(index)
        image = _to_images(self._paint_one(index)[None])[0]
        return (self.transform(image) if self.transform else image), self.caption(index)

    def __repr__(self) -> str:
        only = {name: list(values) for name, values in self.only.items()}
        styles = f", styles={only.pop('style')}" if "style" in only else ""
        others = f", only={only}" if only else ""
        variety = f", variety={self.variety:g}" if self.variety != 1 else ""
        own = f"{self.n}, size={self.size}, seed={self.seed}{styles}{others}{variety}"
        return f"PortraitDataset({own})"

    def attributes(self, index: int) -> Attributes:
        """What portrait number `index` shows, including what its caption leaves out."""
        return draw_person(self.seed, self._checked(index), self.only)[0]

    def caption(self, index: int) -> str:
        """The caption of portrait number `index`, without painting it."""
        attributes, _, rng = draw_person(self.seed, self._checked(index), self.only)
        return caption(attributes, rng)

    def captions(self, indices: Iterable[int] | None = None) -> list[str]:
        """The captions of some portraits, or of all."""
        return [self.caption(i) for i in (range(self.n) if indices is None else indices)]

    def images(self, indices: Iterable[int] | None = None, *, workers: int = 0) -> Tensor:
        """Paint some portraits, or all, as one batch; `transform` is not applied.

        Parameters
        ----------
        indices : iterable of int, optional
            Which portraits, in which order. Default: all.
        workers : int
            Share the painting among so many processes; 0 or 1 paints in this one.

        Returns
        -------
        Tensor, shape (N, 3, size, size)
            float32 in [-1, 1]: 48 KiB for each portrait at 64 pixels.
        """
        return _to_images(self.pixels(indices, workers=workers))

    def pixels(self, indices: Iterable[int] | None = None, *, workers: int = 0) -> np.ndarray:
        """Like `images`, as bytes of shape (N, size, size, 3): a quarter of the memory."""
        workers = check_whole("workers", workers, low=0)
        wanted = range(self.n) if indices is None else [self._checked(i) for i in indices]
        if self._cache is None:
            return self._paint(wanted, workers)
        result = np.empty((len(wanted), self.size, self.size, 3), np.uint8)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(wanted):
            places.setdefault(index // CHUNK, []).append(place)
        for chunk, stored in self._chunks(sorted(places), workers):
            for place in places[chunk]:
                result[place] = stored[wanted[place] % CHUNK]
        return result

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write all portraits as PNG files with ``metadata.jsonl``, as `PortraitFolder` reads them.

        Each line has ``file_name``, ``text`` (the caption) and ``attributes`` (all that the
        portrait shows), by which `course_lib.personalise` knows that it shows nobody real.

        Returns
        -------
        Path
            The folder, made if need be.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for index, pixels in enumerate(self.pixels()):
            name = f"{index:04d}.png"
            Image.fromarray(pixels).save(folder / name)
            attributes = asdict(self.attributes(index))
            entry = {"file_name": name, "text": self.caption(index), "attributes": attributes}
            lines.append(json.dumps(entry) + "\n")
        write_atomically(folder / "metadata.jsonl", "".join(lines).encode())
        return folder

    def _paint(self, indices: Sequence[int], workers: int = 0) -> np.ndarray:
        series = {
            "seed": self.seed, "size": self.size, "only": self.only, "variety": self.variety
        }  # fmt: skip
        if workers > 1:
            return paint_in_processes(indices, workers=workers, **series)
        return paint(indices, **series)

    def _paint_one(self, index: int) -> np.ndarray:
        if self._cache is None:
            return self._paint([index])[0]
        chunk, place = divmod(index, CHUNK)
        stored = self._cache.read(chunk)
        if stored is not None and place < len(stored):
            return stored[place]
        if not self._cache.writable:
            return self._paint([index])[0]
        return next(self._chunks([chunk], workers=0))[1][place]

    def _chunks(self, chunks: Sequence[int], workers: int) -> Iterator[tuple[int, np.ndarray]]:
        """Read these chunks from the cache, or paint and store them; store each when it is done."""
        assert self._cache is not None
        group = max(1, 4 * workers)  # enough for all workers, little to lose when interrupted
        for start in range(0, len(chunks), group):
            lacking: list[range] = []
            for chunk in chunks[start : start + group]:
                portraits = range(chunk * CHUNK, min((chunk + 1) * CHUNK, self.n))
                stored = self._cache.read(chunk)
                if stored is not None and len(stored) >= len(portraits):
                    yield chunk, stored
                else:
                    lacking.append(portraits)
            if not lacking:
                continue
            fresh = self._paint([i for portraits in lacking for i in portraits], workers)
            for portraits in lacking:
                done, fresh = fresh[: len(portraits)].copy(), fresh[len(portraits) :]
                self._cache.write(portraits[0] // CHUNK, done)
                yield portraits[0] // CHUNK, done

    def _checked(self, index: int) -> int:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"PortraitDataset takes one whole number as index, not {index!r}; for several "
                "portraits use .images(indices)."
            ) from None
        if not 0 <= number < self.n:
            raise IndexError(
                f"index {number} is out of range: this data set has portraits 0 to {self.n - 1}."
            )
        return number


def _to_images(pixels: np.ndarray) -> Tensor:
    images = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)  # (N,H,W,C) -> (N,C,H,W)
    return uint8_to_signed(images).contiguous()
