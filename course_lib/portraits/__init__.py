"""Portraits with exact captions: attributes, a painter, and data sets.

Names load on first use, so that painting in a worker process does not have to import torch.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "attributes": ("VOCABULARY", "STYLES", "Attributes", "sample_attributes", "visible_attributes"),
    "captions": ("caption", "full_caption", "parse_caption"),
    "dataset": ("PortraitDataset",),
    "folder": ("PortraitFolder",),
    "painter": ("paint_portrait",),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
