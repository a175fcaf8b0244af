"""What the head wears: glasses, hats, scarves and crowns."""

from __future__ import annotations

from course_lib.portraits.drawing.hair_forms import outer
from course_lib.portraits.drawing.head import outline
from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import (
    Canvas,
    curve,
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


def draw_eyewear(canvas: Canvas, sitter: Identity, kind: str, *, bold: float) -> None:
    """Glasses on the nose with a temple towards the ear; `bold` scales the rims."""
    if kind == "none":
        return
    y = sitter.eye_y + 3
    frame = ((32, 28, 32), (92, 48, 30), (44, 50, 88), (120, 34, 44))[sitter.variant % 4]
    if kind == "round glasses":
        frame = ((150, 112, 44), (52, 50, 56), (140, 60, 40))[sitter.variant % 3]
    lenses, shine, xs = [], [], []
    for d in (-1, 1):
        a = sitter.narrow(sitter.eye_x * d)
        x = sitter.fx((sitter.eye_x + 1.5) * d)
        xs.append((x, a))
        if kind == "round glasses":
            lenses.append(ellipse(x, y, 34 * a, 33))
        else:
            w, t, b = (36 * a, 21, 23) if kind == "glasses" else (39 * a, 22, 27)
            lenses.append(
                f"M{x - w * .8:.1f} {y - t:.1f}L{x + w * .8:.1f} {y - t:.1f}"
                f"Q{x + w:.1f} {y - t:.1f} {x + w:.1f} {y - t * .6:.1f}"
                f"L{x + w * .92:.1f} {y + b * .45:.1f}Q{x + w * .85:.1f} {y + b:.1f} "
                f"{x + w * .4:.1f} {y + b:.1f}L{x - w * .4:.1f} {y + b:.1f}"
                f"Q{x - w * .85:.1f} {y + b:.1f} {x - w * .92:.1f} {y + b * .45:.1f}"
                f"L{x - w:.1f} {y - t * .6:.1f}Q{x - w:.1f} {y - t:.1f} {x - w * .8:.1f} "
                f"{y - t:.1f}Z"
            )
        shine.append(polygon([(x - 16 * a, y + 8), (x - 2 * a, y - 15), (x + 6 * a, y - 15),
                              (x - 8 * a, y + 8)]))
    rims = "".join(lenses)
    (xl, al), (xr, ar) = xs
    edge = 36
    bridge = curve([(xl + edge * al * .95, y - 5), ((xl + xr) / 2, y - 11),
                    (xr - edge * ar * .95, y - 5)])
    sides = f"M{xr + edge * ar * .95:.1f} {y - 8:.1f}L{sitter.fx(99.0):.1f} {y - 10:.1f}"
    if not sitter.turn:
        sides += f"M{xl - edge * al * .95:.1f} {y - 8:.1f}L{sitter.fx(-99.0):.1f} {y - 10:.1f}"
    if kind == "sunglasses":
        canvas.tone(rims, (26, 24, 30), 0.96)
        canvas.tone("".join(shine), (150, 160, 180), 0.4)
        canvas.line(rims + bridge + sides, (18, 16, 20), 5.0 * bold)
    else:
        canvas.tone(rims, (225, 240, 250), 0.2)
        canvas.line(rims + bridge + sides, frame, (6.6 if kind == "glasses" else 5.6) * bold)
        canvas.tone("".join(shine), (255, 255, 255), 0.16)


def draw_headwear_back(canvas: Canvas, sitter: Identity, kind: str) -> None:
    """What a hat shows behind the head."""
    if kind == "sun hat":
        straw = mix((226, 192, 128), sitter.hat, 0.1)
        canvas.shape(ellipse(10 * sitter.turn, -66, 186, 44), shade(straw, 0.5))
    elif kind == "headscarf":
        s = sitter.turn
        cloth = shade(sitter.hat, 0.35)
        canvas.shape(smooth([
            (-112, -60), (-60, -168), (30 * s, -176), (70 + 20 * s, -166), (114 + 26 * s, -60),
            (112 + 26 * s, 60), (130 + 14 * s, 190), (0, 260), (-130, 190), (-110, 60),
        ]), cloth)


def draw_headwear(canvas: Canvas, sitter: Identity, kind: str, *, fine: bool) -> None:
    """The hat itself, over the hair."""
    draw = {
        "cap": _cap, "beanie": _beanie, "sun hat": _sun_hat, "beret": _beret,
        "headscarf": _headscarf, "crown": _crown,
    }.get(kind)
    if draw is not None:
        draw(canvas, sitter, fine)


def _cloth(canvas: Canvas, sitter: Identity, color):
    side = sitter.light or -0.4
    return canvas.linear((110 * side, -170), (-110 * side, -70),
                         (0.0, tint(color, 0.3)), (0.45, color), (1.0, shade(color, 0.5)))


def _dome(sitter: Identity, top: float, low: float, wide: float, low_left: float | None = None):
    """The outline of a cap of cloth from the left edge over the crown to the right edge."""
    left = low if low_left is None else low_left
    points = [(-wide, left), (-wide + 1, -92), (-wide + 22, -136), (-50, top + 12), (0, top),
              (50, top + 12), (wide - 22, -136), (wide - 1, -92), (wide, low)]
    return [(outer(sitter, x), y) for x, y in points]


def _cap(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    s, color, top = sitter.turn, sitter.hat, sitter.top - 30
    dome = _dome(sitter, top, -66, 113)
    middle = outer(sitter, 0)
    canvas.shape(smooth([*dome, (outer(sitter, 60), -84), (-20 * s, -88),
                         (outer(sitter, -60), -84)]), _cloth(canvas, sitter, color))
    canvas.tone(
        strand((middle, top), (-62 + 10 * s, top + 22), (-72, -80), 2.2)
        + strand((middle, top), (62 + 10 * s, top + 22), (72 + 14 * s, -80), 2.2)
        + strand((middle, top), (-8 - 26 * s, -130), (-30 * s, -86), 2.2),
        shade(color, 0.6), 0.7,
    )
    x = -42 * s
    if sitter.variant % 2:
        canvas.tone(ellipse(x * 0.6, -124, 24 * (1 - .2 * s), 20), tint(color, 0.75), 0.9)
    # The bill and the shadow that it throws on the forehead.
    canvas.tone(ellipse(x - 4 * s, -58, 84, 20), shade(sitter.skin, 0.7), 0.4)
    bill = smooth([
        (x - 96 - 14 * s, -68), (x - 66 - 12 * s, -92), (x, -103), (x + 66, -94), (x + 96, -70),
        (x + 56, -66), (x - 6, -57), (x - 66 - 16 * s, -56),
    ])
    canvas.shape(bill, shade(color, 0.3))
    if fine:
        canvas.tone(strand((x - 84, -74), (x, -98), (x + 84, -76), 2.5), tint(color, 0.5), 0.5)


def _beanie(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    color, top = sitter.hat, sitter.top - 38
    canvas.shape(smooth([*_dome(sitter, top, -70, 114), (outer(sitter, 0), -76)]),
                 _cloth(canvas, sitter, color))
    ribs = [strand((outer(sitter, x * 0.3), top + 14), (outer(sitter, x), top + 40),
                   (outer(sitter, x * 1.05), -96), 2.2) for x in (-88, -46, 0, 46, 88)]
    canvas.tone("".join(ribs), shade(color, 0.6), 0.55)
    if sitter.variant % 3 == 0:
        ball = [(outer(sitter, 0) + 26 * (i % 2 * 0.12 + 1) * px, top - 12 + 24 * py)
                for i, (px, py) in enumerate(((0, -1), (.7, -.7), (1, 0), (.7, .7), (0, 1),
                                              (-.7, .7), (-1, 0), (-.7, -.7)))]
        canvas.shape(scallop(ball, 0.3), tint(color, 0.6))
    cuff = [(-117, -96), (-60, -112), (0, -116), (60, -112), (117, -96), (116, -58), (60, -72),
            (0, -76), (-60, -72), (-116, -58)]
    canvas.shape(smooth([(outer(sitter, x), y) for x, y in cuff]), shade(color, 0.22))
    knit = [strand((outer(sitter, x), -107 + abs(x) * 0.1), (outer(sitter, x * 1.01), -92),
                   (outer(sitter, x * 1.01), -78 + abs(x) * 0.12), 1.8)
            for x in range(-96, 97, 24 if not fine else 16)]
    canvas.tone("".join(knit), shade(color, 0.75), 0.6)


def _sun_hat(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    straw = mix((232, 200, 138), sitter.hat, 0.08)
    s, top = sitter.turn, sitter.top - 34
    x = 8 * s
    canvas.shape(smooth([(x - 112, -78), (x - 106, -120), (x - 78, top + 18), (x, top),
                         (x + 78, top + 18), (x + 106, -120), (x + 112, -78), (x, -66)]),
                 _cloth(canvas, sitter, straw))
    canvas.tone(smooth([(x - 111, -104), (x, -94), (x + 111, -104), (x + 113, -74), (x, -64),
                        (x - 113, -74)]), sitter.hat)
    # The front of the brim dips over the forehead and shades it.
    canvas.tone(smooth([(x - 92, -66), (x, -50), (x + 92, -66), (x + 84, -34), (x, -26),
                        (x - 84, -34)]), shade(sitter.skin, 0.7), 0.38)
    canvas.shape(smooth([(x - 188, -62), (x - 150, -80), (x - 100, -82), (x, -74), (x + 100, -82),
                         (x + 150, -80), (x + 188, -62), (x + 120, -50), (x, -46), (x - 120, -50)]),
                 canvas.linear((-190, 0), (190, 0), (0, tint(straw, 0.25)), (0.5, straw),
                               (1, shade(straw, 0.35))))
    if fine:
        weave = [strand((x - w, y), (x, y + 14), (x + w, y), 1.4)
                 for w, y in ((170, -66), (140, -72), (96, -112), (84, -132), (66, -150))]
        canvas.tone("".join(weave), shade(straw, 0.6), 0.5)


def _beret(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    color, t, s = sitter.hat, sitter.top, sitter.turn
    x = 14 * s
    canvas.shape(smooth([
        (x - 104, -78), (x - 128, -108), (x - 104, -146), (x - 40, t - 22), (x + 30, t - 42),
        (x + 104, t - 32), (x + 150, -150), (x + 146, -112), (x + 106, -76), (x, -94),
    ]), _cloth(canvas, sitter, color))
    canvas.tone(
        strand((x - 90, -100), (x + 20, -140), (x + 136, -122), 7)
        + strand((x - 40, -108), (x + 40, -150), (x + 122, -150), 3),
        shade(color, 0.6), 0.5,
    )
    canvas.shape(smooth([(x - 105, -88), (x - 40, -106), (x + 40, -104), (x + 107, -86),
                         (x + 106, -70), (x + 40, -90), (x - 40, -92), (x - 104, -70)]),
                 shade(color, 0.5), 0.6)
    canvas.tone(ellipse(x + 34, t - 42, 5, 9), shade(color, 0.4))
    if fine:
        canvas.tone(strand((x - 70, -140), (x, t - 22), (x + 60, t - 24), 6), tint(color, 0.6), 0.4)


def _headscarf(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    """Cloth around the face and under the chin: an outline with an opening."""
    left, right, chin = outline(sitter)
    color, s = sitter.hat, sitter.turn
    hole = [(chin[0] * 0.4 - 2, -104), (right[1][0] - 22, -88), (right[2][0] - 12, -36),
            (right[3][0] - 4, 14), (right[4][0] - 4, 56), (right[5][0] - 4, right[5][1] + 2),
            (right[6][0] - 2, right[6][1] + 2), (chin[0], chin[1] + 1),
            (left[6][0] + 2, left[6][1] + 1), (left[5][0] + 3, left[5][1]), (left[4][0] + 2, 54),
            (left[3][0] + 2, 12), (left[2][0] + 8, -38), (left[1][0] + 18, -86)]
    around = [(-116, -40), (-108, -112), (-58, -168), (16 * s, -181), (62 + 20 * s, -168),
              (110 + 24 * s, -112), (120 + 26 * s, -36), (112 + 24 * s, 50), (104 + 10 * s, 120),
              (120, 170), (60, 222), (-10, 236), (-80, 214), (-122, 170), (-102, 110), (-108, 40)]
    side = sitter.light or -0.4
    paint = canvas.linear((120 * side, -140), (-120 * side, 200), (0.0, tint(color, 0.3)),
                          (0.5, color), (1.0, shade(color, 0.5)))
    # The opening runs the other way round, so that the non-zero rule leaves it clear.
    canvas.shape(smooth(around) + smooth(hole[::-1]), paint)
    x = chin[0]
    folds = [
        strand((x - 56, 124), (x - 20, 176), (x + 60, 168), 5),
        strand((x - 72, 100), (x - 40, 210), (x + 40, 206), 4),
        strand((x + 84, 92), (x + 40, 160), (x - 30, 196), 5),
        strand((-92, -96), (x - 4, -150), (92 + 10 * s, -98), 4),
        strand((-100, 20), (-112, 80), (-92, 130), 4),
        strand((100 + 16 * s, 10), (112 + 16 * s, 70), (96 + 6 * s, 124), 4),
    ]
    canvas.tone("".join(folds), shade(color, 0.65), 0.5)
    canvas.tone(strand((-84, -118), (0, -176), (84, -120), 4), tint(color, 0.6),
                0.6 if fine else 0.4)


def _crown(canvas: Canvas, sitter: Identity, fine: bool) -> None:
    """A golden band with five points and a jewel in each field."""
    s, y = sitter.turn, -112
    gold = (238, 186, 52)
    x, w, h = 12 * s, 96, 62
    points = [(x - w, y + 10), (x - w - 8, y - h)]
    for i in range(4):
        a = -w + (i + 0.5) * w / 2
        points += [(x + a * 1.02, y - h * 0.38 + 6), (x + a + w / 4, y - h - 14 + 4 * abs(i - 1.5))]
    points[-1] = (x + w + 8, y - h)
    points += [(x + w, y + 10), (x + w * 0.5, y + 22), (x, y + 26), (x - w * 0.5, y + 22)]
    canvas.shape(polygon(points), canvas.linear(
        (x - w, 0), (x + w, 0), (0, tint(gold, 0.3)), (0.5, gold), (1, shade(gold, 0.4))))
    balls = [ellipse(px, py - 4, 7, 7) for px, py in points[1:10:2]]
    canvas.tone("".join(balls), tint(gold, 0.35))
    canvas.tone(smooth([(x - w, y - 6), (x, y + 8), (x + w, y - 6), (x + w, y + 8), (x, y + 24),
                        (x - w, y + 8)]), shade(gold, 0.32), 0.9)
    gems = [ellipse(x + a, y + 15 - abs(a) * 0.11, 8, 7) for a in (-64, 0, 64)]
    canvas.tone("".join(gems), (190, 30, 60))
    canvas.tone("".join(ellipse(x + a, y + 16 - abs(a) * 0.11, 6, 6) for a in (-32, 32)),
                (40, 110, 170) if luminance(sitter.hat) > 0.3 else (40, 150, 110))
    if fine:
        canvas.tone(strand((x - 80, y - 30), (x - 70, y - 6), (x - 30, y + 2), 3),
                    (255, 250, 225), 0.7)
