"""Widgets of the course: they are fed with frames, not with models, and run in the page.

Names load on first use.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "comparison": ("PictureComparison",),
    "designer": ("ScheduleDesigner",),
    "explorer": ("AttentionExplorer",),
    "grid": ("GuidanceGrid",),
    "mask": ("MaskPainter",),
    "quiz": ("Quiz",),
    "stepper": ("TimestepStepper",),
    "studio": ("PortraitStudio",),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
