"""The portraits the mini learns from: pixels, captions, and what the captions say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.mini.config import IMAGE_SIZE, MINI_PORTRAITS, MINI_VARIETY
from course_lib.mini.retelling import retell
from course_lib.mini.wording import vary
from course_lib.portraits import PortraitDataset, caption, full_caption, parse_caption
from course_lib.portraits.attributes import VOCABULARY, Attributes, visible_attributes

# The series of portraits: training, and the held-out people that evaluation asks about
TRAINING_SEED, HELD_OUT_SEED = 1000, 2000
RETOLD = 0.4  # of the captions in other words
UNSEEN = -100  # the label of what cannot be seen; cross-entropy ignores it


@dataclass(frozen=True, eq=False)
class Portraits:
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
        """What each portrait shows: drawn once, since every batch asks for it."""
        return [self.series.attributes(i) for i in range(len(self))]

    def captions(self, indices, generator: torch.Generator) -> list[str]:
        """A fresh caption for each portrait, every second one in other words."""
        rng = _numpy_generator(generator)
        texts = [caption(self.people[int(i)], rng) for i in indices]
        return [in_other_words(text, rng) if rng.random() < 0.5 else text for text in texts]

    def full_captions(self, generator: torch.Generator) -> list[str]:
        """A caption of each portrait that leaves nothing out, in other words."""
        rng = _numpy_generator(generator)
        return [in_other_words(full_caption(one), rng) for one in self.people]

    def labels(self, indices) -> dict[str, Tensor]:
        """For each attribute, its values' numbers, (B,); `UNSEEN` where the picture hides it."""
        return labels_of([self.people[int(i)] for i in indices])


def in_other_words(text: str, rng: np.random.Generator) -> str:
    """The caption with some words exchanged, or told in sentences of another kind."""
    return retell(text, rng) if rng.random() < RETOLD else vary(text, rng)


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A generator for numpy that follows from the next draw of torch's."""
    return np.random.default_rng(torch.randint(2**62, (2,), generator=generator).tolist())


def value_numbers(stated, missing: int = -1) -> dict[str, Tensor]:
    """For each attribute the numbers of stated values, (B,); `missing` where nothing is stated.

    `stated` holds one dictionary (attribute -> value) for each portrait.
    """
    return {
        name: torch.tensor([values.index(s[name]) if name in s else missing for s in stated])
        for name, values in VOCABULARY.items()
    }


def labels_of(people) -> dict[str, Tensor]:
    """Attribute values as numbers in the vocabulary's order; `UNSEEN` for what is hidden."""
    seen = [{name: getattr(one, name) for name in visible_attributes(one)} for one in people]
    return value_numbers(seen, UNSEEN)


def labels_at(labels: dict[str, Tensor], indices) -> dict[str, Tensor]:
    """Of each attribute's labels those at `indices`, an index of tensors of any kind."""
    return {name: numbers[indices] for name, numbers in labels.items()}


def said_in(captions) -> dict[str, Tensor]:
    """What captions say: values' numbers, (B,), and one number more for "not mentioned"."""
    said = value_numbers([parse_caption(text) for text in captions])
    return {k: torch.where(v < 0, len(VOCABULARY[k]), v) for k, v in said.items()}


def stated_in(said: dict[str, Tensor]) -> dict[str, Tensor]:
    """As labels: what `said_in` found, and `UNSEEN` for what is not mentioned."""
    return {k: torch.where(v == len(VOCABULARY[k]), UNSEEN, v) for k, v in said.items()}


def mini_series(count: int, *, seed: int, cache: Path | None = None) -> PortraitDataset:
    """`count` people of the kind that the mini learns, at its size."""
    world = {"size": IMAGE_SIZE, "only": MINI_PORTRAITS, "variety": MINI_VARIETY}
    return PortraitDataset(count, seed=seed, cache_dir=cache, **world)


def load_portraits(count: int, *, seed: int, cache: Path | None = None) -> Portraits:
    """Paint the `count` portraits of `mini_series`, or read those painted before."""
    series, workers = mini_series(count, seed=seed, cache=cache), max(2, os.cpu_count() or 1)
    pixels = torch.from_numpy(np.ascontiguousarray(series.pixels(workers=workers)))
    return Portraits(series, pixels.permute(0, 3, 1, 2))  # (N, H, W, C) -> (N, C, H, W), a view


def shifted(pixels: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Square pictures, each moved by up to `reach` pixels, edges repeated, as floats in [-1, 1]."""
    count, size = len(pixels), pixels.shape[-1]
    moves = torch.randint(-reach, reach + 1, (2, count, 1), generator=generator)
    rows, columns = (torch.arange(size) + moves).clamp(0, size - 1)
    picture = torch.arange(count)[:, None, None]
    moved = pixels[picture, :, rows[:, :, None], columns[:, None, :]]  # channels come last
    return signed(moved.permute(0, 3, 1, 2))


def signed_batches(pixels: Tensor, size: int, device) -> Iterator[Tensor]:
    """`size` pictures at a time, as floats in [-1, 1], on the device and channels last."""
    for part in pixels.split(size):
        yield signed(part).to(device, memory_format=torch.channels_last)


def signed(pixels: Tensor) -> Tensor:
    """uint8 -> floats in [-1, 1]."""
    return pixels.float() / 127.5 - 1
