"""The raster half of each style: from clean vector pixels to paint, chalk, stone or pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from course_lib.portraits.attributes import Attributes
from course_lib.portraits.drawing.identity import Identity
from course_lib.portraits.styles.fields import (
    blur,
    coordinates,
    edges,
    luma,
    smoothstep,
    tiles,
    warp_index,
)
from course_lib.portraits.styles.lines import finish_ink, finish_pencil, finish_woodcut
from course_lib.portraits.styles.looks import FINE_SIZE, SOFT_SIZE, look_of
from course_lib.portraits.styles.paint import finish_oil, finish_pastel, finish_watercolor


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a finish may know: the size, the care taken (0, 1, 2), a key for noise, the face.

    `x`, `y` is the middle of the face and `reach` half the height of the head, in picture widths.
    """

    size: int
    care: int
    key: int
    x: float
    y: float
    reach: float
    light: float


def finish(pixels: np.ndarray, attributes: Attributes, sitter: Identity, size: int) -> np.ndarray:
    """Apply the finish of the attributes' style to rasterised `pixels` (uint8, square, RGB)."""
    x, y = sitter.center
    sheet = Sheet(
        size=size, care=("rough", "good", "masterful").index(attributes.quality),
        key=sitter.salt % 6, x=x / 256, y=y / 256, reach=140 * sitter.scale / 256,
        light=sitter.light * sitter.mirror,
    )
    image = pixels.astype(np.float32) * np.float32(1 / 255)
    if pixels.shape[0] < SOFT_SIZE:
        image *= _light(pixels.shape[0], sheet)[..., None]
    if sheet.care == 0 and attributes.style != "pixel art":
        # An unsure hand: contours wander.
        n = image.shape[0]
        amount = 0.011 if attributes.framing != "half-length" else 0.007
        image = image.reshape(-1, 3)[warp_index(n, amount, 9, 40 + 2 * sheet.key)]
        image = image.reshape(n, n, 3)
    elif sheet.care == 2:
        image = _grade(image)
    look = look_of(attributes)
    if look.outline and size < FINE_SIZE:
        # Strokes take the renderer long; a pixel of difference says the same at this size.
        contour = smoothstep(edges(_opponent(image)), *((0.1, 0.24) if sheet.care else (0.13, 0.3)))
        image *= 1 - 0.97 * contour[..., None]
    image = _FINISHES[attributes.style](image, sheet)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _grade(image: np.ndarray) -> np.ndarray:
    """A master's care for light: crisper forms, warm lights and cool shadows."""
    image = image + 0.2 * (image - blur(image, max(2, image.shape[0] // 24)))
    balance = (luma(image) - 0.5)[..., None]
    return image + balance * np.array([0.07, 0.03, -0.07], dtype=np.float32)


def _opponent(image: np.ndarray) -> np.ndarray:
    """One channel in which things of one brightness but different hue still differ."""
    return image @ np.array([0.75, 0.45, -0.3], dtype=np.float32)


def _light(size: int, sheet: Sheet) -> np.ndarray:
    """Brightness over the picture, falling away from the light: stands in for the gradients
    that small drawings are spared."""
    y, x = coordinates(size)
    dx, dy = (x - sheet.x) / sheet.reach, (y - sheet.y) / sheet.reach
    # Only the sitter is lit from the side: away from the head the picture stays as it is, or a
    # plain ground would pass for a gradient.
    far = dx * dx + dy * dy
    near = 1 / (1 + 0.6 * far * far * far)
    if sheet.light == 0:
        return 1.0 + (0.05 - 0.1 * dy) * near
    across = 0.4 * dy - dx * sheet.light
    return 0.99 - 0.17 * across / np.sqrt(1 + across * across) * near


def _finish_flat(image: np.ndarray, sheet: Sheet) -> np.ndarray:
    if sheet.care == 0:
        # A quick poster: few tones, the same for all channels so that hues stay.
        gray = np.maximum(luma(image), 0.02)
        return image * ((np.round(gray * 8 + 0.1) / 8 * 0.85 + gray * 0.15) / gray)[..., None]
    return image


def _finish_pop(image: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Saturated poster colours; tones between them become a screen of dots."""
    gray = luma(image)[..., None]
    vivid = gray + (image - gray) * 2.1
    vivid = (vivid - 0.5) * 1.25 + 0.53
    levels = (2, 3, 4)[sheet.care]
    screen = _dots(sheet.size, (0.072, 0.064, 0.05)[sheet.care])[..., None]
    scaled = np.clip(vivid, 0, 1) * levels
    floor = np.floor(scaled)
    rest = scaled - floor
    dot = smoothstep(rest - screen, -0.12, 0.12)
    # Nearly pure tones stay flat, or every field would be peppered.
    dot = np.where(rest < 0.22, 0.0, np.where(rest > 0.8, 1.0, dot))
    return (floor + dot) / levels


def _dots(size: int, period: float) -> np.ndarray:
    """A halftone threshold in [0, 1]: round dots on a grid turned by 45 degrees."""
    y, x = coordinates(size)
    period = max(period, 3.6 / size)
    u, v = (x + y) / period * np.pi * 1.414, (x - y) / period * np.pi * 1.414
    return (0.5 + 0.25 * (np.cos(u) + np.cos(v))).astype(np.float32)


_BAYER = np.array(
    [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.float32
) / 16 - 0.47


def _finish_pixel(image: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Few squares of few colours, contours of one pixel, tones by ordered dither."""
    n = image.shape[0]
    gray = luma(image)
    contour = smoothstep(edges(_opponent(image)), 0.2, 0.3)
    # Within the face contours would drown the eyes.
    y, x = coordinates(n)
    contour = contour * (np.hypot(x - sheet.x, y - sheet.y) > 0.68 * sheet.reach)
    image = image * (1 - 0.6 * contour[..., None])
    image = gray[..., None] + (image - gray[..., None]) * 1.25
    image = 0.5 + (image - 0.5) * 1.1
    levels = (4, 5, 6)[sheet.care]
    dither = np.tile(_BAYER, (n // 4 + 1, n // 4 + 1))[:n, :n, None]
    image = np.round(image * levels + (0.0, 0.55, 0.6)[sheet.care] * dither) / levels
    index = (np.arange(sheet.size) * n) // sheet.size
    return image[index][:, index]


def _finish_mosaic(image: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Tesserae of one colour each, a bevel that catches the light, and dark grout."""
    n = sheet.size
    count = (23, 28, 34)[sheet.care]
    label, grout, bevel = tiles(n, count, sheet.key % 2)
    flat = image.reshape(-1, 3)
    number = np.maximum(np.bincount(label, minlength=count * count), 1)
    mean = np.stack(
        [np.bincount(label, flat[:, c], minlength=count * count) / number for c in range(3)], -1
    ).astype(np.float32)
    mean = np.clip(0.5 + (mean - 0.5) * 1.12, 0, 1)
    # Stones of one colour are never quite alike.
    rng = np.random.default_rng(17 + sheet.key)
    mean *= (1 + rng.normal(0, 0.06, (count * count, 1))).astype(np.float32)
    keep = (0.5, 0.6, 0.7)[sheet.care]
    stone = mean[label]
    gap = np.abs(stone - flat).max(axis=1, keepdims=True)
    # Eyes and mouths are cut from smaller stone: keep more of what differs from its tile.
    stone += (flat - stone) * np.clip(keep * 0.2 + gap * 2.6 * keep, 0, 0.85)
    stone *= 1 + (0.1 + 0.04 * sheet.care) * bevel[:, None]
    strength = 0.72 if n >= 96 else 0.5
    stone += (np.float32(0.24) - stone) * (strength * grout[:, None])
    return stone.reshape(n, n, 3)


_FINISHES: dict[str, Callable[[np.ndarray, Sheet], np.ndarray]] = {
    "flat illustration": _finish_flat,
    "pencil sketch": finish_pencil,
    "ink drawing": finish_ink,
    "watercolor": finish_watercolor,
    "oil painting": finish_oil,
    "pop art": _finish_pop,
    "pixel art": _finish_pixel,
    "pastel": finish_pastel,
    "mosaic": _finish_mosaic,
    "woodcut": finish_woodcut,
}
