"""Styles without hue: graphite, ink and the carved block."""

from __future__ import annotations

import numpy as np

from course_lib.portraits.fields import (
    blur, coordinates, edges, grain, luma, noise, smoothstep, wave,
)


def _gray(value: np.ndarray) -> np.ndarray:
    return np.repeat(value[..., None], 3, axis=-1)


def _unfinished(sheet) -> np.ndarray:
    """How far the drawing has been carried out, in [0, 1]: rough sheets thin out at the rim."""
    y, x = coordinates(sheet.size)
    far = np.hypot((x - sheet.x) * 1.15, y - sheet.y - 0.08) + 0.09 * noise(sheet.size, 7, sheet.key)
    return 1 - smoothstep(far, 0.34, 0.52)


def finish_pencil(image: np.ndarray, sheet) -> np.ndarray:
    """Contours and hatching in graphite that the tooth of the paper breaks up."""
    n, care = sheet.size, sheet.care
    tone = luma(image)
    step = max(1, round(n / 110))
    contour = np.clip(edges(tone, step) * (2.6, 3.2, 3.4)[care] - 0.12, 0, 1)
    period = max((0.042, 0.031, 0.024)[care], 2.7 / n)
    first = wave(n, 52.0, period, 0.5, sheet.key % 3)
    dark = 1 - tone
    cover = 0.75 * smoothstep(dark * 1.12 - 0.92 * first, -0.12, 0.3)
    if care:
        second = wave(n, 118.0, period * 1.15, 0.5, 3 + sheet.key % 3)
        cover += 0.55 * smoothstep(dark * 0.95 - second, -0.2, 0.25)
        # Smudged graphite under the lines rounds the forms.
        smudge = dark * (0.26, 0.3, 0.44)[care]
        cover = cover * (0.74, 0.7, 0.55)[care] + smudge
    if care == 0:
        cover *= _unfinished(sheet)
    cover = np.maximum(cover, contour * 0.85)
    # The darkest accents (pupils, lash lines, mouths) are pressed hard.
    cover = np.maximum(cover, smoothstep(dark, 0.74, 0.9) * 0.92)
    tooth = grain(n, 1 + sheet.key % 2)
    graphite = cover * (1 + 0.3 * tooth)
    paper = 0.95 + 0.018 * tooth + 0.012 * noise(n, 5, 9)
    return _gray(paper - graphite * (0.78, 0.78, 0.82)[care])


def finish_ink(image: np.ndarray, sheet) -> np.ndarray:
    """Black line, clean hatching and, with care, two pale washes on white paper."""
    n, care = sheet.size, sheet.care
    tone = luma(image)
    dark = 1 - tone
    period = max((0.05, 0.036, 0.028)[care], 3.0 / n)
    soft = 1.2 / (period * n)
    first = wave(n, 45.0, period, 0.18, sheet.key % 3)
    second = wave(n, 135.0, period, 0.18, 3 + sheet.key % 3)
    line = smoothstep(np.clip(dark - 0.26, 0, 1) * 1.15 - first * 0.8, -0.1 * soft, 0.45 * soft)
    line = np.maximum(line, smoothstep(
        np.clip(dark - 0.52, 0, 1) * 1.5 - second * 0.8, -0.1 * soft, 0.45 * soft))
    line = np.maximum(line, smoothstep(dark, 0.72, 0.84))
    if care == 0:
        line *= 0.3 + 0.7 * _unfinished(sheet)
        wash = 0.0
    else:
        edge = 0.05 * noise(n, 12, 20 + sheet.key)
        wash = 0.13 * smoothstep(dark + edge, 0.24, 0.3) + 0.15 * smoothstep(dark + edge, 0.46, 0.52)
        wash = wash * (1 + 0.25 * noise(n, 8, 30 + sheet.key))
    if care == 2:
        wash = wash + 0.05 * smoothstep(dark, 0.1, 0.2)
    return _gray((0.985 - wash) * (1 - 0.96 * line))


def finish_woodcut(image: np.ndarray, sheet) -> np.ndarray:
    """Black and white only: grooves that follow the form, wide where it is light."""
    n, care = sheet.size, sheet.care
    tone = luma(image)
    local = tone - blur(tone, max(2, n // 14))
    tone = 0.5 + (tone - 0.5) * 1.15 + 0.75 * local
    y, x = coordinates(n)
    dx, dy = (x - sheet.x) / sheet.reach, (y - sheet.y) / sheet.reach
    # Grooves run around the head like parallels on a globe, and out into the ground.
    bend = np.minimum(dx * dx, 2.2)
    period = max((0.05, 0.038, 0.029)[care], 3.0 / n)
    phase = (y + 0.42 * sheet.reach * bend * np.clip(0.6 - 0.4 * dy, -0.6, 1.2)) / period
    phase = phase + (0.5, 0.16, 0.08)[care] * noise(n, 10, sheet.key)
    groove = np.abs(2 * (phase - np.floor(phase)) - 1)
    soft = min(0.35, 1.3 / (period * n))
    # Light fields are cut away whole, dark ones stay whole; between them grooves swell.
    white = smoothstep(tone - 0.2 - 0.56 * groove, -0.5 * soft, 0.5 * soft)
    if care == 0:
        white = np.maximum(white, 0.0) * 1.0
    chip = (grain(n, 5) > (0.88, 0.95, 0.985)[care]) & (white < 0.5)
    white = np.where(chip, 0.5, white)
    return _gray(0.045 + 0.925 * white)
