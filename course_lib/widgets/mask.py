"""Paint an inpainting mask over a picture, with mouse, finger, pen or keys."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image
from torch import Tensor

from course_lib.errors import check_whole
from course_lib.plotting import CourseFigure, as_frames, image_grid
from course_lib.tensors import from_pil, to_pil, to_signed
from course_lib.widgets.base import CourseWidget, page_script, page_style
from course_lib.widgets.sprite import pack_sprite

_NAMES = ("_picture", "_info", "_mask", "brush")
_LONGEST_EDGE = 1024  # the page draws every pixel of the mask sixty times a second
_LOSSLESS_BELOW = 256 * 256  # pixels; larger pictures are shown as WebP
_STILL_EDGE = 320
_BLUE = (0.0, 114 / 255, 178 / 255)  # mask_view.js has the same


class MaskPainter(CourseWidget):
    """A brush and an eraser over a picture; what is painted is the mask of an inpainting.

    Painting is done by mouse, finger, pen or keys: arrows move the brush (with Shift by one
    pixel), Space held paints along, Enter paints a dot, E switches between brush and eraser, [ and
    ] (or - and +) change the size, Ctrl+Z undoes, Ctrl+Shift+Z repeats. The mask reaches Python
    at the end of each stroke.

    Parameters
    ----------
    image : PIL image, or Tensor (3, H, W) or (1, 3, H, W) in [-1, 1]
        The picture, 8 to 1024 pixels along an edge.
    mask : PIL image, or Tensor (H, W), (1, H, W) or (1, 1, H, W) in [0, 1], optional
        What is painted at first; see `mask`. By default nothing.
    brush : int
        Diameter of the brush in pixels of the picture, from 1 to half of its longer edge
        (at least 12).
    caption, alt : str
        A sentence above the widget; a text alternative.
    frame_size : int
        The largest width of the picture on the page, 64 to 1024 CSS pixels. Smaller pictures are
        enlarged by a whole factor.

    Attributes
    ----------
    image : PIL.Image.Image
        The picture as RGB.
    mask : PIL.Image.Image
        Mode "L", of the picture's size: 255 (white) where it is to be repainted, else 0, as
        diffusers' inpainting pipelines take it. Setting it updates the page. Grey values from 128
        count as white. Modes "1" and "L" are taken, and opaque black and white "RGB" or "RGBA".
    share : float
        The masked part of the picture's area, 0 to 1.

    Raises
    ------
    TypeError
        If the picture or the mask is something else, such as a path.
    ValueError
        For a mask of another size or with colours, pictures that are too large or too small, and
        numbers out of range.

    Examples
    --------
    >>> painter = MaskPainter(torch.zeros(3, 64, 64))
    >>> painter.mask = Image.new("L", (64, 64), 255)
    >>> painter.share
    1.0
    """

    _needs_kernel = True
    _scripts = ("mask_bits.js", "mask_view.js", "mask.js")
    _styles, _names = ("mask.css",), _NAMES
    _esm, _css = page_script(_names, *_scripts), page_style(*_styles)

    _picture = traitlets.Bytes().tag(sync=True)
    _info = traitlets.Dict().tag(sync=True)
    # base64 of the mask's bits: text travels in both directions in every front end.
    _mask = traitlets.Unicode("").tag(sync=True)
    brush = traitlets.Int(12, help="diameter of the brush in pixels").tag(sync=True)

    def __init__(
        self,
        image: Any,
        mask: Any | None = None,
        *,
        brush: int = 12,
        caption: str = "",
        alt: str = "",
        frame_size: int = 384,
    ) -> None:
        self._pixels = _as_picture(image)
        height, width = self._shape = tuple(self._pixels.shape[-2:])
        check_whole("frame_size", frame_size, low=64, high=1024)
        largest = max(max(height, width) // 2, 12)
        picture, layout = pack_sprite(
            {"picture": self._pixels}, quality=90, lossless=height * width <= _LOSSLESS_BELOW
        )
        info = {"layout": layout, "caption": caption, "frame_size": frame_size, "largest": largest}
        info["alt"] = alt or caption or "a picture to paint a mask over"
        first = np.zeros(self._shape, bool) if mask is None else _as_mask(mask, self._shape)
        super().__init__(
            _picture=picture, _info=info, _mask=_packed(first),
            brush=check_whole("brush", brush, high=largest),
        )  # fmt: skip

    @property
    def image(self) -> Image.Image:
        """The picture as RGB."""
        return to_pil(self._pixels)

    @property
    def mask(self) -> Image.Image:
        """The mask, mode "L": 255 where the picture is to be repainted, else 0."""
        return Image.fromarray(self._bits().astype(np.uint8) * 255)

    @mask.setter
    def mask(self, value: Any) -> None:
        self._mask = _packed(_as_mask(value, self._shape))

    def mask_tensor(self) -> Tensor:
        """The mask as float32 (1, 1, H, W): 1 where the picture is to be repainted, else 0."""
        return torch.from_numpy(self._bits()).float()[None, None]

    @property
    def share(self) -> float:
        """The masked part of the picture's area, 0 to 1."""
        return float(self._bits().mean())

    def _bits(self) -> np.ndarray:
        """The mask as booleans, shape (H, W)."""
        return _unpacked(self._mask, self._shape)

    def still(self) -> CourseFigure:
        """The picture with its mask, and how much of it is masked, as a figure."""
        factor = max(1, _STILL_EDGE // max(self._shape))
        picture = F.interpolate(self._pixels, scale_factor=factor, mode="nearest")
        mask = F.interpolate(self.mask_tensor(), scale_factor=factor, mode="nearest")
        veil = to_signed(torch.tensor(_BLUE)).view(1, 3, 1, 1)
        shown = torch.where(mask > 0, (picture + veil) / 2, picture)
        # 1 within a pixel of the mask's edge; max_pool2d ignores what lies beyond the border.
        wider = F.max_pool2d(mask, 3, stride=1, padding=1)
        narrower = -F.max_pool2d(-mask, 3, stride=1, padding=1)
        shown = torch.where(wider > mask, torch.full_like(shown, -1), shown)  # black outside
        shown = torch.where(narrower < mask, torch.ones_like(shown), shown)  # white inside
        title = f"{self._share_text()} masked"
        return image_grid(shown, [title], scale=2, alt=self.alt_text())

    def alt_text(self) -> str:
        """The picture in one sentence."""
        height, width = self._shape
        return f"{self._info['alt']} ({self._share_text()} of {width} x {height} pixels masked)"

    def _share_text(self) -> str:
        """Per cent with one digit, halves rounded up as in mask_bits.js."""
        count, total = int(self._bits().sum()), self._bits().size
        return f"{(2000 * count + total) // (2 * total) / 10:.1f} %"

    @traitlets.validate("_mask", "brush")
    def _valid(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        try:
            if name == "brush":
                return check_whole("brush", value, high=self._info["largest"])
            _unpacked(value, self._shape)
            return value
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error

    def __repr__(self) -> str:
        height, width = self._shape
        return f"MaskPainter({width} x {height}, {self._share_text()} masked)"


def _as_picture(image: Any) -> Tensor:
    """The picture as (1, 3, H, W) in [-1, 1]."""
    if isinstance(image, Image.Image):
        image = from_pil(image)
    if not isinstance(image, Tensor):
        raise TypeError(
            "image must be a PIL image or a tensor (3, H, W) in [-1, 1], not "
            f"{type(image).__name__}; open a file with PIL.Image.open."
        )
    frames = as_frames(image[None] if image.ndim == 3 else image, name="image")
    height, width = frames.shape[-2:]
    if len(frames) > 1:
        raise ValueError(f"image holds {len(frames)} pictures; give one of them.")
    if min(height, width) < 8 or max(height, width) > _LONGEST_EDGE:
        raise ValueError(
            f"the picture has {width} x {height} pixels; edges of 8 to {_LONGEST_EDGE} pixels can "
            "be painted on. Resize it first."
        )
    return frames.expand(1, 3, height, width)


def _as_mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    """The mask as booleans, shape (H, W)."""
    if isinstance(mask, Tensor):
        values = _of_tensor(mask)
    elif isinstance(mask, Image.Image):
        values = _of_image(mask)
    else:
        raise TypeError(
            'mask must be a PIL image of mode "L" or a tensor (1, 1, H, W) in [0, 1], not '
            f"{type(mask).__name__}."
        )
    if values.shape != shape:
        given, wanted = (f"{one[1]} x {one[0]}" for one in (values.shape, shape))
        raise ValueError(
            f"the mask has {given} pixels and the picture {wanted}; give a mask of the picture's "
            "size, for instance mask.resize(image.size)."
        )
    return values


def _of_tensor(mask: Tensor) -> np.ndarray:
    flat = mask.detach().cpu().float()
    while flat.ndim > 2 and len(flat) == 1:
        flat = flat[0]
    if flat.ndim != 2:
        raise ValueError(f"a mask tensor has shape (1, 1, H, W), not {tuple(mask.shape)}.")
    if not bool(((flat >= 0) & (flat <= 1)).all()):  # False for NaN as well
        raise ValueError("a mask tensor has values in [0, 1]: 1 where the picture is repainted.")
    return (flat >= 0.5).numpy()


def _of_image(mask: Image.Image) -> np.ndarray:
    if mask.mode not in ("1", "L", "RGB", "RGBA"):
        raise ValueError(f'the mask has mode {mask.mode!r}; convert it: mask.convert("L").')
    levels = np.asarray(mask.convert("L"))
    if mask.mode in ("RGB", "RGBA"):
        bands = np.asarray(mask)
        see_through = mask.mode == "RGBA" and int(bands[..., 3].min()) < 255
        if see_through or not bool((bands[..., :3] == levels[..., None]).all()):
            raise ValueError(
                f"the mask of mode {mask.mode!r} has colours or transparent parts; a mask is black "
                'and white. Decide what is to be white and convert it to mode "L".'
            )
    return levels >= 128  # where diffusers' binarization divides as well


def _packed(mask: np.ndarray) -> str:
    return base64.b64encode(np.packbits(mask)).decode("ascii")


def _unpacked(text: str, shape: tuple[int, int]) -> np.ndarray:
    count = shape[0] * shape[1]
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except (binascii.Error, ValueError):
        packed = np.zeros(0, np.uint8)
    if packed.size != -(-count // 8):
        raise ValueError(f"the page sent a mask that does not fit {shape[1]} x {shape[0]} pixels.")
    return np.unpackbits(packed, count=count).astype(bool).reshape(shape)
