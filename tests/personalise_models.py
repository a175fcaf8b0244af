"""A tiny pipeline and a folder of painted portraits, for the tests of `personalise`."""

from __future__ import annotations

from pathlib import Path

from mini_models import smoke_pipeline

from course_lib.pipelines import load_pipeline
from course_lib.portraits import PortraitDataset

PORTRAITS = PortraitDataset(6, size=128, seed=5, only={"style": ["mosaic"]}, variety=0.3)


def small_pipe(tokenizer, prediction: str = "sample"):
    """The mini's structure with random weights, an eighth of a second a picture."""
    pipe = smoke_pipeline(tokenizer, prediction)
    return load_pipeline(pipe, "cpu", like="mini", verbose=False)


def portraits(folder: Path) -> Path:
    """Six painted portraits with captions and attributes."""
    return PORTRAITS.save(folder)
