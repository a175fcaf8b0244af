"""The portrait painter: attributes and a seed in, a picture out."""

from __future__ import annotations

import io

import numpy as np

from course_lib.portraits.attributes import Attributes
from course_lib.portraits.drawing import (
    backdrop,
    beard,
    clothing,
    face,
    hair,
    head,
    wear,
    wrinkles,
)
from course_lib.portraits.drawing.identity import Identity, make_identity
from course_lib.portraits.drawing.vector import Canvas
from course_lib.portraits.styles.finish import finish
from course_lib.portraits.styles.looks import FINE_SIZE, SOFT_SIZE, Look, look_of

MIN_SIZE, MAX_SIZE = 32, 512
# Raise it with every change to the pixels of a portrait or to who is drawn: the cache keeps the
# pictures of each version apart. tests/test_painter_version.py fails if it is forgotten.
PAINTER_VERSION = 1


def portrait_svg(attributes: Attributes, seed: int) -> str:
    """Draw the portrait as an SVG document, before the raster finish of its style.

    Parameters
    ----------
    attributes : Attributes
        What the portrait shows.
    seed : int
        Non-negative; chooses the sitter among all people with these attributes.

    Returns
    -------
    str
        SVG with a view box of 256 by 256 units.
    """
    return draw_svg(attributes, make_identity(attributes, seed), MAX_SIZE)


def paint_portrait(
    attributes: Attributes, seed: int, size: int = 64, variety: float = 1.0
) -> np.ndarray:
    """Paint a portrait.

    Parameters
    ----------
    attributes : Attributes
        What the portrait shows and in which style.
    seed : int
        Non-negative; the same attributes, seed and size give the same pixels, and the same
        attributes and seed give the same person at any size.
    size : int
        Width and height in pixels, 32 to 512.
    variety : float
        From 0 to 1: how much people of equal attributes differ in build, place and shade.

    Returns
    -------
    numpy.ndarray
        uint8 pixels of shape (size, size, 3), RGB.

    Raises
    ------
    ValueError
        If `size` or `variety` is out of range.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(
            f"size is {size}; the painter paints {MIN_SIZE} to {MAX_SIZE} pixels. "
            "Paint at the nearest size and resize the result."
        )
    sitter, look = make_identity(attributes, seed, variety), look_of(attributes)
    render = look.render_size(size, attributes)
    svg = draw_svg(attributes, sitter, render)
    return finish(_rasterize(svg, render), attributes, sitter, size)


def _rasterize(svg: str, size: int) -> np.ndarray:
    """SVG to uint8 pixels (size, size, 3)."""
    import resvg_py
    from PIL import Image

    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def draw_svg(attributes: Attributes, sitter: Identity, size: int) -> str:
    """Paint from back to front: backdrop, hair behind, body, face, hair in front, hat.

    `size` is the number of pixels that the drawing is for: below `FINE_SIZE` strands and
    gradients, which nobody could see, are left out because they take most of the time.
    """
    a, look, soft = attributes, look_of(attributes), size >= SOFT_SIZE
    fine = size >= FINE_SIZE and a.quality != "rough"
    canvas = Canvas(
        look.outline if size >= FINE_SIZE else None, look.width, look.soft and soft,
        bands=0 if soft else 32 if size >= FINE_SIZE else 16,
    )
    backdrop.draw_backdrop(canvas, sitter, a.background, fine=fine)
    canvas.width = look.width / sitter.scale
    style = "bald" if a.headwear == "headscarf" else a.hair_style
    x, y = sitter.center
    lean = f"translate(0 {sitter.sink:.1f})rotate({sitter.tilt:.2f} 0 150)"
    canvas.open(
        f"translate({x:.1f} {y:.1f})"
        f"scale({sitter.scale * sitter.mirror:.4f} {sitter.scale:.4f})"
    )
    canvas.open(lean)
    wear.draw_headwear_back(canvas, sitter, a.headwear)
    hair.draw_back(canvas, sitter, style, a.headwear)
    canvas.close()
    head.draw_neck(canvas, sitter)
    clothing.draw_clothing(canvas, sitter, a.clothing, fine=fine, low=a.framing == "half-length")
    canvas.open(lean)
    _draw_head(canvas, sitter, a, look, style, fine=fine)
    canvas.close()
    canvas.close()
    return canvas.document()


def _draw_head(
    canvas: Canvas, sitter: Identity, a: Attributes, look: Look, style: str, *, fine: bool
) -> None:
    """Everything in front of the neck; `style` is the hair that shows."""
    dark, mood = look.dark, face.MOODS[a.expression]
    careful = fine or a.quality == "masterful"
    ears = style not in ("long", "bob")
    if style in ("bald", "buzz cut"):
        head.draw_skull(canvas, sitter)
    if ears and not sitter.turn:
        head.draw_ears(canvas, sitter)
    head.draw_face(canvas, sitter, rim=a.quality == "masterful")
    if ears and sitter.turn:
        # The near ear of a turned head lies before the cheek, not behind it.
        head.draw_ears(canvas, sitter)
    wrinkles.draw_lines(canvas, sitter, mood, fine=careful)
    face.draw_eyes(canvas, sitter, mood, fine=careful, dark=dark)
    face.draw_nose(canvas, sitter, dark=dark, fine=careful)
    beard.draw_beard(canvas, sitter, a.facial_hair, mood, fine=fine)
    face.draw_mouth(canvas, sitter, mood, dark=dark, fine=careful)
    hair.draw_front(canvas, sitter, style, a.headwear, fine=fine)
    face.draw_brows(canvas, sitter, mood, dark=dark)
    wear.draw_eyewear(canvas, sitter, a.eyewear, bold=look.bold)
    wear.draw_headwear(canvas, sitter, a.headwear, fine=fine)
