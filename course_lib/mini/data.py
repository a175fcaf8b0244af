"""Portraits as tensors: pixels, captions, and labels of what images show and captions mention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.mini.config import MINI_DATA, TrainingData
from course_lib.mini.examples import (
    IGNORE_INDEX,
    ExamplePainter,
    ExampleSeries,
    caption_rows,
    make_examples,
    read_block,
    value_rows,
)
from course_lib.portraits import PortraitDataset
from course_lib.portraits.attributes import VOCABULARY, Attributes, visible_attributes
from course_lib.tensors import uint8_to_signed

# Two series of people: those trained on, and the held-out ones that evaluation asks about
TRAINING_SEED, HELD_OUT_SEED = 1000, 2000

Labels = dict[str, Tensor]  # attribute -> indices into its values, one for each portrait


@dataclass(frozen=True, eq=False)
class PortraitData:
    """Portraits in memory with V captions each.

    Attributes
    ----------
    pixels : Tensor, shape (N, 3, 128, 128), uint8
    labels : dict
        Attribute -> what each portrait shows, (N,); `IGNORE_INDEX` for what is hidden.
    captions : ndarray of str, shape (N, V)
    caption_labels : dict
        Attribute -> what each caption mentions, (N, V), as `caption_labels` numbers it.
    """

    pixels: Tensor
    labels: Labels
    captions: np.ndarray
    caption_labels: Labels

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> PortraitData:
        """The same with the pixels on another device, where batches are then drawn from them."""
        return replace(self, pixels=self.pixels.to(device))

    @classmethod
    def from_examples(cls, blocks: Iterable[Mapping[str, np.ndarray]], count: int) -> PortraitData:
        """The first `count` examples of blocks as `make_examples` returns them."""
        whole, start = {}, 0
        for block in blocks:
            if not whole:  # the shapes are known now; one array each saves memory
                whole = {k: np.empty((count, *v.shape[1:]), v.dtype) for k, v in block.items()}
            size = min(len(block["pixels"]), count - start)
            for name, rows in whole.items():
                rows[start : start + size] = block[name][:size]
            start += size
        return cls(
            # (N, H, W, C) -> (N, C, H, W), a view: channels stay neighbours in memory
            torch.from_numpy(whole["pixels"]).permute(0, 3, 1, 2),
            _columns(whole["labels"]),
            whole["captions"],
            _columns(whole["caption_labels"]),
        )


def _columns(rows: np.ndarray) -> Labels:
    """(..., A) -> attribute -> (...)."""
    return {name: torch.from_numpy(rows[..., i]).long() for i, name in enumerate(VOCABULARY)}


def value_indices(stated: Sequence[Mapping[str, str]], missing: int = -1) -> Labels:
    """For each attribute the indices of stated values, (B,); `missing` where nothing is stated.

    `stated` holds one mapping (attribute -> value) for each portrait.
    """
    return _columns(value_rows(stated, missing))


def attribute_labels(people: Iterable[Attributes]) -> Labels:
    """What portraits show, (B,) for each attribute; `IGNORE_INDEX` for what is hidden."""
    visible = [{name: getattr(one, name) for name in visible_attributes(one)} for one in people]
    return value_indices(visible, IGNORE_INDEX)


def caption_labels(captions: Iterable[str]) -> Labels:
    """What captions mention: values' indices, (B,), and one index more for "not mentioned"."""
    return _columns(caption_rows(captions))


def index_labels(labels: Labels, indices) -> Labels:
    """Of each attribute's labels those at `indices`, an index of tensors of any kind."""
    return {name: numbers[indices] for name, numbers in labels.items()}


def mini_series(
    count: int, *, seed: int, cache: Path | None = None, data: TrainingData = MINI_DATA
) -> PortraitDataset:
    """`count` people of the distribution that a mini is trained on; default: the shipped one's."""
    options = {"size": data.size, "only": data.only, "variety": data.variety}
    return PortraitDataset(count, seed=seed, cache_dir=cache, **options)


def load_portraits(
    count: int, *, seed: int, cache: Path | None = None, data: TrainingData = MINI_DATA
) -> PortraitData:
    """The first `count` examples of a series, painted now or read from `cache`."""
    series = ExampleSeries(seed, data)
    if cache is None:
        return PortraitData.from_examples([make_examples(series, range(count))], count)
    painter = ExamplePainter(series, count, cache)
    try:
        return read_portraits(painter.wait(count), count)
    finally:
        painter.close()


def read_portraits(paths: Iterable[Path], count: int) -> PortraitData:
    """The first `count` examples of the block files at `paths`."""
    return PortraitData.from_examples((read_block(path) for path in paths), count)


def random_shift(pixels: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to `reach` pixels, edges repeated, as floats in [-1, 1]."""
    count, size = len(pixels), pixels.shape[-1]
    moves = torch.randint(-reach, reach + 1, (2, count, 1), generator=generator)
    rows, columns = (torch.arange(size) + moves).clamp(0, size - 1).to(pixels.device)
    image = torch.arange(count, device=pixels.device)[:, None, None]
    # Indices on both sides of the slice put the indexed axes first: (B, size, size, C)
    moved = pixels[image, :, rows[:, :, None], columns[:, None, :]]
    return uint8_to_signed(moved.permute(0, 3, 1, 2))


def signed_batches(pixels: Tensor, size: int, device) -> Iterator[Tensor]:
    """`size` images at a time, as floats in [-1, 1], on the device and channels last."""
    for part in pixels.split(size):
        yield uint8_to_signed(part.to(device)).contiguous(memory_format=torch.channels_last)
