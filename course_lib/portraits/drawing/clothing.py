"""Shoulders and what covers them."""

from __future__ import annotations

from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import (
    Canvas,
    Color,
    Point,
    curve,
    ellipse,
    luminance,
    mix,
    polygon,
    rectangle,
    shade,
    smooth,
    strand,
    tint,
)


def _torso(sitter: Identity, neck: float, rise: float = 0.0) -> list[Point]:
    """The body's outline from the left side of the neckline around to its right side."""
    w, d, x = sitter.shoulder, sitter.slope, 10 * sitter.turn
    n = sitter.neck * neck
    return [
        (x - n, 160 - rise), (x - n - (w - n) * 0.42, 190 + d * 0.4), (x * 0.7 - w * 0.88, 214 + d),
        (x * 0.7 - w - 8, 262 + d), (x * 0.5 - w - 22, 380), (-w - 26, 640),
        (w + 26, 640), (x * 0.5 + w + 22, 380), (x * 0.7 + w + 8, 262 + d),
        (x * 0.7 + w * 0.88, 214 + d), (x + n + (w - n) * 0.42, 190 + d * 0.4), (x + n, 160 - rise),
    ]


def _paint(canvas: Canvas, sitter: Identity, color: Color) -> Color | str:
    side, w = sitter.light or -0.3, sitter.shoulder
    deep = shade(color, 0.5) if luminance(color) > 0.2 else mix(color, (12, 10, 16), 0.6)
    return canvas.linear((w * side, 170), (-w * side, 380),
                         (0.0, tint(color, 0.22)), (0.42, color), (1.0, deep))


def _fold_color(color: Color) -> Color:
    """Folds darken cloth; on black cloth they catch light instead."""
    return shade(color, 0.62) if luminance(color) > 0.22 else mix(color, (120, 120, 134), 0.55)


def draw_clothing(canvas: Canvas, sitter: Identity, kind: str, *, fine: bool, low: bool) -> None:
    """Draw the garment; `low` says that the picture shows more than the shoulders."""
    {
        "t-shirt": _tshirt, "shirt": _shirt, "turtleneck": _turtleneck, "hoodie": _hoodie,
        "suit": _suit,
    }[kind](canvas, sitter, fine, low)


def _folds(canvas: Canvas, sitter: Identity, color: Color, fine: bool, low: bool) -> None:
    """Where the arm meets the chest, and creases that run from it."""
    w, x = sitter.shoulder, 8 * sitter.turn
    parts = []
    for d in (-1, 1):
        a = x + d * (w - 44)
        parts.append(strand((a, 292), (a - d * 10, 350), (a + d * 4, 470), 5.5))
        if fine:
            parts.append(strand((a, 296), (a - d * 34, 300), (a - d * 60, 282), 3))
            parts.append(strand((x + d * sitter.neck * 1.6, 196), (x + d * w * .6, 222),
                                (x + d * w * .7, 248), 2.5))
        if low:
            parts.append(strand((a - d * 4, 420), (a - d * 40, 440), (a - d * 70, 470), 4))
    canvas.tone("".join(parts), _fold_color(color), 0.55)


def _tshirt(canvas: Canvas, sitter: Identity, fine: bool, low: bool) -> None:
    x, n, color = 10 * sitter.turn, sitter.neck, sitter.cloth
    body = _torso(sitter, 1.5)
    w = sitter.shoulder
    dip = 216 + 6 * (sitter.variant % 3)
    neckline = [(x + n * 1.05, 196), (x - 6 * sitter.turn, dip), (x - n * 1.05, 196)]
    canvas.shape(smooth([*body, *neckline]), _paint(canvas, sitter, color))
    if sitter.variant % 4 == 1:
        other = tint(color, 0.72) if luminance(color) < 0.7 else shade(color, 0.55)
        canvas.tone(rectangle(-w * 0.82, 300, w * 1.64, 26), other, 0.9)
    elif sitter.variant % 4 == 2:
        canvas.tone(ellipse(x * 0.4, 322, 34, 34), sitter.accent, 0.9)
    _folds(canvas, sitter, color, fine, low)
    canvas.line(
        curve([(x - n * 1.5, 163), (x - n * 1.02, 198), (x - 6 * sitter.turn, dip + 1),
               (x + n * 1.02, 198), (x + n * 1.5, 163)]), shade(color, 0.4), 9, 0.9,
    )
    if low:
        skin, sleeves = sitter.skin, []
        for d in (-1, 1):
            a = d * (w - 8)
            sleeves.append(polygon([(a - 34, 428), (a + 44, 428), (a + 46, 650), (a - 34, 650)]))
        canvas.shape("".join(sleeves), mix(skin, shade(skin, 0.4), 0.4))


def _shirt(canvas: Canvas, sitter: Identity, fine: bool, low: bool) -> None:
    x, n, color, s = 10 * sitter.turn, sitter.neck, sitter.cloth, sitter.turn
    c = x - 16 * s
    canvas.shape(
        smooth([*_torso(sitter, 1.35, 2), (x + n * 0.9, 180), (c, 226), (x - n * 0.9, 180)]),
        _paint(canvas, sitter, color),
    )
    _folds(canvas, sitter, color, fine, low)
    edge = _fold_color(color)
    canvas.line(f"M{c:.1f} 224L{c * 0.7:.1f} 640", edge, 4.5, 0.8)
    buttons = [ellipse(c * (1 - i * .08) + 8, 250 + 66 * i, 5.5, 5.5) for i in range(5)]
    canvas.tone("".join(buttons), tint(color, 0.8) if luminance(color) < 0.6 else shade(color, .6))
    _collar(canvas, sitter, tint(color, 0.2) if luminance(color) > 0.2 else mix(
        color, (110, 110, 124), 0.35), c, 226)
    if sitter.variant % 2 and low:
        canvas.line(rectangle(sitter.shoulder * 0.3, 320, 62, 70), edge, 3.5, 0.7)


def _collar(canvas: Canvas, sitter: Identity, color: Color, c: float, tip: float) -> None:
    """Two pointed flaps that meet at (`c`, `tip`)."""
    x, n = 10 * sitter.turn, sitter.neck
    flaps = [
        polygon([(x + d * n * 1.0, 146), (x + d * n * 1.45, 164), (x + d * n * 1.28 + c * .1,
                 tip + 18), (c + d * 3, tip - 4), (x + d * n * 0.92, 176)])
        for d in (-1, 1)
    ]
    if canvas.outline is None and canvas.soft:
        canvas.tone("".join(strand((x + d * n * 1.4, 170), (x + d * n * 1.4, tip),
                                   (c + d * 4, tip + 12), 9) for d in (-1, 1)),
                    shade(color, 0.7), 0.5)
    canvas.shape("".join(flaps), color, 0.9)


def _turtleneck(canvas: Canvas, sitter: Identity, fine: bool, low: bool) -> None:
    x, n, color = 10 * sitter.turn, sitter.neck + 5, sitter.cloth
    canvas.shape(smooth(_torso(sitter, 1.2)), _paint(canvas, sitter, color))
    _folds(canvas, sitter, color, fine, low)
    top = sitter.chin + sitter.sink - 10
    canvas.tone(smooth([(x - n * 1.5, 178), (x, 202), (x + n * 1.5, 178), (x + n, 160),
                        (x - n, 160)]), shade(color, 0.6), 0.6)
    side = sitter.light or -0.3
    paint = canvas.linear((x + n * side, 0), (x - n * side, 0), (0, tint(color, 0.25)),
                          (0.45, color), (1, shade(color, 0.45)))
    canvas.shape(smooth([
        (x - n * 1.02, top + 4), (x - n * 0.5, top + 14), (x, top + 17), (x + n * 0.5, top + 14),
        (x + n * 1.02, top + 4), (x + n * 1.1, 150), (x + n * 1.22, 176), (x + n * 0.6, 188),
        (x, 191), (x - n * 0.6, 188), (x - n * 1.22, 176), (x - n * 1.1, 150),
    ]), paint)
    step = 0.25 if fine else 0.4
    ribs = [strand((x + n * k, top + 18), (x + n * k * 1.05, 150), (x + n * k * 1.1, 180), 1.6)
            for k in (-0.8 + step * i for i in range(int(1.6 / step) + 1))]
    canvas.tone("".join(ribs), _fold_color(color), 0.6)


def _hoodie(canvas: Canvas, sitter: Identity, fine: bool, low: bool) -> None:
    x, n, color = 10 * sitter.turn, sitter.neck, sitter.cloth
    canvas.shape(smooth(_torso(sitter, 1.3, -6)), _paint(canvas, sitter, color))
    _folds(canvas, sitter, color, fine, low)
    # The hood lies as a thick ring around the neck, open in front.
    hood = tint(color, 0.1) if luminance(color) > 0.2 else mix(color, (110, 110, 124), 0.3)
    for d in (-1, 1):
        canvas.shape(smooth([
            (x + d * n * 0.95, 138), (x + d * (n * 1.4 + 22), 132), (x + d * (n * 1.7 + 32), 170),
            (x + d * (n * 1.35 + 22), 222), (x + d * 10, 262), (x - d * 2, 240),
            (x + d * n * 0.62, 206), (x + d * n * 0.95, 176),
        ]), hood)
    canvas.tone("".join(
        strand((x + d * (n + 8), 150), (x + d * (n + 10), 200), (x + d * 8, 244), 5)
        for d in (-1, 1)), _fold_color(color), 0.55)
    cord = tint(color, 0.85) if luminance(color) < 0.6 else shade(color, 0.7)
    canvas.line(f"M{x - 16:.1f} 240q-6 40 -2 78M{x + 16:.1f} 240q8 34 2 68", cord, 6)
    if low:
        w = sitter.shoulder * 0.5
        canvas.line(polygon([(-w * .7, 430), (w * .7, 430), (w, 520), (w, 640), (-w, 640),
                             (-w, 520)]), _fold_color(color), 4.5, 0.7)


def _suit(canvas: Canvas, sitter: Identity, fine: bool, low: bool) -> None:
    x, n, color, s = 10 * sitter.turn, sitter.neck, sitter.cloth, sitter.turn
    c = x - 14 * s
    under = (250, 249, 246) if luminance(color) < 0.75 else (176, 200, 226)
    deep = 380 + 10 * (sitter.variant % 3)
    canvas.shape(polygon([(x - n * 1.3, 158), (x + n * 1.3, 158), (c + n * 1.4, 300),
                          (c, deep + 20), (c - n * 1.4, 300)]), under, 0.7)
    if sitter.man or sitter.variant % 4 == 0:
        tie = sitter.accent if abs(luminance(sitter.accent) - luminance(color)) > 0.1 else (
            mix(sitter.accent, (230, 60, 50), 0.6))
        canvas.shape(polygon([(c - 13, 206), (c + 13, 206), (c + 9, 230), (c + 22, deep),
                              (c, deep + 26), (c - 22, deep), (c - 9, 230)]), tie, 0.8)
        canvas.tone(polygon([(c - 9, 230), (c + 9, 230), (c + 12, 250)]), shade(tie, 0.6), 0.7)
        _collar(canvas, sitter, under, c, 214)
    else:
        canvas.tone(polygon([(x - n * 0.95, 160), (x + n * 0.95, 160), (c, 262)]), sitter.skin)
        canvas.tone(polygon([(x - n * 0.95, 160), (x + n * 0.95, 160), (c + 6, 216), (c - 6, 216)]),
                    shade(sitter.skin, 0.5), 0.4)
    body = _torso(sitter, 1.38)
    canvas.shape(_jacket(body, c, deep), _paint(canvas, sitter, color))
    lapel = shade(color, 0.28) if luminance(color) > 0.22 else mix(color, (120, 120, 134), 0.32)
    canvas.shape("".join(
        polygon([
            (x + d * n * 1.3, 160), (x + d * (n * 1.3 + 26), 176), (c + d * (n * 1.3 + 40), 258),
            (c + d * (n * 1.3 + 14), 268), (c + d * (n * 1.3 + 24), 284), (c + d * 4, deep),
            (c + d * n * 0.95, 268),
        ]) for d in (-1, 1)), lapel, 0.8)
    _folds(canvas, sitter, color, fine, low)
    canvas.line(f"M{c:.1f} {deep:.1f}L{c * .8:.1f} 640", _fold_color(color), 4, 0.8)
    canvas.tone(ellipse(c + 12, deep + 34, 7, 7) + ellipse(c + 11, deep + 110, 7, 7),
                shade(color, 0.8) if luminance(color) > 0.22 else (120, 116, 124))


def _jacket(body: list[Point], c: float, deep: float) -> str:
    """The torso with a wedge cut out from the neck down to the button at (`c`, `deep`)."""
    left = curve([*body[:5], (body[5][0], 640)])
    right = curve([(body[6][0], 640), *body[7:]])
    return left + "L" + right[1:] + f"L{c:.1f} {deep:.1f}Z"
