"""Styles without hue: graphite, ink and the carved block."""

from __future__ import annotations

import numpy as np

from course_lib.portraits.styles.fields import (
    blur,
    coordinates,
    edges,
    grain,
    luma,
    noise,
    smoothstep,
    wave,
)


def _gray(value: np.ndarray) -> np.ndarray:
    return np.repeat(value[..., None], 3, axis=-1)


def _unfinished(sheet) -> np.ndarray:
    """How far the drawing has been carried out, in [0, 1]: rough sheets thin out at the rim."""
    y, x = coordinates(sheet.size)
    far = np.hypot((x - sheet.x) * 1.15, y - sheet.y - 0.08)
    far = far + 0.09 * noise(sheet.size, 7, sheet.key)
    return 1 - smoothstep(far, 0.34, 0.52)


def finish_pencil(image: np.ndarray, sheet) -> np.ndarray:
    """Contours and hatching in graphite that the tooth of the paper breaks up."""
    n, care = sheet.size, sheet.care
    tone = luma(image)
    step = max(1, round(n / 110))
    contour = np.clip(edges(tone, step) * (3.0, 3.6, 3.6)[care] - 0.1, 0, 1)
    done = _unfinished(sheet)
    # The ground is only hinted at, so that the sitter stands out.
    dark = (1 - tone) * (0.62 + 0.38 * done if care else 0.12 + 0.88 * done)
    period = max((0.04, 0.03, 0.023)[care], 2.7 / n)
    first = wave(n, 52.0, period, 0.45, sheet.key % 3)
    cover = 0.8 * smoothstep(dark * 1.1 - 0.2 - 0.75 * first, -0.2, 0.35)
    if care:
        second = wave(n, 76.0, period * 1.3, 0.45, 3 + sheet.key % 3)
        cover += 0.5 * smoothstep(dark * 1.1 - 0.42 - 0.75 * second, -0.2, 0.35)
    # Smudged graphite under the lines rounds the forms.
    share = (0.2, 0.42, 0.6)[care]
    cover = cover * (1 - 0.6 * share) + dark * 0.75 * share
    cover = np.maximum(cover, contour * (0.8 if care else 0.25 + 0.6 * done))
    # The darkest accents (pupils, lash lines, mouths) are pressed hard.
    cover = np.maximum(cover, smoothstep(dark, 0.7, 0.86) * 0.9)
    tooth = grain(n, 1 + sheet.key % 2)
    graphite = cover * (1 + 0.32 * tooth)
    paper = 0.94 + 0.02 * tooth + 0.012 * noise(n, 5, 9)
    return _gray(paper - graphite * 0.76)


def finish_ink(image: np.ndarray, sheet) -> np.ndarray:
    """Black line, clean hatching and, with care, two pale washes on white paper."""
    n, care = sheet.size, sheet.care
    tone = luma(image)
    done = _unfinished(sheet)
    dark = (1 - tone) * (0.7 + 0.3 * done if care else 0.3 + 0.7 * done)
    period = max((0.046, 0.034, 0.027)[care], 3.0 / n)
    soft = min(0.5, 1.2 / (period * n))
    first = wave(n, 45.0, period, 0.16, sheet.key % 3)
    line = smoothstep((dark - 0.34) * 1.25 - first * 0.8, -0.1 * soft, 0.5 * soft)
    if care:
        second = wave(n, 100.0, period, 0.16, 3 + sheet.key % 3)
        line = np.maximum(
            line, smoothstep((dark - 0.56) * 1.5 - second * 0.8, -0.1 * soft, 0.5 * soft))
    line = np.maximum(line, smoothstep(1 - tone, 0.78, 0.88) * (1.0 if care else done))
    line = np.maximum(line, smoothstep(1 - tone, 0.9, 0.96))
    wash = 0.0
    if care:
        edge = dark + 0.05 * noise(n, 12, 20 + sheet.key)
        wash = 0.15 * smoothstep(edge, 0.2, 0.26) + 0.2 * smoothstep(edge, 0.42, 0.48)
        wash = wash * (1 + 0.25 * noise(n, 8, 30 + sheet.key))
    if care == 2:
        wash = wash + 0.07 * smoothstep(dark, 0.08, 0.3)
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
    chip = (grain(n, 5) > (0.88, 0.95, 0.985)[care]) & (white < 0.5)
    white = np.where(chip, 0.5, white)
    return _gray(0.045 + 0.925 * white)
