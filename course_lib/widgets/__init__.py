"""Widgets of the course: they are fed with frames, not with models, and run in the page."""

from __future__ import annotations

from course_lib.widgets.stepper import TimestepStepper

__all__ = ["TimestepStepper"]
