"""Moustaches, goatees and beards, laid over the jaw before the lips are painted."""

from __future__ import annotations

from course_lib.portraits.drawing.face import Mood
from course_lib.portraits.drawing.head import outline
from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import Canvas, luminance, mix, shade, smooth, strand, tint


def draw_beard(canvas: Canvas, sitter: Identity, kind: str, mood: Mood, *, fine: bool) -> None:
    """The growth named by `kind`, with room for the mouth of this mood."""
    if kind == "none":
        return
    base = mix(shade(sitter.hair, 0.14), sitter.skin, 0.06)
    dark = shade(base, 0.55)
    light = tint(base, 0.4) if luminance(base) > 0.2 else mix(base, (130, 124, 136), 0.45)
    x = sitter.fx(0.0, out=8.0)
    y = sitter.eye_y + sitter.mouth_y
    nose = sitter.eye_y + sitter.nose_y
    narrow = 1.0 - 0.3 * sitter.turn
    wide = sitter.mouth_w * max(0.9, mood.wide) + 6
    wl, wr = wide * narrow, wide
    drop = mood.open * 1.05
    if kind == "beard":
        _full(canvas, sitter, base, y, nose, drop)
    elif kind == "goatee":
        chin = sitter.chin + 12
        wl2, wr2 = wl * 0.82, wr * 0.82
        canvas.shape(smooth([
            (x - wl2 - 4, y - 2), (x - wl2 * 0.9, y + 12 + drop), (x, y + 17 + drop),
            (x + wr2 * 0.9, y + 12 + drop), (x + wr2 + 4, y - 2), (x + wr2 + 3, y + 24 + drop * .8),
            (x + wr2 * 0.62, chin - 2 + drop * 0.3), (x + 2, chin + 8 + drop * 0.3),
            (x - wl2 * 0.6, chin - 2 + drop * 0.3), (x - wl2 - 3, y + 24 + drop * .8),
        ]), base, 0.8)
    lift = mood.corner
    ends = 9 if kind == "mustache" else 4
    canvas.shape(smooth([
        (x, nose + 13), (x + wr * 0.5, nose + 13), (x + wr + 2, y + lift * 0.6 - 6),
        (x + wr + ends, y + lift * 0.8 + 5), (x + wr * 0.55, y - 5 + lift * .3), (x, y - 7),
        (x - wl * 0.55, y - 5 + lift * .3), (x - wl - ends, y + lift * 0.8 + 5),
        (x - wl - 2, y + lift * 0.6 - 6), (x - wl * 0.5, nose + 13),
    ]), base, 0.7)
    hairs = [strand((x + d * 3, nose + 15), (x + d * w * .5, nose + 16), (x + d * w, y - 2), 1.6)
             for d, w in ((-1, wl), (1, wr))]
    if kind != "mustache":
        for i in range(-3, 4):
            px = x + i * 11 * (narrow if i < 0 else 1)
            hairs.append(strand((px, y + 26 + drop), (px + i, y + 36 + drop),
                                (px + i * 0.5, sitter.chin + 4), 1.7))
    if fine:
        canvas.tone("".join(hairs), dark, 0.6)
        gloss = [strand((x + i * 13 - 4, y + 24 + drop), (x + i * 14, y + 34 + drop),
                        (x + i * 11, sitter.chin), 1.4) for i in (-2, -1, 1, 2)]
        canvas.tone("".join(gloss[: 2 if kind == "mustache" else 4]) if kind != "mustache" else
                    strand((x + 5, nose + 14), (x + 16, nose + 14), (x + wr * .8, y - 6), 1.2),
                    light, 0.5)


def _full(canvas: Canvas, sitter: Identity, base, y: float, nose: float, drop: float) -> None:
    """A full beard from sideburn to sideburn."""
    left, right, chin = outline(sitter)
    x = sitter.fx(0.0, out=8.0)
    long = 20 + 14 * (sitter.length - 0.7) + drop * 0.35
    cheek_l, cheek_r = sitter.fx(-66.0), sitter.fx(66.0)
    s = sitter.turn
    mouth = sitter.mouth_w * 0.8
    points = [(left[4][0] - 1, -2 if s < 0.3 else 26)] if s < 0.3 else [(left[4][0], 44)]
    points += [
        (left[4][0] - 3, 58), (left[5][0] - 5, left[5][1] + 8),
        (left[6][0] - 3, left[6][1] + long * 0.8), (chin[0], chin[1] + long),
        (right[6][0] + 6, right[6][1] + long * 0.8), (right[5][0] + 5, right[5][1] + 10),
        (right[4][0] + 3, 54), (right[3][0] + 1, -6), (right[3][0] - 12, 0),
        (right[4][0] - 12, 48), (cheek_r, y - 20), (x + mouth + 10, nose + 18), (x, nose + 16),
        (x - mouth * (1 - .3 * s) - 10, nose + 18), (cheek_l, y - 20), (left[4][0] + 10, 50),
    ]
    if s < 0.3:
        points.append((left[3][0] + 12, 0))
    canvas.shape(smooth(points), base, 0.9)
