"""Figures of the course: tensors in, a matplotlib ``Figure`` out.

No function here shows or saves anything. Leave the figure as the last line of a notebook cell
and it appears exactly once; outside a notebook call ``figure.savefig("name.png")``.

Colours are the Okabe-Ito palette and every line has its own style or marker besides, so nothing
depends on telling red from green. Maps of numbers use viridis.
"""

from __future__ import annotations

from course_lib.plotting.curves import loss_curves, roc_curves, schedule_curves, time_quality
from course_lib.plotting.fields import vector_fields
from course_lib.plotting.images import before_after, film_strip, heatmap_grid, image_grid
from course_lib.plotting.intervals import interval_curves, interval_dots
from course_lib.plotting.pixels import as_frames, display_limit
from course_lib.plotting.portraits import attention_strip, photo
from course_lib.plotting.spectra import power_spectra, radial_power
from course_lib.plotting.spread import distribution, histogram_vs_normal
from course_lib.plotting.style import LINE_STYLES, MARKERS, PALETTE, CourseFigure, new_figure

__all__ = [
    "LINE_STYLES",
    "MARKERS",
    "PALETTE",
    "CourseFigure",
    "as_frames",
    "attention_strip",
    "before_after",
    "display_limit",
    "distribution",
    "film_strip",
    "heatmap_grid",
    "histogram_vs_normal",
    "image_grid",
    "interval_curves",
    "interval_dots",
    "loss_curves",
    "new_figure",
    "photo",
    "power_spectra",
    "radial_power",
    "roc_curves",
    "schedule_curves",
    "time_quality",
    "vector_fields",
]
