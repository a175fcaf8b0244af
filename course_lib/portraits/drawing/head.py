"""The head without its features: neck, ears, the outline of the face and the shade upon it."""

from __future__ import annotations

from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import Canvas, Point, ellipse, mix, shade, smooth, tint

# Half an outline from the crown to the chin, at three views: frontal, and the far (left) and the
# near (right) side of a head turned to the left.
_FRONT = ((62, -130), (93, -84), (99, -32), (97, 12), (91, 52), (75, 94), (41, 127))
_FAR = ((-58, -132), (-86, -86), (-92, -34), (-86, 3), (-88, 37), (-76, 90), (-62, 122))
_NEAR = ((70, -130), (100, -84), (98, -32), (88, 12), (84, 52), (68, 90), (18, 128))


def outline(sitter: Identity) -> tuple[list[Point], list[Point], Point]:
    """The face's outline as (left side, right side, chin), each side from crown to jaw."""
    s, k = sitter.turn, sitter.chin / 138.0
    wide = (1.0, 1.0, 1.0, 1.0, sitter.cheek, sitter.jaw, sitter.chin_width)
    left, right = [], []
    for i, (front, far, near) in enumerate(zip(_FRONT, _FAR, _NEAR, strict=True)):
        w = sitter.face * wide[i]
        # The far side is a profile: brow, cheekbone and chin, which widths change less.
        w_far = 1.0 + (w - 1.0) * (1.0 - 0.55 * s)
        w_near = w if i < 6 else 1.0
        y = front[1] * (k if front[1] > 60 else 1.0)
        y_far, y_near = far[1] * (k if far[1] > 60 else 1.0), near[1] * (k if near[1] > 60 else 1.0)
        left.append(
            ((-front[0] * w) * (1 - s) + far[0] * w_far * s, y * (1 - s) + y_far * s)
        )
        right.append(
            (front[0] * w * (1 - s) + near[0] * w_near * s, y * (1 - s) + y_near * s)
        )
    return left, right, (-33.0 * s, sitter.chin)


def draw_neck(canvas: Canvas, sitter: Identity) -> None:
    """Neck and upper chest, with the shadow that the chin throws."""
    s, w = sitter.turn, sitter.neck
    x = 10.0 * s
    base = min(w * 3.0, sitter.shoulder * 0.6)
    skin = sitter.skin
    deep = shade(skin, 0.3)
    paint = canvas.linear(
        (x - w, 0), (x + w, 0),
        (0.0, tint(skin, 0.1) if sitter.light < 0 else deep),
        (0.5, mix(skin, deep, 0.35)),
        (1.0, tint(skin, 0.1) if sitter.light > 0 else deep),
    )
    canvas.shape(
        f"M{x - w:.1f} 60C{x - w:.1f} 130 {x - w * 0.98:.1f} 150 {x - w * 1.25:.1f} 168"
        f"C{-base * 0.7:.1f} 188 {-base:.1f} 200 {-base:.1f} 240L{base:.1f} 240"
        f"C{base:.1f} 200 {base * 0.7:.1f} 188 {x + w * 1.25:.1f} 168"
        f"C{x + w * 0.98:.1f} 150 {x + w:.1f} 130 {x + w:.1f} 60Z",
        paint,
    )
    chin = sitter.chin + sitter.sink
    drop = -8.0 * sitter.light
    canvas.tone(
        smooth([
            (x - w, 70), (x + w, 70), (x + w, chin - 8), (x + w * 0.6 + drop, chin + 22),
            (x - 14 * s + drop, chin + 34), (x - w * 0.7 + drop, chin + 16), (x - w, chin - 14),
        ]),
        shade(skin, 0.5), 0.75,
    )


def draw_ears(canvas: Canvas, sitter: Identity) -> None:
    """Both ears, or the near one of a turned head."""
    size, y = sitter.ear, sitter.eye_y * 0.5
    skin = mix(sitter.skin, (200, 90, 70), 0.12)
    outer, inner = [], []
    for side in (-1, 1):
        if side < 0 and sitter.turn > 0.3:
            continue
        x = 99.0 * side * sitter.face if sitter.turn == 0 else 80.0 * sitter.face
        d = side if sitter.turn == 0 else 1.3
        outer.append(smooth([
            (x - 6 * d, y - 16), (x + 8 * d, y - 26 * size), (x + 17 * d, y - 14 * size),
            (x + 13 * d, y + 12 * size), (x + 6 * d, y + 30 * size), (x - 6 * d, y + 34),
        ]))
        inner.append(smooth([
            (x + 2 * d, y - 8), (x + 8 * d, y - 17 * size), (x + 12 * d, y - 8),
            (x + 6 * d, y + 6), (x + 4 * d, y + 20),
        ]))
    canvas.shape("".join(outer), skin, 0.8)
    canvas.tone("".join(inner), shade(skin, 0.45), 0.7)


def draw_skull(canvas: Canvas, sitter: Identity) -> None:
    """The bare cranium behind the forehead, seen where no hair covers it."""
    s, f = sitter.turn, sitter.face
    canvas.shape(
        ellipse(16 * s, -42, (100 + 8 * s) * f, -sitter.top - 42),
        mix(sitter.skin, shade(sitter.skin, 0.4), 0.2 if sitter.light >= 0 else 0.35), 0.9,
    )


def draw_face(canvas: Canvas, sitter: Identity, *, rim: bool) -> None:
    """The face itself: gradient, form shadow, warm cheeks; a rim light if `rim`."""
    left, right, chin = outline(sitter)
    skin, light = sitter.skin, sitter.light
    crown = (16 * sitter.turn, sitter.top)
    path = smooth([crown, *right, chin, *left[::-1]])
    bright, dark = tint(skin, 0.22), shade(skin, 0.26)
    if light == 0:
        paint = canvas.linear((0, -120), (0, 140), (0.0, bright), (0.45, skin), (1.0, dark))
    else:
        paint = canvas.linear(
            (-95 * -light, -60), (95 * -light, 60), (0.0, bright), (0.5, skin), (1.0, dark)
        )
    canvas.shape(path, paint)
    _form_shadow(canvas, sitter, left, right, chin)
    blush = mix(skin, (226, 70, 66), 0.42)
    y = sitter.eye_y + 44
    spots = []
    for d in (-1, 1):
        k = 1.0 - 0.5 * sitter.turn if d < 0 else 1.0
        spots.append((sitter.fx(52.0 * d) - 5.0 * d * sitter.turn, y, 25 * k, 16.0))
    canvas.glow(spots, blush, 0.85 if sitter.child else 0.55)
    if rim:
        middle = sitter.fx(12.0 * light)
        spots = [(middle, -60, 46, 30)]
        if light:
            spots.append((sitter.fx(46.0 * light), y - 12, 20, 13))
        canvas.glow(spots, tint(skin, 0.75), 0.5)
    if rim and (light < 0 or (light > 0 and not sitter.turn)):
        edge = left if light < 0 else right
        inner = [(px * 0.96, py) for px, py in edge[2:6]]
        canvas.tone(smooth([*edge[2:6], *inner[::-1]]), tint(skin, 0.85), 0.6)


def _form_shadow(canvas: Canvas, sitter: Identity, left, right, chin) -> None:
    """The side of the face that the light does not reach."""
    skin, light = sitter.skin, sitter.light
    sides = (left, right) if light == 0 else ((right,) if light < 0 else (left,))
    depth = 0.13 if light == 0 else 0.34
    parts = []
    for edge in sides:
        tail = edge[1:]
        inner = []
        for i, (px, py) in enumerate(tail):
            d = depth * (0.12, 0.5, 0.72, 0.66, 0.9, 1.1)[i]
            inner.append((px + (chin[0] - px) * d, py - (6 if i > 3 else 0)))
        parts.append(smooth([*tail, (chin[0], chin[1] - 2), *inner[::-1]]))
    # Tanned and dark skin need deeper shade to show the same form.
    canvas.tone("".join(parts), shade(skin, 0.62), 0.34 if light else 0.3)
