"""The look of every figure: palette, font sizes, and a Figure that displays itself once."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

# Okabe and Ito's colours that stay apart in the common kinds of colour blindness. Their yellow
# is left out because thin yellow lines vanish on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 100
JPEG_QUALITY = 66

_STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "lines.linewidth": 2.0,
    "image.cmap": "viridis",
}


class CourseFigure(Figure):
    """A matplotlib Figure that draws itself in a notebook, with a text alternative.

    It is not registered with pyplot: pyplot would draw it a second time at the end of the cell
    and keep it in memory for ever.
    """

    alt: str = "figure"
    few_colors: bool | None = None  # None: where the figure shows curves and no pictures

    def png(self) -> bytes:
        """The figure as PNG bytes, cropped to its content; with a palette unless it shows pictures.

        Curves take 64 colours, and `few_colors` gives pictures 256. The palette halves the bytes
        of curves and of noise, and shows in neither; clean pictures would lose shades.
        """
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi, bbox_inches="tight", pad_inches=0.05)
        picture = Image.open(buffer).convert("RGB")  # the background is white: no transparency
        few = self.few_colors
        if few or (few is None and not self._has_pictures()):
            colors = 256 if self._has_pictures() else 64
            picture = picture.quantize(colors, dither=Image.Dither.NONE)
        return encode(picture, "PNG")

    def _has_pictures(self) -> bool:
        return any(ax.images for ax in self.axes)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, str], dict[str, dict]]:
        kind, data = "image/png", self.png()
        if self._has_pictures():
            jpeg = encode(Image.open(io.BytesIO(data)), "JPEG", quality=JPEG_QUALITY)
            kind, data = min((kind, data), ("image/jpeg", jpeg), key=lambda pair: len(pair[1]))
        text = base64.b64encode(data).decode("ascii")
        return {kind: text, "text/plain": repr(self)}, {kind: {"alt": self.alt}}

    def __repr__(self) -> str:
        return f"<Figure: {self.alt}>"


def encode(picture: Image.Image, kind: str, *, quality: int = JPEG_QUALITY) -> bytes:
    """A picture as a file in memory, of format `kind`, "PNG" or "JPEG".

    Colours of a JPEG are stored at full size: thin coloured lines, such as rims of glasses, suffer
    at half size.
    """
    if kind == "JPEG":
        picture, options = (
            picture.convert("RGB"),
            {"quality": quality, "subsampling": 0, "progressive": True},
        )
    else:
        options = {}
    try:
        picture.save(buffer := io.BytesIO(), kind, optimize=True, **options)
    except OSError:  # to optimize, Pillow needs a JPEG in one buffer, which noise overruns
        picture.save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


@contextmanager
def course_style() -> Iterator[None]:
    """Switch to the course's fonts, grid and spines while a figure is built."""
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float, *, alt: str, layout: str | None = "constrained"):
    """Make an empty figure of `width` x `height` inches at 100 dots per inch.

    Parameters
    ----------
    width, height : float
        Size in inches; 7 inches fill the text width of a notebook.
    alt : str
        What the figure shows, in one sentence, for readers who cannot see it.
    layout : str or None
        matplotlib's layout engine.
    """
    figure = CourseFigure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    figure.alt = alt
    return figure


def line_look(index: int) -> dict[str, Any]:
    """Colour and dash pattern of the line number `index`; they repeat after seven."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
    }


def plain_numbers(axis: Any) -> None:
    """Write 0.2 instead of 2 x 10^-1 on a log axis that spans little; few labels if it spans much.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
        Already set to a log scale and with its data drawn.
    """
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
