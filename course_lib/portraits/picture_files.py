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
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"
)  # fmt: skip
# Pictures that people have and Pillow cannot read everywhere: worth a word instead of silence.
FOREIGN_SUFFIXES = (".heic", ".heif", ".avif", ".svg", ".raw", ".cr2", ".nef", ".dng", ".psd")
MAX_BYTES = 300_000_000  # of memory while decoding; a small file can claim to be far larger
# What Pillow takes for each pixel at its peak, measured: 4 bytes for the picture in any colour mode
# and 1 for what it is converted from, or twice as many where transparency is multiplied in; the
# decoder of WebP keeps two canvases and a copy of one, that of TIFF its strips.
_OPAQUE_BYTES, _TRANSPARENT_BYTES, _DECODER_BYTES = 5, 9, {"WEBP": 12, "TIFF": 4}
_MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I",
    "I;16", "I;16B", "I;16L", "I;16N", "F",
)  # fmt: skip
_DECODE_WHOLLY_BELOW = 256 * 2**10
_END_OF_JPEG = b"\xff\xd9"


def find_fault(path: Path, size: int) -> str | None:
    """Why this file cannot serve as a picture of `size` pixels, or None if it can.

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
            if fault := _fault_in_header(image, size):
                return fault
            if bytes_on_disk < _DECODE_WHOLLY_BELOW or image.format not in ("JPEG", "MPO", "PNG"):
                image.load()
            elif image.format == "PNG":
                image.verify()
            elif not _ends_like_jpeg(path):
                return "the file is truncated"
    except Image.DecompressionBombError:
        return "it has more megapixels than Pillow decodes"
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
            if fault := _fault_in_header(image, size):
                raise ValueError(fault)
            return as_rgb(image, size)
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


def _fault_in_header(image: Image.Image, size: int) -> str | None:
    """Why the picture must not be decoded; the decoder of JPEG is told to reduce it."""
    if image.mode not in _MODES:
        return f"its colour mode {image.mode} is not supported; export it as RGB"
    megapixels = image.width * image.height / 1e6
    needed = _coefficient_bytes(image)
    # JPEG can be decoded at 1/2, 1/4 or 1/8 scale; twice the target leaves room to antialias.
    image.draft(None, (2 * size, 2 * size))
    per_pixel = _TRANSPARENT_BYTES if _is_transparent(image) else _OPAQUE_BYTES
    needed += (per_pixel + _DECODER_BYTES.get(image.format, 0)) * image.width * image.height
    if needed > MAX_BYTES:
        return (
            f"it has {megapixels:.0f} megapixels, and decoding it would take "
            f"{needed / 1e6:.0f} MB of memory where {MAX_BYTES / 1e6:.0f} MB are allowed; save a "
            "smaller copy, or a JPEG"
        )
    return None


def _coefficient_bytes(image: Image.Image) -> int:
    """Memory for the coefficients of a progressive JPEG, all of which libjpeg keeps."""
    if not image.info.get("progressive"):
        return 0
    factors = [(across, down) for _, across, down, _ in image.layer]
    largest = max(a for a, _ in factors) * max(d for _, d in factors)
    share = sum(a * d for a, d in factors) / largest  # 3 without chroma subsampling, 1.5 with 4:2:0
    return int(2 * share * image.width * image.height)  # 16-bit integers


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.mode.upper() or "transparency" in image.info


def _ends_like_jpeg(path: Path) -> bool:
    # Compressed data never holds this marker, so it can only stand at the true end. Some cameras
    # append their own data after it, hence the long look back.
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 64 * 2**10))
        return _END_OF_JPEG in file.read()


def as_rgb(image: Image.Image, size: int) -> Image.Image:
    """Any picture as RGB, upright, on white; the shorter edge may be reduced towards `size`."""
    image.load()  # of an animation, the first frame
    deep = image.mode.startswith("I") or image.mode == "F"
    scale = _scale_to_bytes(image) if deep else 1.0
    image = _reduced(image, size)
    # A damaged EXIF block: show the picture as it lies.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if deep:
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        image = Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
    if _is_transparent(image):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _reduced(image: Image.Image, size: int) -> Image.Image:
    """The picture at a whole fraction of its size, twice `size` or more, before it is copied."""
    factor = min(image.size) // (2 * size)
    if factor < 2:
        return image
    if image.mode in ("P", "PA", "1"):  # colours in a table cannot be averaged
        image = image.convert("RGBA" if _is_transparent(image) else "RGB")
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    return image.reduce(factor)


def _scale_to_bytes(image: Image.Image) -> float:
    """What brings 16-bit, 32-bit or float gray to 0 .. 255; Pillow's own conversion would clip."""
    top = float(np.nan_to_num(image.getextrema()[1]))
    if image.mode == "F":
        return 255.0 if top <= 1 else (1.0 if top <= 255 else 255.0 / top)
    deep = image.mode.startswith("I;16") or 255 < top <= 65535
    return 1 / 257 if deep else (1.0 if top <= 255 else 255.0 / top)
