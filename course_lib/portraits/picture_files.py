"""Picture files as cameras and the web leave them: checked cheaply, then read as RGB."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Only formats that Pillow decodes by itself; some others start external programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
# Pictures that people have and Pillow cannot read everywhere: worth a word instead of silence.
FOREIGN_SUFFIXES = (".heic", ".heif", ".avif", ".svg", ".raw", ".cr2", ".nef", ".dng", ".psd")
MAX_PIXELS = 100_000_000  # 300 MB when decoded; a small file can claim to be far larger
_MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I",
    "I;16", "I;16B", "I;16L", "I;16N", "F",
)  # fmt: skip
_DECODE_WHOLLY_BELOW = 256 * 2**10
_END_OF_JPEG = b"\xff\xd9"


def find_fault(path: Path) -> str | None:
    """Why this file cannot serve as a picture, or None if it can.

    Small files are decoded; of large JPEG and PNG files, only the structure is checked, which
    finds truncation at a small part of the cost.
    """
    suffix = path.suffix.lower()
    if suffix in FOREIGN_SUFFIXES:
        return f"{suffix} is not supported; export it as JPEG or PNG"
    try:
        bytes_on_disk = path.stat().st_size
        if bytes_on_disk == 0:
            return "the file is empty (zero bytes)"
        with _opened(path) as image:
            if fault := _fault_in_header(image):
                return fault
            if bytes_on_disk < _DECODE_WHOLLY_BELOW or image.format not in ("JPEG", "MPO", "PNG"):
                _decode(image, None)
            elif image.format == "PNG":
                image.verify()
            elif not _ends_like_jpeg(path):
                return "the file is truncated"
    except Image.DecompressionBombError:
        return f"it has more than {MAX_PIXELS // 10**6} megapixels"
    except UnidentifiedImageError:
        return "it is not a picture in a known format"
    # Decoders answer damaged data with many kinds of errors, SyntaxError and struct.error included.
    except Exception as error:
        return f"it cannot be read ({error or type(error).__name__})"
    return None


def read_picture(path: Path, size: int) -> Image.Image:
    """The picture as RGB, upright, on white; the shorter edge may be reduced towards `size`.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file has gone or has become unreadable since it was checked.
    """
    try:
        with _opened(path) as image:
            if fault := _fault_in_header(image):
                raise ValueError(fault)
            return _decode(image, size)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} was here when the folder was read, but is no longer. "
            "Make a new PortraitFolder."
        ) from None
    except Exception as error:  # as above: any decoder error means a damaged file
        raise ValueError(
            f"{path} cannot be decoded: {error}. Repair or remove it and make a new PortraitFolder."
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # The limit is ours and is checked at once; damaged EXIF is no reason to worry anyone.
        warnings.simplefilter("ignore")
        with Image.open(path, formats=FORMATS) as image:
            yield image


def _fault_in_header(image: Image.Image) -> str | None:
    if image.width * image.height > MAX_PIXELS:
        return f"it has more than {MAX_PIXELS // 10**6} megapixels"
    if image.mode not in _MODES:
        return f"its colour mode {image.mode} is not supported; export it as RGB"
    return None


def _ends_like_jpeg(path: Path) -> bool:
    # Compressed data never holds this marker, so it can only stand at the true end. Some cameras
    # append their own data after it, hence the long look back.
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 64 * 2**10))
        return _END_OF_JPEG in file.read()


def _decode(image: Image.Image, size: int | None) -> Image.Image:
    if size is not None:
        # JPEG can be decoded at 1/2, 1/4 or 1/8 scale; twice the target leaves room to antialias.
        image.draft(None, (2 * size, 2 * size))
    image.load()  # of an animation, the first frame
    # A damaged EXIF block: show the picture as it lies.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_bytes(image)
    if "A" in image.mode.upper() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _to_bytes(image: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit and float gray to 8 bits; Pillow's own conversion would clip them."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    top = values.max()
    if image.mode == "F":
        scale = 255.0 if top <= 1 else (1.0 if top <= 255 else 255.0 / top)
    else:
        deep = image.mode.startswith("I;16") or 255 < top <= 65535
        scale = 1 / 257 if deep else (1.0 if top <= 255 else 255.0 / top)
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
