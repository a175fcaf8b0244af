"""Hair in two layers: what hangs behind the neck, and what frames the face."""

from __future__ import annotations

import math

from course_lib.portraits.identity import Identity
from course_lib.portraits.vector import (
    Canvas, Color, Point, ellipse, luminance, mix, polygon, scallop, shade, smooth, strand, tint,
)

# Over these the crown of the hair lies under cloth, so tall hair is pressed down.
PRESSING = ("cap", "beanie", "sun hat", "beret")


def outer(sitter: Identity, x: float) -> float:
    """Where a point of the hair's outer contour lies when the head is turned."""
    return x + sitter.turn * (24.0 if x > 40 else 14.0 if x > -60 else 8.0)


def inner(sitter: Identity, x: float) -> float:
    """Where a point of the hairline lies: on the turning face, never beyond its far edge."""
    return max(sitter.fx(max(-99.0, min(99.0, x))), -90.0 * sitter.face if sitter.turn else -999.0)


def _tones(sitter: Identity) -> tuple[Color, Color, Color]:
    base = sitter.hair
    if luminance(base) < 0.2:
        return base, mix(base, (8, 6, 10), 0.65), mix(base, (126, 122, 140), 0.5)
    return base, shade(base, 0.5), tint(base, 0.45)


def _paint(canvas: Canvas, sitter: Identity) -> Color | str:
    base, dark, light = _tones(sitter)
    side = sitter.light or -0.35
    return canvas.linear(
        (110 * side, -160), (-110 * side, 60),
        (0.0, mix(base, light, 0.4)), (0.4, base), (1.0, mix(base, dark, 0.75)),
    )


def _map(sitter: Identity, points, turn) -> list[Point]:
    return [(turn(sitter, x), y) for x, y in points]


def _crown(sitter: Identity, puff: float, low: float = -6.0) -> list[Point]:
    """The outer contour from the left temple over the crown to the right one."""
    v, t = sitter.volume * puff, sitter.top
    return _map(sitter, [
        (-100 - 3 * v, low), (-101 - 7 * v, -60), (-84 - 9 * v, -116), (-44, t - 3 - 12 * v),
        (6, t - 4 - 16 * v), (52, t - 2 - 12 * v), (86 + 9 * v, -116), (101 + 7 * v, -60),
        (100 + 3 * v, low),
    ], outer)


def _hairline(sitter: Identity, kind: str, low: float = -6.0) -> list[Point]:
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
        line = [(92, low), (88, -46), (74, -78), (38, h + 2), (0, h - 3), (-38, h + 2),
                (-74, -78), (-88, -46), (-92, low)]
    return _map(sitter, line, inner)


def _comb(canvas: Canvas, sitter: Identity, top: list[Point], edge: list[Point], fine: bool,
          gloss: bool = True) -> None:
    """Dark and light locks that run from the crown to the hairline."""
    _, dark, light = _tones(sitter)
    n = len(top)
    shadows, lights = [], []
    side = sitter.light
    for i in range(1, n - 1):
        (x0, y0), (x1, y1) = top[i], edge[n - 1 - i]
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


def draw_back(canvas: Canvas, sitter: Identity, style: str, hat: str) -> None:
    """The layer behind neck, body and face."""
    if style in ("bald", "buzz cut"):
        return
    base, dark, _ = _tones(sitter)
    v, s = sitter.volume, sitter.turn
    pressed = hat in PRESSING
    deep = mix(base, dark, 0.55)
    if style in ("long", "bob"):
        low = _length(sitter, style)
        wide = (122 if style == "long" else 126) * (0.94 + 0.06 * v)
        path = smooth(_map(sitter, [
            (-104, -90), (-wide + 6, -10), (-wide, low * 0.55), (-wide + 14, low * 0.9),
            (-60, low), (0, low * 0.94), (60, low), (wide - 14, low * 0.9),
            (wide, low * 0.55), (wide - 6, -10), (104, -90), (0, -150),
        ], outer))
    elif style == "curly":
        path = _cloud(sitter, 122 + 16 * v, 100 if pressed else 134, -20 if pressed else -44,
                      _curl_drop(sitter), 20)
    elif style == "afro":
        r = 140 + 22 * v
        path = _cloud(sitter, r, r * 0.62 if pressed else r, -10 if pressed else -72, 0, 26, 0.22)
    else:
        path = smooth([
            (-97, -60), (-60, -140), (18 * s, -160), (86 + 14 * s, -130), (99 + 26 * s, -60),
            (97 + 24 * s, 0), (80 + 18 * s, 44), (40, 54), (-60, 40), (-95, -10),
        ])
        if style == "bun":
            y, x = (40, 92) if pressed else (sitter.top - 40 * v, 0)
            path += ellipse(outer(sitter, x), y, 47 * v, 43 * v)
    canvas.shape(path, deep)


def _length(sitter: Identity, style: str) -> float:
    if style == "bob":
        return 78 + 30 * sitter.length + 6 * (1 if not sitter.child else -1)
    return (190 if sitter.child else 225) * (0.6 + 0.4 * sitter.length)


def _curl_drop(sitter: Identity) -> float:
    return 34.0 if sitter.man else 92.0 if not sitter.child else 66.0


def _cloud(sitter, rx, ry, cy, drop, count, bulge=0.3) -> str:
    """A scalloped blob; `drop` lengthens its lower half."""
    points = []
    for i in range(count):
        a = 2 * math.pi * i / count
        # A fixed, irrational step makes neighbouring curls unequal without a random draw.
        r = 1.0 + 0.05 * math.sin(i * 2.4 + sitter.part)
        x, y = rx * r * math.sin(a), -ry * r * math.cos(a)
        points.append((outer(sitter, x * (0.86 if y > ry * 0.7 else 1.0)),
                       cy + y + (drop * y / ry if y > 0 else 0)))
    return scallop(points, bulge)


def draw_front(canvas: Canvas, sitter: Identity, style: str, hat: str, *, fine: bool) -> None:
    """The layer over forehead, ears and shoulders."""
    if style == "bald":
        return
    pressed = hat in PRESSING
    puff = 0.5 if pressed else 1.0
    if style == "buzz cut":
        _draw_buzz(canvas, sitter)
    elif style in ("long", "bob"):
        _draw_curtains(canvas, sitter, style, puff, fine)
    elif style in ("curly", "afro"):
        _draw_curls(canvas, sitter, style, pressed, fine)
    elif style == "spiky" and not pressed:
        _draw_spikes(canvas, sitter, fine)
    else:
        kind = "line"
        if style == "short":
            kind = ("swept", "bangs", "line")[sitter.fringe]
        elif style == "braids":
            kind = "parted"
        elif style == "spiky":
            kind = "bangs"
        tight = 0.62 if style in ("bun", "braids") else 1.25 if sitter.man else 1.1
        low = -4.0 if style != "braids" else 22.0
        top, edge = _crown(sitter, puff * tight, low), _hairline(sitter, kind, low)
        canvas.shape(smooth(top + edge), _paint(canvas, sitter))
        _comb(canvas, sitter, top, edge, fine)
        if style == "bun" and not pressed:
            _, dark, light = _tones(sitter)
            x, y, v = outer(sitter, 0), sitter.top - 40 * sitter.volume, sitter.volume
            canvas.tone(strand((x - 34, y + 16), (x, y - 34), (x + 34, y + 10), 5), dark, 0.5)
            canvas.tone(strand((x - 28, y - 6), (x - 6, y - 42 * v), (x + 20, y - 18), 5),
                        light, 0.5)
        if style == "braids":
            _draw_braids(canvas, sitter)


def _draw_buzz(canvas: Canvas, sitter: Identity) -> None:
    top = _crown(sitter, 0.05, -10)
    edge = _hairline(sitter, "line", -10)
    color = mix(sitter.hair, sitter.skin, 0.22)
    canvas.shape(smooth(top + edge), color, 0.6)
    canvas.tone(smooth(_map(sitter, [(-40, -120), (0, -142), (40, -128), (0, -112)], outer)),
                tint(color, 0.5), 0.22)


def _draw_curtains(canvas: Canvas, sitter: Identity, style: str, puff: float, fine: bool) -> None:
    """Hair that falls on both sides of the face."""
    low = _length(sitter, style)
    kind = "bangs" if sitter.fringe == 2 or (style == "bob" and sitter.fringe == 1) else (
        "parted" if sitter.fringe == 0 else "swept")
    top, edge = _crown(sitter, puff * 1.15, 10), _hairline(sitter, kind, 0)
    wide = 116 + 6 * sitter.volume
    curl = -26 if style == "bob" else 4
    right = _map(sitter, [(wide, 60), (wide + 4, low * 0.7), (wide - 14, low)], outer)
    right += [(outer(sitter, 92 + curl), low * 0.97), (outer(sitter, 90), low * 0.66),
              (inner(sitter, 90), 60), (inner(sitter, 92), 20)]
    left = [(inner(sitter, -92), 20), (inner(sitter, -90), 60),
            (outer(sitter, -92), low * 0.66), (outer(sitter, -92 - curl), low * 0.97)]
    left += _map(sitter, [(-wide + 14, low), (-wide - 4, low * 0.7), (-wide, 60)], outer)
    canvas.shape(smooth(top + right + edge + left), _paint(canvas, sitter))
    _comb(canvas, sitter, top, edge, fine)
    _, dark, light = _tones(sitter)
    shadows, lights = [], []
    for d in (-1, 1):
        for i, x in enumerate((97, 106, 113) if fine else (102,)):
            end = (outer(sitter, d * (x - (16 if style == "bob" else -2))), low * (0.9 - 0.06 * i))
            mid = (outer(sitter, d * (x + 5)), low * 0.45)
            shadows.append(strand((outer(sitter, d * (x - 2)), -30 + 12 * i), mid, end, 3.5))
        if d * sitter.light >= 0:
            lights.append(strand((outer(sitter, d * 108), -20), (outer(sitter, d * 116), low * .4),
                                 (outer(sitter, d * 110), low * 0.75), 4.5))
    canvas.tone("".join(shadows), dark, 0.55)
    canvas.tone("".join(lights), light, 0.45)


def _draw_curls(canvas: Canvas, sitter: Identity, style: str, pressed: bool, fine: bool) -> None:
    """A scalloped wreath of curls around the forehead."""
    v, t = sitter.volume, sitter.top
    low = _curl_drop(sitter) - 10 if style == "curly" else 6
    grow = 1.0 if not pressed else 0.0
    if style == "afro":
        top = _map(sitter, [(-108, low), (-118, -50), (-96, -110), (-52, t - 6), (0, t - 14),
                            (52, t - 6), (96, -110), (118, -50), (108, low)], outer)
        edge = _hairline(sitter, "line", low - 4)
    else:
        top = _map(sitter, [
            (-98 - 14 * v, low), (-104 - 16 * v, low - 46), (-104 - 14 * v, -60),
            (-88 - 12 * v, -116), (-50, t - grow * 20 * v), (2, t - grow * 30 * v),
            (50, t - grow * 20 * v), (88 + 12 * v, -116), (104 + 14 * v, -60),
            (104 + 16 * v, low - 46), (98 + 14 * v, low),
        ], outer)
        y = sitter.hairline + (14 if sitter.fringe else 2)
        edge = _map(sitter, [(90, low - 8), (93, low - 44), (84, -46), (58, y + 12), (22, y - 4),
                             (-18, y + 4), (-54, y + 8), (-84, -46), (-93, low - 44),
                             (-90, low - 8)], inner)
    path = scallop(top + edge, 0.2 if style == "afro" else 0.3)
    canvas.shape(path, _paint(canvas, sitter))
    _, dark, light = _tones(sitter)
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


def _draw_spikes(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    """Locks that stand up and out from the crown."""
    top = _crown(sitter, 0.7, -4)
    out = [top[0]]
    height = 34 * sitter.volume
    for i in range(1, len(top) - 1):
        (x0, y0), (x1, y1) = top[i], top[i + 1]
        cx, cy = x0 - outer(sitter, 0), y0 + 40
        far = math.hypot(cx, cy) or 1.0
        grow = height * (1.15 if i % 2 else 0.8) / far
        out.append((x0 + cx * grow + 8 * (1 if sitter.part > 0 else -1), y0 + cy * grow))
        if i < len(top) - 2:
            out.append(((x0 + x1) / 2, (y0 + y1) / 2 + 10))
    out.append(top[-1])
    edge = _hairline(sitter, "bangs" if sitter.fringe == 1 else "line", -4)
    zigzag = []
    for (x0, y0), (x1, y1) in zip(edge[1:-2], edge[2:-1], strict=False):
        zigzag += [(x0, y0 - 4), ((x0 + x1) / 2 + 5, (y0 + y1) / 2 + 9)]
    canvas.shape(polygon([*out, edge[0], *zigzag, edge[-2], edge[-1]]), _paint(canvas, sitter))
    _comb(canvas, sitter, top, edge, fine)


def _draw_braids(canvas: Canvas, sitter: Identity) -> None:
    """Two plaits over the shoulders, tied with a ribbon."""
    _, dark, light = _tones(sitter)
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
    canvas.shape("".join(links + tufts), _paint(canvas, sitter))
    canvas.tone("".join(creases), dark, 0.65)
    canvas.tone("".join(ties), sitter.accent)
