"""What haircuts are built from: contours, colours, and the curls, spikes and plaits."""

from __future__ import annotations

import math

from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import (
    Canvas,
    Color,
    Point,
    ellipse,
    luminance,
    mix,
    polygon,
    scallop,
    shade,
    smooth,
    strand,
    tint,
)


def outer(sitter: Identity, x: float) -> float:
    """Where a point of the hair's outer contour lies when the head is turned."""
    return x + sitter.turn * (27.0 if x > 40 else 14.0 if x > -60 else 8.0)


def inner(sitter: Identity, x: float) -> float:
    """Where a point of the hairline lies: on the turning face, never beyond its far edge."""
    return max(sitter.fx(max(-99.0, min(99.0, x))), -87.0 * sitter.face if sitter.turn else -999.0)


def tones(sitter: Identity) -> tuple[Color, Color, Color]:
    base = sitter.hair
    if luminance(base) < 0.2:
        return base, mix(base, (8, 6, 10), 0.65), mix(base, (126, 122, 140), 0.5)
    return base, shade(base, 0.5), tint(base, 0.45)


def hair_paint(canvas: Canvas, sitter: Identity) -> Color | str:
    base, dark, light = tones(sitter)
    side = sitter.light or -0.35
    return canvas.linear(
        (110 * side, -160), (-110 * side, 60),
        (0.0, mix(base, light, 0.4)), (0.4, base), (1.0, mix(base, dark, 0.75)),
    )


def mapped(sitter: Identity, points, turn) -> list[Point]:
    return [(turn(sitter, x), y) for x, y in points]


def crown(sitter: Identity, puff: float, low: float = -6.0) -> list[Point]:
    """The outer contour from the left temple over the crown to the right one."""
    v, t = sitter.volume * puff, sitter.top
    # On a turned head the front layer ends above the ear; the back layer goes on to the nape.
    nape = low - 24 * sitter.turn
    return mapped(sitter, [
        (-100 - 3 * v, low), (-101 - 7 * v, -60), (-84 - 9 * v, -116), (-44, t - 3 - 12 * v),
        (6, t - 4 - 16 * v), (52, t - 2 - 12 * v), (86 + 9 * v, -116), (101 + 7 * v, -60),
        (100 + 3 * v, nape),
    ], outer)


def hairline(sitter: Identity, kind: str, low: float = -6.0) -> list[Point]:
    """The edge towards the face, from the right temple to the left one."""
    h, p = sitter.hairline, sitter.part
    y = sitter.eye_y + sitter.brow_y
    if kind == "bangs":
        line = [(92, low), (90, y - 6), (66, y - 12), (30, y - 17), (-4, y - 19), (-36, y - 16),
                (-68, y - 11), (-90, y - 6), (-92, low)]
    elif kind == "swept":
        p = 34 + abs(p) * 0.5
        line = [(92, low), (90, -50), (76, -86), (p + 6, h - 14), (p - 30, h + 6), (-30, h + 22),
                (-66, h + 40), (-90, -34), (-92, low)]
    elif kind == "parted":
        p = p * 0.4
        line = [(92, low), (92, -36), (76, -68), (42, h + 8), (p, h - 22), (-34, h + 8),
                (-72, -68), (-92, -36), (-92, low)]
    else:
        line = [(91, low + 6), (87, -40), (80, -58), (70, -84), (38, h + 5), (14, h - 6),
                (-20, h + 4), (-48, h - 3), (-74, -76), (-83, -58), (-87, -40), (-91, low + 6)]
    return mapped(sitter, line, inner)


def comb(canvas: Canvas, sitter: Identity, top: list[Point], edge: list[Point], fine: bool,
          gloss: bool = True) -> None:
    """Dark and light locks that run from the crown to the hairline."""
    _, dark, light = tones(sitter)
    n = len(top)
    shadows, lights = [], []
    side = sitter.light
    for i in range(2, n - 2):
        (x0, y0), (x1, y1) = top[i], edge[min(len(edge) - 3, max(2, len(edge) - 1 - i))]
        mid = ((x0 * 0.55 + x1 * 0.45) * 1.05, y0 * 0.62 + y1 * 0.38)
        begin = (x0 * 0.8 + x1 * 0.2, y0 * 0.85 + y1 * 0.15)
        wide = 4.5 if i % 2 else 3.0
        shadows.append(strand(begin, mid, (x1, y1), wide))
        if gloss and (x0 * side > -20 or side == 0):
            lights.append(strand(
                (x0 * 0.86 + x1 * 0.14 + 7, y0 * 0.8 + y1 * 0.2), (mid[0] + 8, mid[1]),
                (x0 * 0.4 + x1 * 0.6 + 7, y0 * 0.35 + y1 * 0.65), 3.6,
            ))
        if fine:
            shadows.append(strand(
                (x0 * 0.95 + x1 * 0.05 - 9, y0 * 0.92 + y1 * 0.08), (mid[0] - 9, mid[1]),
                (x1 * 0.9 - 6, y1 * 0.95 - 4), 1.4,
            ))
    canvas.tone("".join(shadows), dark, 0.5)
    if lights:
        canvas.tone("".join(lights), light, 0.5)


def curl_drop(sitter: Identity) -> float:
    return 34.0 if sitter.man else 92.0 if not sitter.child else 66.0


def draw_curls(canvas: Canvas, sitter: Identity, style: str, pressed: bool, fine: bool) -> None:
    """A scalloped wreath of curls around the forehead."""
    v, t = sitter.volume, sitter.top
    low = curl_drop(sitter) - 10 if style == "curly" else 6
    grow = 1.0 if not pressed else 0.0
    if style == "afro":
        top = mapped(sitter, [(-108, low), (-118, -50), (-96, -110), (-52, t - 6), (0, t - 14),
                            (52, t - 6), (96, -110), (118, -50), (108, low)], outer)
        edge = hairline(sitter, "line", low - 4)
    else:
        top = mapped(sitter, [
            (-98 - 14 * v, low), (-104 - 16 * v, low - 46), (-104 - 14 * v, -60),
            (-88 - 12 * v, -116), (-50, t - grow * 20 * v), (2, t - grow * 30 * v),
            (50, t - grow * 20 * v), (88 + 12 * v, -116), (104 + 14 * v, -60),
            (104 + 16 * v, low - 46), (98 + 14 * v, low),
        ], outer)
        y = sitter.hairline + (14 if sitter.fringe else 2)
        edge = mapped(sitter, [(90, low - 8), (93, low - 44), (84, -46), (58, y + 12), (22, y - 4),
                             (-18, y + 4), (-54, y + 8), (-84, -46), (-93, low - 44),
                             (-90, low - 8)], inner)
    path = scallop(top + edge, 0.2 if style == "afro" else 0.3)
    canvas.shape(path, hair_paint(canvas, sitter))
    _, dark, light = tones(sitter)
    shadows, lights = [], []
    big = 9.0 if style == "curly" else 6.0
    rows = ((0.25, 0.0), (0.55, 0.5), (0.85, 0.0)) if fine else ((0.35, 0.0), (0.75, 0.5))
    n = len(top)
    for row, shift in rows:
        for i in range(1, n - 2):
            k = i + shift
            a, b = top[i], edge[min(len(edge) - 1, max(0, n - 1 - i))]
            x = a[0] * (1 - row) + b[0] * row + 14 * (k - i)
            y = a[1] * (1 - row) + b[1] * row
            shadows.append(strand((x - big, y + 3), (x, y + big * 1.8), (x + big, y + 1), 2.6))
            if (x * sitter.light >= -20) and i % 2:
                lights.append(strand((x - big, y - 4), (x, y - big * 1.6), (x + big, y - 5), 3.0))
    canvas.tone("".join(shadows), dark, 0.6)
    canvas.tone("".join(lights), light, 0.5)


def draw_spikes(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    """Locks that stand up and out from the crown."""
    top = crown(sitter, 0.7, -4)
    out = [top[0]]
    height = 34 * sitter.volume
    for i in range(1, len(top) - 1):
        (x0, y0), (x1, y1) = top[i], top[i + 1]
        cx, cy = x0 - outer(sitter, 0), y0 + 40
        far = math.hypot(cx, cy) or 1.0
        grow = height * (1.15 if i % 2 else 0.8) * (1.0 if 2 < i < len(top) - 3 else 0.5) / far
        out.append((x0 + cx * grow + 8 * (1 if sitter.part > 0 else -1), y0 + cy * grow))
        if i < len(top) - 2:
            out.append(((x0 + x1) / 2, (y0 + y1) / 2 + 10))
    out.append(top[-1])
    edge = hairline(sitter, "bangs" if sitter.fringe == 1 else "line", -4)
    zigzag = []
    for (x0, y0), (x1, y1) in zip(edge[1:-2], edge[2:-1], strict=False):
        zigzag += [(x0, y0 - 4), ((x0 + x1) / 2 + 5, (y0 + y1) / 2 + 9)]
    canvas.shape(polygon([*out, edge[0], *zigzag, edge[-2], edge[-1]]), hair_paint(canvas, sitter))
    comb(canvas, sitter, top, edge, fine)


def draw_braids(canvas: Canvas, sitter: Identity) -> None:
    """Two plaits over the shoulders, tied with a ribbon."""
    _, dark, light = tones(sitter)
    links, creases, ties, tufts = [], [], [], []
    count = 6 if sitter.length > 1 else 5
    for d in (-1, 1):
        x = outer(sitter, 98.0 * d)
        for i in range(count):
            cx, cy = x + d * (2 + 2.2 * i), 34 + 31 * i
            wide = 21 - 1.4 * i
            links.append(ellipse(cx, cy, wide, 20))
            creases.append(strand((cx - wide * .9, cy - 9), (cx, cy + 3), (cx + 2, cy + 15), 3.0))
            creases.append(strand((cx + wide * .9, cy - 9), (cx + 5, cy + 6), (cx + 2, cy + 15), 3))
        cx, cy = x + d * (2 + 2.2 * count), 34 + 31 * count
        ties.append(ellipse(cx, cy - 12, 12, 7))
        tufts.append(smooth([(cx - 8, cy - 8), (cx + 8, cy - 8), (cx + 12, cy + 18), (cx, cy + 32),
                             (cx - 12, cy + 18)]))
    canvas.shape("".join(links + tufts), hair_paint(canvas, sitter))
    canvas.tone("".join(creases), dark, 0.65)
    canvas.tone("".join(ties), sitter.accent)
