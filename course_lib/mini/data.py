"""Portraits as tensors: pixels, captions, and labels of what images show and captions mention."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.mini.config import MINI_DATA, TrainingData
from course_lib.mini.retelling import retell
from course_lib.mini.wording import vary
from course_lib.portraits import PortraitDataset, caption, parse_caption
from course_lib.portraits.attributes import VOCABULARY, Attributes, visible_attributes
from course_lib.tensors import uint8_to_signed

# Two series of people: those trained on, and the held-out ones that evaluation asks about
TRAINING_SEED, HELD_OUT_SEED = 1000, 2000
RETOLD = 0.4
IGNORE_INDEX = -100  # the label of what cannot be seen; PyTorch's cross-entropy ignores it

Labels = dict[str, Tensor]  # attribute -> indices into its values, one for each portrait


@dataclass(frozen=True, eq=False)
class PortraitData:
    """A series of painted portraits in memory.

    Attributes
    ----------
    series : PortraitDataset
    pixels : Tensor, shape (N, 3, 128, 128), uint8
    """

    series: PortraitDataset
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.series)

    @cached_property
    def people(self) -> list[Attributes]:
        return [self.series.attributes(i) for i in range(len(self))]

    def captions(self, indices, generator: torch.Generator) -> list[str]:
        rng = _numpy_generator(generator)
        texts = [caption(self.people[int(i)], rng) for i in indices]
        return [in_other_words(text, rng) if rng.random() < 0.5 else text for text in texts]

    def labels(self, indices) -> Labels:
        return attribute_labels([self.people[int(i)] for i in indices])


def in_other_words(text: str, rng: np.random.Generator) -> str:
    return retell(text, rng) if rng.random() < RETOLD else vary(text, rng)


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(torch.randint(2**62, (2,), generator=generator).tolist())


def value_indices(stated: Sequence[Mapping[str, str]], missing: int = -1) -> Labels:
    """For each attribute the indices of stated values, (B,); `missing` where nothing is stated.

    `stated` holds one mapping (attribute -> value) for each portrait.
    """
    return {
        name: torch.tensor([values.index(s[name]) if name in s else missing for s in stated])
        for name, values in VOCABULARY.items()
    }


def attribute_labels(people: Iterable[Attributes]) -> Labels:
    """What portraits show, (B,) for each attribute; `IGNORE_INDEX` for what is hidden."""
    visible = [{name: getattr(one, name) for name in visible_attributes(one)} for one in people]
    return value_indices(visible, IGNORE_INDEX)


def caption_labels(captions: Iterable[str]) -> Labels:
    """What captions say: values' indices, (B,), and one index more for "not mentioned"."""
    said = value_indices([parse_caption(text) for text in captions])
    return {k: torch.where(v < 0, len(VOCABULARY[k]), v) for k, v in said.items()}


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
    """Paint the `count` portraits of `mini_series`, or read those painted before."""
    series = mini_series(count, seed=seed, cache=cache, data=data)
    pixels = torch.from_numpy(series.pixels(workers=max(2, os.cpu_count() or 1)))
    return PortraitData(series, pixels.permute(0, 3, 1, 2))  # (N, H, W, C) -> (N, C, H, W), a view


def random_shift(pixels: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to `reach` pixels, edges repeated, as floats in [-1, 1]."""
    count, size = len(pixels), pixels.shape[-1]
    moves = torch.randint(-reach, reach + 1, (2, count, 1), generator=generator)
    rows, columns = (torch.arange(size) + moves).clamp(0, size - 1)  # (B, size) each
    image = torch.arange(count)[:, None, None]
    # Indices on both sides of the slice put the indexed axes first: (B, size, size, C)
    moved = pixels[image, :, rows[:, :, None], columns[:, None, :]]
    return uint8_to_signed(moved.permute(0, 3, 1, 2))


def signed_batches(pixels: Tensor, size: int, device) -> Iterator[Tensor]:
    """`size` images at a time, as floats in [-1, 1], on the device and channels last."""
    for part in pixels.split(size):
        yield uint8_to_signed(part).to(device, memory_format=torch.channels_last)
