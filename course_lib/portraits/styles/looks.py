"""How each style draws before its raster finish: outlines, flat or soft colour, dark features."""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.portraits.attributes import Attributes

# Below these sizes (pixels) strands and gradients, which hardly show, are left out: they take most
# of the renderer's time.
FINE_SIZE, SOFT_SIZE = 96, 160


@dataclass(frozen=True, slots=True)
class Look:
    """The vector side of a style; `width` in units of the 256-unit view box."""

    outline: str | None = None
    width: float = 0.0
    soft: bool = True
    dark: bool = False
    bold: float = 1.0
    grid: int = 0

    def render_size(self, size: int, attributes: Attributes) -> int:
        """The size to rasterise at for a picture of `size` pixels."""
        if not self.grid:
            return size
        coarse = attributes.quality == "rough" and attributes.framing != "half-length"
        return min(size, self.grid // 2 if coarse else self.grid)


_LOOKS: dict[str, Look] = {
    "flat illustration": Look(),
    "pencil sketch": Look(dark=True),
    "ink drawing": Look(outline="#0c0c10", width=2.2, dark=True, bold=1.1),
    "watercolor": Look(),
    "oil painting": Look(),
    "pop art": Look(outline="#101014", width=3.4, soft=False, dark=True, bold=1.3),
    "pixel art": Look(dark=True, bold=1.2, grid=64),
    "pastel": Look(),
    "mosaic": Look(dark=True, bold=1.4),
    "woodcut": Look(outline="#000000", width=3.4, dark=True, bold=1.3),
}


def look_of(attributes: Attributes) -> Look:
    """The look of the attributes' style."""
    return _LOOKS[attributes.style]
