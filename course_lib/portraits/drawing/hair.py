"""Hair in two layers: what hangs behind the neck, and what frames the face."""

from __future__ import annotations

import math

from course_lib.portraits.drawing.hair_forms import (
    comb,
    crown,
    curl_drop,
    draw_braids,
    draw_curls,
    draw_spikes,
    hair_paint,
    hairline,
    inner,
    mapped,
    outer,
    tones,
)
from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import (
    Canvas,
    ellipse,
    mix,
    scallop,
    smooth,
    strand,
    tint,
)

# Over these the crown of the hair lies under cloth, so tall hair is pressed down.
PRESSING = ("cap", "beanie", "sun hat", "beret")


def draw_back(canvas: Canvas, sitter: Identity, style: str, hat: str) -> None:
    """The layer behind neck, body and face."""
    if style in ("bald", "buzz cut"):
        return
    base, dark, _ = tones(sitter)
    v, s = sitter.volume, sitter.turn
    pressed = hat in PRESSING
    deep = mix(base, dark, 0.55 if style in ("long", "bob", "curly", "afro") else 0.35)
    if style in ("long", "bob"):
        low = _length(sitter, style)
        wide = (122 if style == "long" else 126) * (0.94 + 0.06 * v)
        path = smooth(mapped(sitter, [
            (-104, -90), (-wide + 6, -10), (-wide, low * 0.55), (-wide + 14, low * 0.9),
            (-60, low), (0, low * 0.94), (60, low), (wide - 14, low * 0.9),
            (wide, low * 0.55), (wide - 6, -10), (104, -90), (0, -150),
        ], outer))
    elif style == "curly":
        path = _cloud(sitter, 122 + 16 * v, 100 if pressed else 134, -20 if pressed else -44,
                      curl_drop(sitter), 20)
    elif style == "afro":
        r = 140 + 22 * v
        path = _cloud(sitter, r, r * 0.62 if pressed else r, -10 if pressed else -72, 0, 26, 0.22)
    else:
        path = smooth([
            (-97, -60), (-60, -140), (18 * s, -160), (86 + 14 * s, -130), (99 + 26 * s, -60),
            (97 + 26 * s, 0), (84 + 20 * s, 50 + 14 * s), (40, 60), (-60, 40), (-95, -10),
        ])
        if style == "bun":
            y, x = (40, 92) if pressed else (sitter.top - 40 * v, 0)
            path += ellipse(outer(sitter, x), y, 47 * v, 43 * v)
    canvas.shape(path, deep)


def _length(sitter: Identity, style: str) -> float:
    if style == "bob":
        return 78 + 30 * sitter.length + 6 * (1 if not sitter.child else -1)
    return (190 if sitter.child else 225) * (0.6 + 0.4 * sitter.length)


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
        draw_curls(canvas, sitter, style, pressed, fine)
    elif style == "spiky" and not pressed:
        draw_spikes(canvas, sitter, fine)
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
        top, edge = crown(sitter, puff * tight, low), hairline(sitter, kind, low)
        canvas.shape(smooth(top + edge), hair_paint(canvas, sitter))
        comb(canvas, sitter, top, edge, fine)
        if style == "bun" and not pressed:
            _, dark, light = tones(sitter)
            x, y, v = outer(sitter, 0), sitter.top - 40 * sitter.volume, sitter.volume
            canvas.tone(strand((x - 34, y + 16), (x, y - 34), (x + 34, y + 10), 5), dark, 0.5)
            canvas.tone(strand((x - 28, y - 6), (x - 6, y - 42 * v), (x + 20, y - 18), 5),
                        light, 0.5)
        if style == "braids":
            draw_braids(canvas, sitter)


def _draw_buzz(canvas: Canvas, sitter: Identity) -> None:
    top = crown(sitter, 0.05, -10)
    edge = hairline(sitter, "line", -10)
    color = mix(sitter.hair, sitter.skin, 0.22)
    canvas.shape(smooth(top + edge), color, 0.6)
    canvas.tone(smooth(mapped(sitter, [(-40, -120), (0, -142), (40, -128), (0, -112)], outer)),
                tint(color, 0.5), 0.22)


def _draw_curtains(canvas: Canvas, sitter: Identity, style: str, puff: float, fine: bool) -> None:
    """Hair that falls on both sides of the face."""
    low = _length(sitter, style)
    kind = "bangs" if sitter.fringe == 2 or (style == "bob" and sitter.fringe == 1) else (
        "parted" if sitter.fringe == 0 else "swept")
    top, edge = crown(sitter, puff * 1.15, 10), hairline(sitter, kind, 0)
    wide = 116 + 6 * sitter.volume
    curl = -26 if style == "bob" else 4
    right = mapped(sitter, [(wide, 60), (wide + 4, low * 0.7), (wide - 14, low)], outer)
    right += [(outer(sitter, 92 + curl), low * 0.97), (outer(sitter, 90), low * 0.66),
              (inner(sitter, 90), 60), (inner(sitter, 92), 20)]
    left = [(inner(sitter, -92), 20), (inner(sitter, -90), 60),
            (outer(sitter, -92), low * 0.66), (outer(sitter, -92 - curl), low * 0.97)]
    left += mapped(sitter, [(-wide + 14, low), (-wide - 4, low * 0.7), (-wide, 60)], outer)
    canvas.shape(smooth(top + right + edge + left), hair_paint(canvas, sitter))
    comb(canvas, sitter, top, edge, fine)
    _, dark, light = tones(sitter)
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
    if fine:
        canvas.tone("".join(lights), light, 0.45)
