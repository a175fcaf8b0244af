"""Noise, papers, hatching and tile patterns of a given size, computed once and kept.

Everything is a fixed function of its arguments: the grids behind the noise do not depend on the
size, so that one portrait has the same wobble, bleed and tiles at every size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=96)
def noise(size: int, cells: int, key: int = 0) -> np.ndarray:
    """Smooth noise in [-1, 1], float32 (size, size), with `cells` bumps across the picture."""
    from PIL import Image

    rng = np.random.default_rng([key, cells])
    grid = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    image = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), -1, 1)


@lru_cache(maxsize=48)
def grain(size: int, key: int = 0) -> np.ndarray:
    """The tooth of a paper: fine noise in [-1, 1], float32 (size, size), one grain per pixel."""
    rng = np.random.default_rng([key, size, 7])
    speck = rng.uniform(-1, 1, (size, size)).astype(np.float32)
    # A little of the neighbours makes fibres of it instead of television snow.
    return 0.6 * speck + 0.4 * (np.roll(speck, 1, 0) + np.roll(speck, 1, 1)) * 0.7


@lru_cache(maxsize=48)
def streaks(size: int, degrees: float, period: float, key: int = 0) -> np.ndarray:
    """Noise drawn out along a direction: chalk or bristle marks in [-1, 1], (size, size)."""
    y, x = coordinates(size)
    a = np.deg2rad(degrees)
    u, v = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
    rng = np.random.default_rng([key, 11])
    table = rng.uniform(-1, 1, (256, 32)).astype(np.float32)
    rows = np.floor((v + 1) / period).astype(int) % 256
    at = (u + 1) * 9 + rows * 0.37
    low = np.floor(at).astype(int)
    f = (at - low).astype(np.float32)
    return table[rows, low % 32] * (1 - f) + table[rows, (low + 1) % 32] * f


@lru_cache(maxsize=16)
def coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres as (y, x) in [0, 1], float32 of shapes (size, 1) and (1, size)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    return line[:, None], line[None, :]


@lru_cache(maxsize=48)
def warp_index(size: int, amount: float, cells: int, key: int) -> np.ndarray:
    """Flat indices (size * size,) that displace an image by smooth noise of `amount` widths."""
    y, x = coordinates(size)
    rows = (y + amount * noise(size, cells, key)) * size
    columns = (x + amount * noise(size, cells, key + 1)) * size
    rows = np.clip(rows, 0, size - 1).astype(np.intp)
    return (rows * size + np.clip(columns, 0, size - 1).astype(np.intp)).ravel()


@lru_cache(maxsize=48)
def scatter_index(size: int, amount: float, key: int) -> np.ndarray:
    """Like `warp_index` with a random step for every pixel: crumbly edges."""
    rng = np.random.default_rng([key, size, 3])
    step = rng.normal(0, amount * size, (2, size, size))
    base = np.arange(size)
    rows = np.clip(np.rint(base[:, None] + step[0]), 0, size - 1).astype(np.intp)
    columns = np.clip(np.rint(base[None, :] + step[1]), 0, size - 1).astype(np.intp)
    return (rows * size + columns).ravel()


@lru_cache(maxsize=48)
def wave(size: int, degrees: float, period: float, wobble: float, key: int) -> np.ndarray:
    """Hatching: a triangle wave in [0, 1] across lines `period` widths apart, hand-drawn."""
    y, x = coordinates(size)
    a = np.deg2rad(degrees)
    phase = (-x * np.sin(a) + y * np.cos(a)) / period
    phase = phase + wobble * noise(size, 6, key) + 0.35 * wobble * noise(size, 24, key + 5)
    return np.abs(2 * (phase - np.floor(phase)) - 1).astype(np.float32)


@lru_cache(maxsize=24)
def cells_near(size: int, count: int, key: int) -> tuple[np.ndarray, ...]:
    """For each pixel the nine nearest of `count` by `count` jittered points.

    Returns
    -------
    index : intp (9, size * size)
        Which points.
    dx, dy : float32 (9, size * size)
        From the point to the pixel, in widths of a cell.
    home : intp (count * count,)
        The pixel (flat index) on which each point lies.
    """
    rng = np.random.default_rng([key, count, 5])
    jitter = rng.uniform(-0.36, 0.36, (2, count, count))
    py = np.arange(count)[:, None] + 0.5 + jitter[0]
    px = np.arange(count)[None, :] + 0.5 + jitter[1]
    y, x = coordinates(size)
    gy, gx = (y * count + 0 * x), (x * count + 0 * y)
    iy, ix = gy.astype(int), gx.astype(int)
    index, dx, dy = [], [], []
    for sy in (-1, 0, 1):
        for sx in (-1, 0, 1):
            ny, nx = np.clip(iy + sy, 0, count - 1), np.clip(ix + sx, 0, count - 1)
            index.append((ny * count + nx).ravel())
            dx.append((gx - px[ny, nx]).astype(np.float32).ravel())
            dy.append((gy - py[ny, nx]).astype(np.float32).ravel())
    rows = np.clip(py / count * size, 0, size - 1).astype(np.intp)
    columns = np.clip(px / count * size, 0, size - 1).astype(np.intp)
    return np.array(index), np.array(dx), np.array(dy), (rows * size + columns).ravel()


@lru_cache(maxsize=24)
def tiles(size: int, count: int, key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mosaic: (tile of each pixel, grout in [0, 1], bevel in [-1, 1]), all (size * size,)."""
    index, dx, dy, _ = cells_near(size, count, key)
    # Tesserae are squarish: a norm between the circle's and the square's.
    distance = (np.abs(dx) ** 3 + np.abs(dy) ** 3) ** (1 / 3)
    # Clipped neighbours at the border repeat a point; only the first of them may count.
    order = np.argsort(distance, axis=0, kind="stable")
    best = order[0]
    everyone = np.arange(size * size)
    label = index[best, everyone]
    other = np.where(index == label, np.inf, distance).min(axis=0)
    gap = (other - distance[best, everyone]) * size / count
    width = max(1.0, 0.17 * size / count)
    grout = np.clip(1.0 - gap / width, 0, 1)
    bevel = -(dx[best, everyone] + dy[best, everyone])
    return label, grout.astype(np.float32), np.clip(bevel, -1, 1).astype(np.float32)


def blur(image: np.ndarray, radius: int) -> np.ndarray:
    """Box blur over (2 * radius + 1)^2 pixels of a float image (H, W) or (H, W, C)."""
    width = 2 * radius + 1
    for axis in (0, 1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float32)
        size = image.shape[axis]
        high = [slice(None)] * image.ndim
        low = list(high)
        high[axis], low[axis] = slice(width, width + size), slice(0, size)
        image = (total[tuple(high)] - total[tuple(low)]) / width
    return image


def luma(image: np.ndarray) -> np.ndarray:
    """Brightness (H, W) of a float RGB image."""
    return image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


def edges(gray: np.ndarray, step: int = 1) -> np.ndarray:
    """Difference across each pixel, a measure of contours: (H, W), non-negative."""
    out = np.zeros_like(gray)
    d = np.abs(gray[step:] - gray[:-step])
    out[step:] = d
    d = np.abs(gray[:, step:] - gray[:, :-step])
    np.maximum(out[:, step:], d, out=out[:, step:])
    return out


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
