"""Styles of paint and chalk: oil, watercolor and pastel."""

from __future__ import annotations

import numpy as np

from course_lib.portraits.styles.fields import (
    blur,
    cells_near,
    coordinates,
    edges,
    grain,
    luma,
    noise,
    scatter_index,
    smoothstep,
    streaks,
    warp_index,
)


def finish_oil(image: np.ndarray, sheet) -> np.ndarray:
    """Brush strokes laid along the forms, thick enough to catch the light."""
    n, care = sheet.size, sheet.care
    gray = luma(image)[..., None]
    image = gray + (image - gray) * 1.18
    image = 0.5 + (image - 0.5) * 1.08 - 0.02
    image = image * (1 + 0.07 * noise(n, 9, 50 + sheet.key)[..., None])
    count = (17, 23, 30)[care]
    layer, height = _strokes(image, gray[..., 0], count, sheet, 1.25, 0.5)
    gap = np.abs(layer - image).max(axis=-1, keepdims=True)
    # A small brush goes back over what the broad one lost: eyes, lips, contours.
    low, gain, most = ((0.16, 2.6, 0.7), (0.09, 4.5, 0.86), (0.06, 6.0, 0.9))[care]
    keep = np.clip((gap - low) * gain, 0, most)
    layer += (image - layer) * keep
    relief = np.zeros_like(height)
    relief[1:, 1:] = height[1:, 1:] - height[:-1, :-1]
    layer += (relief * (0.15, 0.12, 0.1)[care] * (1 - 0.75 * keep[..., 0]))[..., None]
    return layer


def _strokes(image, gray, count, sheet, long, wide):
    """Cover the picture with `count` by `count` strokes; returns colour and paint height."""
    n = sheet.size
    index, dx, dy, home = cells_near(n, count, sheet.key % 2)
    gx, gy = np.zeros_like(gray), np.zeros_like(gray)
    smooth_gray = blur(gray, max(1, n // 48))
    gx[:, 1:-1] = smooth_gray[:, 2:] - smooth_gray[:, :-2]
    gy[1:-1] = smooth_gray[2:] - smooth_gray[:-2]
    hx, hy = gx.ravel()[home], gy.ravel()[home]
    # Where the tone is even the brush follows a slow swirl instead of an edge.
    swirl = 2.6 * noise(n, 5, 60 + sheet.key).ravel()[home] + 0.8
    steady = 0.02
    angle = np.arctan2(hx + steady * np.sin(swirl), -(hy - steady * np.cos(swirl)))
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    rng = np.random.default_rng(90 + sheet.key)
    order = rng.random(count * count).astype(np.float32)
    color = blur(image, max(1, n // 90)).reshape(-1, 3)[home]
    color = color * (1 + rng.normal(0, 0.055, (count * count, 1))).astype(np.float32)
    along, aside = np.float32(1 / long), np.float32(1 / wide)
    best = np.full(n * n, -9.0, dtype=np.float32)
    chosen, across = index[4].copy(), np.zeros(n * n, dtype=np.float32)
    for near, ux, uy in zip(index, dx, dy, strict=True):
        c, s = cos[near], sin[near]
        v = uy * c - ux * s
        reach = np.maximum(np.abs(ux * c + uy * s) * along, np.abs(v) * aside)
        score = np.where(reach < 1, order[near], -reach)
        better = score > best
        np.copyto(best, score, where=better)
        np.copyto(chosen, near, where=better)
        np.copyto(across, v, where=better)
    # Bristles leave ridges along the stroke, and paint piles up at its rims.
    height = 0.7 * np.abs(across) / wide + 0.32 * np.sin(across * 15 + 40 * order[chosen])
    height += order[chosen] * 0.9
    return color[chosen].reshape(n, n, 3), height.reshape(n, n)


def finish_watercolor(image: np.ndarray, sheet) -> np.ndarray:
    """Transparent pigment that bleeds, gathers at edges, granulates and leaves paper bare."""
    n, care = sheet.size, sheet.care
    key = sheet.key
    wet = image.reshape(-1, 3)[warp_index(n, (0.012, 0.008, 0.005)[care], 22, key)]
    wet = wet.reshape(n, n, 3)
    soft = blur(wet, max(1, n // 30))
    y, x = coordinates(n)
    far = np.hypot(x - sheet.x, (y - sheet.y) * 0.9) / sheet.reach
    # Wet in wet away from the face; the face itself is painted on dry paper.
    bleed = np.clip(0.8 * smoothstep(far, 0.75, 1.6) + 0.55 * noise(n, 7, 70 + key) * (far > 0.8),
                    0.0, 0.92)[..., None]
    pigment = 1 - (wet + (soft - wet) * bleed)
    rim = luma(soft - wet)
    pigment *= 0.86 + 0.2 * noise(n, 6, key + 3)[..., None]
    pigment *= 1 + 0.22 * noise(n, 3 * 12, key + 7)[..., None] * (0.4 + 0.6 * bleed)
    pigment += np.clip(rim, 0, 0.3)[..., None] * (0.25, 0.4, 0.5)[care]
    tooth = grain(n, 2)
    pigment *= (1 + 0.16 * tooth)[..., None]
    border = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    border = border + 0.022 * noise(n, 8, key + 20) + 0.014 * noise(n, 26, key + 21)
    wash = smoothstep(border, 0.022, 0.045 if care else 0.1)
    pool = np.clip(1 - np.abs(border - 0.075) / 0.03, 0, 1) * 0.12
    if care == 0:
        # Dry spots that the brush skipped.
        wash = wash * (1 - 0.75 * smoothstep(noise(n, 9, key + 30) * (far > 1.1), 0.55, 0.8))
    pigment *= (wash * (1 + pool))[..., None]
    paper = np.array([0.985, 0.975, 0.945], dtype=np.float32) + (0.014 * tooth)[..., None]
    return paper * (1 - 0.92 * np.clip(pigment, 0, 1))


def finish_pastel(image: np.ndarray, sheet) -> np.ndarray:
    """Chalk dragged over toned paper that shows between the strokes."""
    n, care, key = sheet.size, sheet.care, sheet.key
    scatter = max((0.0095, 0.0058, 0.0042)[care], 0.42 / n)
    chalk = image.reshape(-1, 3)[scatter_index(n, scatter, key % 3)].reshape(n, n, 3)
    chalk = 0.62 * chalk + 0.38 * image
    gray = luma(chalk)[..., None]
    # Chalk is pigment in white: lighter and a little bluish in the shadows.
    chalk = gray + (chalk - gray) * 1.1
    chalk = 0.13 + 0.87 * chalk
    chalk[..., 2] += 0.03 * (1 - gray[..., 0])
    period = max((0.017, 0.013, 0.0095)[care], 1.3 / n)
    marks = streaks(n, -38.0, period, key % 3)
    chalk *= (1 + 0.085 * marks)[..., None]
    tooth = 0.55 * grain(n, 3) + 0.6 * marks
    cover = smoothstep(tooth + (0.42, 0.62, 0.72)[care], -0.35, 0.45)
    y, x = coordinates(n)
    border = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) + 0.07 * marks
    cover *= smoothstep(border, 0.0 if care else 0.02, 0.05 if care else 0.15) * 0.9 + 0.1
    far = np.hypot(x - sheet.x, y - sheet.y) / sheet.reach
    cover = np.maximum(cover, (0.74, 0.84, 0.88)[care] * (far < 0.72))
    papers = ((0.60, 0.55, 0.49), (0.50, 0.53, 0.57), (0.66, 0.60, 0.50))
    paper = np.array(papers[key % 3], dtype=np.float32) * (1 + 0.05 * grain(n, 4))[..., None]
    out = paper + (chalk - paper) * cover[..., None]
    contour = np.clip(edges(gray[..., 0]) - 0.1, 0, 0.5)
    return out * (1 - 0.25 * contour[..., None])
