"""Cheek folds, frown lines, crow's feet and freckles: what moods and years engrave."""

from __future__ import annotations

from course_lib.portraits.drawing.face import Mood
from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.drawing.vector import Canvas, ellipse, shade, strand


def draw_lines(canvas: Canvas, sitter: Identity, mood: Mood, *, fine: bool) -> None:
    """Draw the lines of the sitter's age and mood; `fine` adds freckles where there are any."""
    y, skin = sitter.eye_y, sitter.skin
    nose, mouth = y + sitter.nose_y, y + sitter.mouth_y
    years, fold = sitter.lines, max(mood.fold, 0.9 * sitter.lines)
    marks = []
    for d in (-1, 1):
        if fold > 0.05 and not sitter.child:
            half = sitter.mouth_w * mood.wide * (1.0 if d > 0 else 1.0 - 0.3 * sitter.turn)
            marks.append(strand(
                (sitter.fx(24.0 * d), nose - 6), (sitter.fx((half + 15.0) * d), nose + 8),
                (sitter.fx((half + 12.0) * d), mouth + 4 + 12 * years), 0.8 + 1.6 * fold,
            ))
        if years:
            # Grown-ups have a first shadow under the eyes, the old have bags.
            ex, w = sitter.fx(sitter.eye_x * d), sitter.eye_w * sitter.narrow(sitter.eye_x * d)
            marks.append(strand((ex - d * w * .7, y + 12), (ex, y + 23), (ex + d * w * .9, y + 12),
                                0.5 + 1.4 * years))
        if sitter.old and (d > 0 or not sitter.turn):
            out = sitter.fx((sitter.eye_x + sitter.eye_w + 4) * d)
            for dy in (-8, 2, 12):
                marks.append(strand((out, y + dy * 0.5 - 2), (out + d * 6, y + dy * 0.8 - 2),
                                    (out + d * 11, y + dy * 1.3 - 2), 1.2))
            jowl = sitter.fx(46.0 * d)
            marks.append(strand((jowl, mouth + 10), (jowl + d * 6, mouth + 26),
                                (jowl - d * 4, mouth + 38), 2.0))
        if mood.frown or (sitter.old and sitter.man):
            bx = sitter.fx(9.0 * d)
            marks.append(strand((bx, y - 34), (bx - d * 2, y - 24), (bx - d * 2, y - 14), 1.6))
    for level in ((-58, -72) if sitter.old else ()):
        marks.append(strand((sitter.fx(-44.0), level + y), (sitter.fx(0.0), level - 7 + y),
                            (sitter.fx(44.0), level + y), 1.7))
    if marks:
        canvas.tone("".join(marks), shade(skin, 0.78), 0.62)
    if sitter.freckles and fine:
        dots = [
            ellipse(sitter.fx(d * (34 + 11 * i)), nose - 14 + (i * 7 + d * 3) % 13, 1.8, 1.6)
            for d in (-1, 1) for i in range(4)
        ]
        canvas.tone("".join(dots), shade(skin, 0.6), 0.55)
