"""What lies behind the sitter, in the picture's own coordinates (256 by 256)."""

from __future__ import annotations

import numpy as np

from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import (
    Canvas,
    Color,
    curve,
    ellipse,
    mix,
    polygon,
    rectangle,
    scallop,
    shade,
    strand,
    tint,
)

_FULL = "M0 0H256V256H0Z"
_BOOKS: tuple[Color, ...] = (
    (150, 50, 46), (42, 82, 110), (196, 150, 70), (70, 104, 74), (96, 60, 92), (214, 196, 160),
)


def draw_backdrop(canvas: Canvas, sitter: Identity, kind: str, *, fine: bool) -> None:
    """Paint the whole backdrop named by `kind`."""
    rng = np.random.default_rng(sitter.salt)
    {
        "plain": _plain, "gradient": _gradient, "landscape": _landscape, "sunset": _sunset,
        "bookshelf": _bookshelf, "starry night": _starry,
    }[kind](canvas, sitter, rng, fine)


def _plain(canvas: Canvas, sitter: Identity, rng, fine: bool) -> None:
    canvas.tone(_FULL, sitter.backdrop)


def _gradient(canvas: Canvas, sitter: Identity, rng, fine: bool) -> None:
    color = sitter.backdrop
    ends = [tint(color, 0.6), shade(color, 0.45)]
    if rng.random() < 0.4:
        ends.reverse()
    canvas.sky((0, ends[0]), (0.5, color), (1, ends[1]))


def _hills(rng, base: float, swing: float) -> str:
    ys = base + swing * (rng.random(6) - 0.5)
    top = curve([(-8.0 + 54 * i, float(y)) for i, y in enumerate(ys)])
    return top + "V264H-8Z"


def _landscape(canvas: Canvas, sitter: Identity, rng, fine: bool) -> None:
    canvas.sky((0, (118, 178, 226)), (0.5, (186, 218, 236)), (1, (238, 240, 222)), low=160)
    x = float(rng.uniform(18, 60)) + (150 if rng.random() < 0.5 else 0)
    canvas.tone(
        scallop([(x - 24, 42), (x - 10, 28), (x + 8, 26), (x + 24, 40), (x + 30, 46), (x - 28, 46)],
                0.35), (255, 255, 255), 0.85)
    peak = [float(v) for v in rng.uniform(76, 112, 5)]
    canvas.shape(polygon([(-4, 170), (-4, peak[0] + 20), (34, peak[0]), (74, peak[1] + 26),
                          (110, peak[2] + 10), (150, peak[3] + 22), (206, peak[3]),
                          (262, peak[4] + 22), (262, 170)]), (134, 158, 178), 0.5)
    canvas.shape(_hills(rng, 146, 26), (120, 166, 96), 0.5)
    canvas.shape(_hills(rng, 186, 28), (82, 134, 70), 0.5)
    trees = []
    for x in [float(v) for v in rng.uniform(4, 252, 5)]:
        y = 168 + float(rng.uniform(-8, 14))
        trees += [ellipse(x, y - 16, 8, 13), rectangle(x - 1.4, y - 6, 2.8, 12)]
    canvas.tone("".join(trees), (52, 96, 58))


def _sunset(canvas: Canvas, sitter: Identity, rng, fine: bool) -> None:
    canvas.sky((0, (74, 52, 112)), (0.42, (190, 82, 110)), (0.75, (248, 140, 76)),
               (1, (255, 208, 112)), low=164)
    x = float(rng.uniform(20, 62)) + (150 if rng.random() < 0.5 else 0)
    canvas.tone(ellipse(x, 142, 34, 34), (255, 214, 120), 0.45)
    canvas.tone(ellipse(x, 142, 23, 23), (255, 242, 190))
    clouds = [strand((a - 60, y), (a, y - 5), (a + 60, y + 2), 4)
              for a, y in zip(rng.uniform(10, 246, 4).tolist(), (40, 66, 90, 108), strict=True)]
    canvas.tone("".join(clouds), (255, 170, 128), 0.55)
    canvas.tone("M0 164H256V256H0Z", (92, 48, 84))
    glow = [strand((x - 26 + i * 3, y), (x, y + 1.5), (x + 26 - i * 3, y), 2.2)
            for i, y in enumerate((170, 180, 192, 206, 224))]
    canvas.tone("".join(glow), (255, 190, 110), 0.85)


def _bookshelf(canvas: Canvas, sitter: Identity, rng, fine: bool) -> None:
    canvas.tone(_FULL, (66, 42, 28))
    groups: list[list[str]] = [[] for _ in _BOOKS]
    bands = []
    for shelf in range(4):
        floor = 58 + 64 * shelf
        x = float(rng.uniform(-8, 0))
        while x < 256:
            wide, tall = float(rng.uniform(9, 20)), float(rng.uniform(38, 53))
            which = int(rng.integers(len(_BOOKS)))
            groups[which].append(rectangle(x, floor - tall, wide - 1.6, tall))
            if fine and wide > 11:
                bands.append(rectangle(x + 1, floor - tall * 0.8, wide - 3.6, 3))
            x += wide
    for group, color in zip(groups, _BOOKS, strict=True):
        if group:
            canvas.tone("".join(group), shade(color, 0.12))
    if bands:
        canvas.tone("".join(bands), (226, 190, 110), 0.7)
    boards = "".join(rectangle(0, 58 + 64 * i, 256, 6.5) for i in range(4))
    canvas.tone(boards, (136, 92, 56))


def _starry(canvas: Canvas, sitter: Identity, rng, fine: bool) -> None:
    canvas.sky((0, (12, 18, 58)), (0.5, (28, 44, 106)), (1, (66, 80, 142)), low=220)
    points = rng.uniform(0, 1, (34, 3))
    stars = []
    for u, v, w in points.tolist():
        x, y, r = 256 * u, 190 * v, 1.6 + 2.6 * w * w * w
        stars.append(polygon([(x - r, y), (x - r * .25, y - r * .25), (x, y - r), (x + r * .25,
                     y - r * .25), (x + r, y), (x + r * .25, y + r * .25), (x, y + r),
                     (x - r * .25, y + r * .25)]) if w > 0.6 else ellipse(x, y, r * .8, r * .8))
    canvas.tone("".join(stars), (255, 248, 210))
    x = float(rng.uniform(24, 52)) + (160 if rng.random() < 0.5 else 0)
    canvas.tone(
        f"M{x:.1f} 22A20 20 0 1 0 {x + 19:.1f} 50A16 16 0 0 1 {x:.1f} 22Z", (255, 244, 196))
    canvas.tone(_hills(rng, 214, 26), mix((16, 20, 48), (0, 0, 0), 0.2))
