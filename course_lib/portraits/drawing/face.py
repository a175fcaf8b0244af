"""Eyes, brows, nose and mouth, and what years and moods do to them."""

from __future__ import annotations

from dataclasses import dataclass

from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import (
    Canvas,
    band,
    curve,
    ellipse,
    luminance,
    mix,
    shade,
    smooth,
    strand,
    tint,
)


@dataclass(frozen=True, slots=True)
class Mood:
    """How an expression moves the face; lengths in head units, downwards positive."""

    lid_up: float = 1.0  # opening of the upper lid, times the sitter's eye height
    lid_low: float = 1.0
    gaze: float = 0.0
    brow: float = 0.0
    brow_inner: float = 0.0
    brow_outer: float = 0.0
    corner: float = 0.0  # mouth corners, upwards negative
    wide: float = 1.0
    open: float = 0.0
    teeth: float = 0.0
    fold: float = 0.0  # strength of the cheek folds
    frown: float = 0.0


MOODS: dict[str, Mood] = {
    "neutral": Mood(corner=-3.5, brow_inner=3, brow_outer=2),
    "smiling": Mood(
        lid_up=0.92, lid_low=0.75, brow=-2, brow_inner=1, brow_outer=2, corner=-12, wide=1.15,
        fold=0.55,
    ),
    "laughing": Mood(
        lid_up=0.72, lid_low=0.1, brow=-7, corner=-13, wide=1.32, open=27, teeth=0.42, fold=0.9,
    ),
    "sad": Mood(
        lid_up=0.78, lid_low=1.0, gaze=3.0, brow=-1, brow_inner=-13, brow_outer=9, corner=11,
        wide=0.86, fold=0.3,
    ),
    "surprised": Mood(lid_up=1.45, lid_low=1.35, brow=-17, corner=3, wide=0.62, open=38),
    "angry": Mood(
        lid_up=0.74, lid_low=0.72, brow=5, brow_inner=13, brow_outer=-9, corner=8, wide=0.98,
        fold=0.5, frown=1.0,
    ),
}


def draw_eyes(canvas: Canvas, sitter: Identity, mood: Mood, *, fine: bool, dark: bool) -> None:
    """Almond eyes with iris, pupil, lid, crease and catchlight; `dark` for pure line styles."""
    shapes: dict[str, str] = {}
    for d in (-1, 1):
        for name, path in _eye(sitter, mood, d, 4.6 if dark else 3.6).items():
            shapes[name] = shapes.get(name, "") + path
    skin = sitter.skin
    canvas.tone(shapes["socket"], shade(skin, 0.55), 0.22 + 0.1 * (sitter.old or mood.frown))
    canvas.tone(shapes["lid"], mix(shade(skin, 0.3), (170, 80, 80), 0.1))
    canvas.tone(shapes["white"], mix((250, 248, 244), shade(skin, 0.3), 0.06))
    canvas.tone(shapes["iris"], shade(sitter.iris, 0.25) if not dark else (40, 34, 34))
    if fine and not dark:
        canvas.line(shapes["iris"], shade(sitter.iris, 0.8), 1.8)
    canvas.tone(shapes["pupil"], (18, 14, 16))
    ink = (22, 16, 18) if dark or luminance(skin) < 0.35 else mix((40, 24, 22), skin, 0.05)
    canvas.tone(shapes["lash"], ink)
    if fine:
        canvas.tone(shapes["crease"], shade(skin, 0.75), 0.8)
    canvas.tone(shapes["glint"], (255, 255, 255))


def _eye(sitter: Identity, mood: Mood, d: int, thick: float) -> dict[str, str]:
    """The parts of the left (`d` = -1) or right eye; `thick` is the weight of the lash line."""
    slip = sitter.slips
    up, low = sitter.eye_h * mood.lid_up, sitter.eye_h * 0.62 * mood.lid_low
    radius = sitter.iris_r * (0.9 if mood.lid_up > 1.3 else 1.0)
    a = sitter.narrow(sitter.eye_x * d)
    w = sitter.eye_w * a
    x = sitter.fx(sitter.eye_x * d) + 2.4 * slip[0 if d < 0 else 1]
    y = sitter.eye_y + 2.8 * slip[2 if d < 0 else 3]
    ix, ox = x - d * w, x + d * w
    iy, oy = y + 2.0, y - sitter.eye_tilt + (2.5 if mood.brow_inner < 0 else 0.0)
    # Control points of the lids between the inner (i) and the outer (o) corner.
    i_up, o_up = (ix + d * w * 0.45, iy - up * 1.3), (ox - d * w * 0.5, oy - up * 1.4)
    start = f"M{ix:.1f} {iy:.1f}"
    upper = f"C{i_up[0]:.1f} {i_up[1]:.1f} {o_up[0]:.1f} {o_up[1]:.1f} {ox:.1f} {oy:.1f}"
    lower = (
        f"C{ox - d * w * .45:.1f} {oy + low * 1.5:.1f} {ix + d * w * .5:.1f} "
        f"{iy + low * 1.3:.1f} {ix:.1f} {iy:.1f}Z"
    )
    px, py = x - 3.0 * sitter.turn + d * 0.5, y + mood.gaze - 1.5
    top, bottom = y - up * 0.98 - py, y + low * 1.02 - py
    return {
        "socket": ellipse(x - d * w * 0.15, y - 7, w * 1.28, 21.0),
        "lid": (
            start + f"C{ix + d * w * .4:.1f} {iy - up * 1.5 - 8:.1f} {ox - d * w * .5:.1f} "
            f"{oy - up * 1.5 - 9:.1f} {ox + d * 3:.1f} {oy:.1f}C{o_up[0]:.1f} {o_up[1]:.1f} "
            f"{i_up[0]:.1f} {i_up[1]:.1f} {ix:.1f} {iy:.1f}Z"
        ),
        "white": start + upper + lower,
        "iris": band((px, py), radius, top, bottom),
        "pupil": band((px, py), radius * 0.52, top, bottom),
        "lash": (
            start + upper + f"l{d * 3.5 * a:.1f} -3C{o_up[0]:.1f} {o_up[1] - thick:.1f} "
            f"{i_up[0]:.1f} {i_up[1] - thick:.1f} {ix:.1f} {iy:.1f}Z"
        ),
        "crease": strand((ix + d * 3, iy - up - 4), (x, y - up - 13), (ox, oy - up * .4 - 6), 1),
        "glint": ellipse(px + 3.8 * (sitter.light or -0.7), py - 4.2, 3.0, 3.0),
    }


def draw_brows(canvas: Canvas, sitter: Identity, mood: Mood, *, dark: bool) -> None:
    """Brows that taper outwards; their slant carries half of the expression."""
    color = shade(sitter.hair, 0.3)
    if luminance(sitter.hair) > 0.62:
        color = mix(shade(sitter.hair, 0.55), sitter.skin, 0.15)
    if dark:
        color = (34, 28, 28)
    parts = []
    for d in (-1, 1):
        a = sitter.narrow(sitter.eye_x * d)
        w = sitter.eye_w * 1.22 * a
        x = sitter.fx((sitter.eye_x + 1) * d) + 3.0 * sitter.slips[4 if d < 0 else 5]
        y = sitter.eye_y + sitter.brow_y + mood.brow + 3.0 * sitter.slips[6]
        h, arch = sitter.brow_h, sitter.brow_arch
        ix, iy = x - d * w, y + 3 + mood.brow_inner
        ox, oy = x + d * w * 1.05, y + 4 + mood.brow_outer
        parts.append(
            f"M{ix:.1f} {iy + h * .5:.1f}L{ix + d * 1.5:.1f} {iy - h * .5:.1f}"
            f"Q{x + d * w * .35:.1f} {(iy + oy) / 2 - arch - h * 1.1:.1f} {ox:.1f} {oy:.1f}"
            f"Q{x + d * w * .3:.1f} {(iy + oy) / 2 - arch + h * .4:.1f} {ix:.1f} {iy + h * .5:.1f}Z"
        )
    canvas.tone("".join(parts), color, 0.95)


def draw_nose(canvas: Canvas, sitter: Identity, *, dark: bool, fine: bool) -> None:
    """A nose of shade: the side away from the light, the underside, nostrils, a lit tip."""
    s, w, skin = sitter.turn, sitter.nose_w, sitter.skin
    y = sitter.eye_y + sitter.nose_y
    x = sitter.fx(0.0, out=26.0 * 1.0) if s else 0.0
    x += 2.0 * sitter.slips[7]
    top, bx = sitter.eye_y - 14, sitter.fx(0.0, out=6.0) if s else 0.0
    side = 1.0 if (s or sitter.light <= 0) else -1.0
    if s and sitter.light > 0:
        side = -1.0
    bridge = 9.0 + 0.2 * sitter.nose_bridge
    deep = shade(skin, 0.6)
    far = 0.7 if (s and side < 0) else 1.0
    canvas.tone(
        smooth([
            (bx + side * bridge * 0.7, top), (bx + side * (bridge + 5) * far, top + 16),
            (x + side * w * 0.62 * far, y - 18), (x + side * w * 1.02 * far, y - 2),
            (x + side * w * 0.8 * far, y + 5), (x + side * w * 0.25, y - 3),
            (x + side * w * 0.28, y - 20), (bx + side * bridge * 0.55, top + 20),
        ]),
        deep, 0.42,
    )
    wl, wr = w * (1 - 0.45 * s), w
    canvas.tone(
        f"M{x - wl:.1f} {y:.1f}Q{x - wl * .6:.1f} {y - 4:.1f} {x - wl * .3:.1f} {y + 3:.1f}"
        f"Q{x:.1f} {y + 8:.1f} {x + wr * .35:.1f} {y + 3:.1f}"
        f"Q{x + wr * .7:.1f} {y - 4:.1f} {x + wr:.1f} {y:.1f}"
        f"Q{x + wr * .7:.1f} {y + 9:.1f} {x:.1f} {y + 11:.1f}"
        f"Q{x - wl * .7:.1f} {y + 9:.1f} {x - wl:.1f} {y:.1f}Z",
        shade(skin, 0.75), 0.9 if dark else 0.62,
    )
    if s:
        # The profile of a turned nose stands out against the far cheek.
        canvas.line(
            curve([(bx - 8, top + 4), (bx - 11, top + 18), (x - wl * 0.75, y - 14),
                   (x - wl * 1.0, y - 2), (x - wl * 0.6, y + 5)]),
            shade(skin, 0.8), 2.6, 0.75,
        )
    if fine:
        canvas.tone(
            ellipse(x - side * w * 0.16, y - 9, 5.2, 4.6)
            + ellipse(bx * 0.7 + x * 0.3 - side * 3, y - 30, 2.6, 11),
            tint(skin, 0.75), 0.5,
        )


def draw_mouth(canvas: Canvas, sitter: Identity, mood: Mood, *, dark: bool, fine: bool) -> None:
    """Two-toned lips, parted where the mood parts them, with teeth in a laugh."""
    y = sitter.mouth_y + sitter.eye_y + 2.0 * sitter.slips[8]
    x = sitter.fx(0.0, out=8.0) + 2.5 * sitter.slips[9]
    s, lip, skin = sitter.turn, sitter.lip, sitter.skin
    half = sitter.mouth_w * mood.wide
    wl, wr = half * (1 - 0.3 * s), half * (1 - 0.02 * s)
    c, gap = mood.corner, mood.open * (0.85 if sitter.child else 1.0)
    red = mix(skin, (186, 48, 62), 0.42 if sitter.man or sitter.child else 0.62)
    upper, lower = shade(red, 0.36), tint(red, 0.06) if not dark else red
    left, right = (x - wl, y + c), (x + wr, y + c)
    dip = -c * 0.35
    top = (
        f"M{left[0]:.1f} {left[1]:.1f}Q{x - wl * .5:.1f} {y + c * .3 - lip * 1.15:.1f} "
        f"{x - wl * .16:.1f} {y - lip:.1f}Q{x:.1f} {y - lip * .55:.1f} {x + wr * .16:.1f} "
        f"{y - lip:.1f}Q{x + wr * .5:.1f} {y + c * .3 - lip * 1.15:.1f} "
        f"{right[0]:.1f} {right[1]:.1f}"
    )
    seam = f"Q{x + wr * .5:.1f} {y + dip + 1.5:.1f} {x:.1f} {y + dip * .9:.1f}" \
           f"Q{x - wl * .5:.1f} {y + dip + 1.5:.1f} {left[0]:.1f} {left[1]:.1f}Z"
    base = y + dip + gap
    low = (
        f"M{left[0]:.1f} {left[1]:.1f}C{x - wl * .75:.1f} {base + lip * .9:.1f} "
        f"{x - wl * .4:.1f} {base + lip * 1.35:.1f} {x:.1f} {base + lip * 1.35:.1f}"
        f"C{x + wr * .4:.1f} {base + lip * 1.35:.1f} {x + wr * .75:.1f} {base + lip * .9:.1f} "
        f"{right[0]:.1f} {right[1]:.1f}Q{x:.1f} {y + dip:.1f} {left[0]:.1f} {left[1]:.1f}Z"
    )
    if fine:
        canvas.tone(ellipse(x, base + lip * 1.35 + 6, half * 0.42, 4.5), shade(skin, 0.6), 0.32)
    canvas.tone(low, lower)
    canvas.tone(top + seam, upper)
    ink = mix((46, 14, 20), skin, 0.06)
    if gap > 2:
        _open_mouth(canvas, (x, y + dip * 0.6, base), (wl, wr, c), mood, left, right)
    else:
        canvas.line(
            f"M{left[0]:.1f} {left[1]:.1f}Q{x - wl * .5:.1f} {y + dip + 1.5:.1f} {x:.1f} "
            f"{y + dip * .9:.1f}Q{x + wr * .5:.1f} {y + dip + 1.5:.1f} "
            f"{right[0]:.1f} {right[1]:.1f}",
            ink, 4.2 if dark else 3.4, 0.95,
        )
    if fine and not dark:
        canvas.tone(ellipse(x - 5, base + lip * 0.75, half * .3, lip * .2), tint(red, 0.8), 0.6)


def _open_mouth(canvas: Canvas, middle, widths, mood: Mood, left, right) -> None:
    """The hollow of an open mouth with tongue or teeth."""
    x, y, base = middle
    wl, wr, c = widths
    k = 0.9
    ly, ry = left[1] * k + y * (1 - k), right[1] * k + y * (1 - k)
    hollow = (
        f"M{x - wl * k:.1f} {ly:.1f}Q{x:.1f} {y - (0 if mood.teeth else 6):.1f} {x + wr * k:.1f} "
        f"{ry:.1f}C{x + wr * .62:.1f} {base + 4:.1f} {x + wr * .35:.1f} {base + 5:.1f} {x:.1f} "
        f"{base + 5:.1f}C{x - wl * .35:.1f} {base + 5:.1f} {x - wl * .62:.1f} {base + 4:.1f} "
        f"{x - wl * k:.1f} {ly:.1f}Z"
    )
    canvas.tone(hollow, (62, 18, 24))
    if mood.teeth:
        t = y + (base - y) * mood.teeth + 3
        canvas.tone(
            f"M{x - wl * .84:.1f} {ly + 2:.1f}Q{x:.1f} {y + 1:.1f} {x + wr * .84:.1f} {ry + 2:.1f}"
            f"Q{x + wr * .55:.1f} {t:.1f} {x:.1f} {t + 1:.1f}"
            f"Q{x - wl * .55:.1f} {t:.1f} {x - wl * .84:.1f} {ly + 2:.1f}Z",
            (252, 250, 244),
        )
    canvas.tone(ellipse(x, base - 1, wl * 0.34, 5.5), (196, 92, 92), 0.85)
