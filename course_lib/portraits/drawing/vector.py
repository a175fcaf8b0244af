"""A few drawing words over SVG: smooth shapes, tapered strands, gradients, outlines.

Every shape becomes one path element, and shapes of one colour are joined into one element,
because the time that the renderer takes grows with the number of elements.
"""

from __future__ import annotations

import math
from functools import lru_cache

Color = tuple[float, float, float]
Point = tuple[float, float]


@lru_cache(maxsize=4096)
def css(color: Color) -> str:
    """The colour (components in [0, 255]) as ``#rrggbb``."""
    r, g, b = (min(255, max(0, round(c))) for c in color)
    return f"#{r:02x}{g:02x}{b:02x}"


@lru_cache(maxsize=8192)
def mix(a: Color, b: Color, t: float) -> Color:
    """The colour a fraction `t` of the way from `a` to `b`."""
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def luminance(color: Color) -> float:
    """Perceived brightness in [0, 1] (Rec. 601 weights)."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255.0


@lru_cache(maxsize=4096)
def shade(color: Color, t: float) -> Color:
    """Darken by `t` towards a deep, slightly red dark, as a shadow on skin or cloth does."""
    return mix(color, (color[0] * 0.42 + 12, color[1] * 0.27 + 6, color[2] * 0.32 + 17), t)


@lru_cache(maxsize=4096)
def tint(color: Color, t: float) -> Color:
    """Lighten by `t` towards a warm white, as light does."""
    return mix(color, (255.0, 248.0, 234.0), t)


@lru_cache(maxsize=256)
def _curve_format(segments: int, closed: bool) -> str:
    return "M%.1f %.1f" + "C%.1f %.1f %.1f %.1f %.1f %.1f" * segments + ("Z" if closed else "")


def smooth(points: list[Point]) -> str:
    """A closed curve through `points` (Catmull-Rom, as cubic Bezier segments)."""
    n = len(points)
    x1, y1 = points[0]
    out = [x1, y1]
    x0, y0 = points[-1]
    x2, y2 = points[1]
    for i in range(n):
        x3, y3 = points[(i + 2) % n]
        out += (
            x1 + (x2 - x0) / 6, y1 + (y2 - y0) / 6, x2 - (x3 - x1) / 6, y2 - (y3 - y1) / 6, x2, y2,
        )
        x0, y0, x1, y1, x2, y2 = x1, y1, x2, y2, x3, y3
    return _curve_format(n, True) % tuple(out)


def curve(points: list[Point]) -> str:
    """An open curve through `points`."""
    path = [points[0], *points, points[-1]]
    out = [*points[0]]
    for i in range(1, len(points)):
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = path[i - 1 : i + 3]
        out += (
            x1 + (x2 - x0) / 6, y1 + (y2 - y0) / 6, x2 - (x3 - x1) / 6, y2 - (y3 - y1) / 6, x2, y2,
        )
    return _curve_format(len(points) - 1, False) % tuple(out)


def polygon(points: list[Point]) -> str:
    """A closed shape with straight sides."""
    return "M" + "L".join([f"{x:.1f} {y:.1f}" for x, y in points]) + "Z"


def ellipse(cx: float, cy: float, rx: float, ry: float) -> str:
    """An ellipse as a path, so that it can be joined with others."""
    radii = f"a{rx:.1f} {ry:.1f} 0 1 1"
    return f"M{cx - rx:.1f} {cy:.1f}{radii} {2 * rx:.1f} 0{radii} {-2 * rx:.1f} 0Z"


def rectangle(x: float, y: float, width: float, height: float) -> str:
    """A rectangle as a path."""
    return f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}Z"


def band(disc: Point, radius: float, top: float, bottom: float) -> str:
    """A disc cut off above `top` and below `bottom` (offsets from its centre): a lidded iris."""
    cx, cy = disc
    top, bottom = max(-radius * 0.98, top), min(radius * 0.98, bottom)
    if bottom <= top:
        bottom = top + 0.5
    xt, xb = math.sqrt(radius**2 - top**2), math.sqrt(radius**2 - bottom**2)
    arc = f"A{radius:.1f} {radius:.1f} 0 0 1"
    return (
        f"M{cx - xt:.1f} {cy + top:.1f}H{cx + xt:.1f}{arc} {cx + xb:.1f} {cy + bottom:.1f}"
        f"H{cx - xb:.1f}{arc} {cx - xt:.1f} {cy + top:.1f}Z"
    )


def strand(start: Point, bend: Point, end: Point, width: float) -> str:
    """A lens-shaped lock that tapers at both ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    ox, oy = -dy / length * width, dx / length * width
    (x, y), (bx, by) = start, bend
    return (
        f"M{x:.1f} {y:.1f}Q{bx + ox:.1f} {by + oy:.1f} {end[0]:.1f} {end[1]:.1f}"
        f"Q{bx - ox:.1f} {by - oy:.1f} {x:.1f} {y:.1f}Z"
    )


def scallop(points: list[Point], bulge: float, closed: bool = True) -> str:
    """A cloud outline: arcs that bulge to the left of the walking direction by `bulge`."""
    out = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    follow = points[1:] + points[:1] if closed else points[1:]
    for (x0, y0), (x1, y1) in zip(points, follow, strict=False):
        dx, dy = x1 - x0, y1 - y0
        mx, my = (x0 + x1) / 2 + dy * bulge, (y0 + y1) / 2 - dx * bulge
        out.append(f"Q{mx:.1f} {my:.1f} {x1:.1f} {y1:.1f}")
    return "".join(out) + ("Z" if closed else "")


class Canvas:
    """Collects SVG elements; `outline` is the contour that the style draws around shapes."""

    def __init__(
        self, outline: str | None = None, width: float = 0.0, soft: bool = True, bands: int = 0
    ) -> None:
        self.parts: list[str] = []
        self.defs: list[str] = []
        self.outline = outline
        self.width = width
        self.soft = soft
        self.bands = bands

    def shape(self, path: str, paint: Color | str, width: float = 1.0) -> None:
        """A form with the style's outline (`width` is relative to the style's)."""
        paint = paint if isinstance(paint, str) else css(paint)
        if self.outline is None or width <= 0:
            self.parts.append(f'<path d="{path}" fill="{paint}"/>')
        else:
            self.parts.append(
                f'<path d="{path}" fill="{paint}" stroke="{self.outline}" '
                f'stroke-width="{self.width * width:.2f}" stroke-linejoin="round"/>'
            )

    def tone(self, path: str, color: Color, opacity: float = 1.0) -> None:
        """A patch of light, shade or colour without an outline."""
        if opacity >= 0.995:
            self.parts.append(f'<path d="{path}" fill="{css(color)}"/>')
        else:
            self.parts.append(
                f'<path d="{path}" fill="{css(color)}" fill-opacity="{opacity:.2f}"/>'
            )

    def line(self, path: str, color: Color, width: float, opacity: float = 1.0) -> None:
        """A stroke of even width with round ends."""
        see = "" if opacity >= 0.995 else f' stroke-opacity="{opacity:.2f}"'
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{css(color)}" stroke-width="{width:.1f}" '
            f'stroke-linecap="round" stroke-linejoin="round"{see}/>'
        )

    def linear(self, a: Point, b: Point, *stops: tuple[float, Color]) -> Color | str:
        """A gradient from `a` to `b`; its middle colour where the style wants flat colour."""
        if not self.soft:
            return stops[len(stops) // 2][1]
        name = f"g{len(self.defs)}"
        inner = "".join(f'<stop offset="{o:.2f}" stop-color="{css(c)}"/>' for o, c in stops)
        self.defs.append(
            f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x1="{a[0]:.1f}" '
            f'y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}">{inner}</linearGradient>'
        )
        return f"url(#{name})"

    def glow(self, spots: list[tuple[float, float, float, float]], color: Color, opacity: float,
             ) -> None:
        """Soft round patches (cx, cy, rx, ry) of one colour that fade to nothing at the rim."""
        path = "".join([ellipse(*spot) for spot in spots])
        if not self.soft:
            self.tone(path, color, opacity * 0.5)
            return
        name = f"g{len(self.defs)}"
        # A gradient spans the box of its element, so every patch is an element of its own.
        self.defs.append(
            f'<radialGradient id="{name}"><stop stop-color="{css(color)}" '
            f'stop-opacity="{opacity:.2f}"/><stop offset="1" stop-color="{css(color)}" '
            f'stop-opacity="0"/></radialGradient>'
        )
        self.parts += [f'<path d="{ellipse(*spot)}" fill="url(#{name})"/>' for spot in spots]

    def sky(self, *stops: tuple[float, Color], low: float = 256.0) -> None:
        """Fill the picture with a vertical gradient, or with even bands, which render faster."""
        if not self.bands:
            soft, self.soft = self.soft, True
            paint = self.linear((0, 0), (0, low), *stops)
            self.soft = soft
            self.parts.append(f'<path d="M0 0H256V256H0Z" fill="{paint}"/>')
            return
        for i in range(self.bands):
            at = (i + 0.5) / self.bands
            for (a, one), (b, two) in zip(stops, stops[1:], strict=False):
                if at <= b or b == stops[-1][0]:
                    color = mix(one, two, min(1.0, (at - a) / (b - a)))
                    break
            top = low * i / self.bands
            # A band reaches a little under the next one, so that no seam shows between them.
            tall = low / self.bands + 1 if i < self.bands - 1 else 256 - top
            self.parts.append(
                f'<rect y="{top:.1f}" width="256" height="{tall:.1f}" fill="{css(color)}"/>'
            )

    def open(self, transform: str) -> None:
        """Open a group with its own coordinates."""
        self.parts.append(f'<g transform="{transform}">')

    def close(self) -> None:
        """Close the group opened last."""
        self.parts.append("</g>")

    def document(self) -> str:
        """The whole picture as an SVG document of 256 by 256 units."""
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256"><defs>'
            + "".join(self.defs)
            + "</defs>"
            + "".join(self.parts)
            + "</svg>"
        )
