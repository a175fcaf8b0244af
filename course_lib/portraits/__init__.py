"""Portraits with exact captions: attributes, a painter, and data sets.

Names load on first use, so that painting in a worker process does not have to import torch.
"""

from __future__ import annotations

import importlib

_MODULES: dict[str, tuple[str, ...]] = {
    "attributes": ("VOCABULARY", "STYLES", "Attributes", "sample_attributes", "visible_attributes"),
    "captions": ("caption", "full_caption", "parse_caption"),
    "dataset": ("PortraitDataset",),
    "folder": ("PortraitFolder",),
    "painter": ("paint_portrait",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_HOME]  # noqa: PLE0604  (every entry is a string)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'course_lib.portraits' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
