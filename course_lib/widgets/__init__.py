"""Widgets of the course: they are fed with frames, not with models, and run in the page.

Names load on first use.
"""

from __future__ import annotations

import importlib

_MODULES: dict[str, tuple[str, ...]] = {
    "designer": ("ScheduleDesigner",),
    "explorer": ("AttentionExplorer",),
    "grid": ("GuidanceGrid",),
    "stepper": ("TimestepStepper",),
    "studio": ("PortraitStudio",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_HOMES]  # noqa: PLE0604  (every entry is a string)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
