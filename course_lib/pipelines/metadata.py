"""A portrait carries its recipe: prompt, model, seed and settings, inside the PNG file.

Two texts are written: ``parameters``, in the form that portrait makers share, and ``course``, the
same as JSON, which needs no guessing to be read back. Pictures of other programs are read as well:
`course_lib.pipelines.recipes` knows their forms.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.file_writing import write_atomically
from course_lib.pipelines.personalisation.recorded import parameters_fields
from course_lib.pipelines.recipes import SAMPLERS, own_recipe, read_recipe
from course_lib.portraits.picture_files import FORMATS

if TYPE_CHECKING:
    from PIL import Image

_LARGEST_DECODED = 64_000_000  # pixels: 256 MB; texts before the pixels need no decoding at all
_EXIF, _USER_COMMENT = 0x8769, 0x9286  # the Exif directory of a file, and its tag for comments


def parameters_text(settings: Mapping[str, Any]) -> str:
    """The settings in the form that portrait makers share."""
    sampler, kind = SAMPLERS.get(settings["scheduler"], (settings["scheduler"], "Automatic"))
    height, width = settings["height"], settings["width"]
    fields = {
        "Steps": settings["steps"], "Sampler": sampler, "Schedule type": kind,
        "CFG scale": f"{settings['guidance']:g}", "Seed": settings["seed"],
        "Size": f"{width}x{height}", "Model hash": (settings.get("revision") or "")[:10],
        "Model": settings["model"], "Version": f"Portrait Diffusion {settings['version']}",
    }  # fmt: skip
    words, hashes = parameters_fields(settings.get("loras") or ())
    fields |= hashes
    if "strength" in settings:
        fields["Denoising strength"] = f"{settings['strength']:g}"
    line = ", ".join(
        f"{key}: {_quoted(str(value))}" for key, value in fields.items() if value != ""
    )
    negative = settings["negative_prompt"]
    middle = [f"Negative prompt: {negative}"] if negative else []
    return "\n".join([settings["prompt"] + words, *middle, line])


def _quoted(value: str) -> str:
    return json.dumps(value) if re.search(r'[,:"\n]', value) else value


def attach(image: Image.Image, settings: Mapping[str, Any]) -> Image.Image:
    """Put the settings into ``image.info``, from where ``image.save("x.png")`` writes them."""
    from PIL.PngImagePlugin import PngInfo

    texts = {"parameters": parameters_text(settings), "course": json.dumps(dict(settings))}
    chunk = PngInfo()
    for key, text in texts.items():
        chunk.add_text(key, text)  # as iTXt where Latin-1 will not do
    image.info.update(texts, pnginfo=chunk)  # read by save in earlier versions of Pillow
    image.encoderinfo = {"pnginfo": chunk}  # and this in later ones
    return image


def save_png(image: Image.Image, path: str | Path) -> Path:
    """Write a picture as PNG, with its recipe if it has one.

    Raises
    ------
    ValueError
        If the name does not end in ``.png``.
    OSError
        If the file cannot be written. An earlier file of that name stays.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} must end in .png, since a PNG file keeps the picture's recipe.")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=image.info.get("pnginfo"))
    return write_atomically(path, buffer.getvalue())


def load_settings(picture: str | Path | Image.Image) -> dict[str, Any]:
    """Read the recipe of a picture: ours, or that of another portrait maker.

    Returns
    -------
    dict
        With ``prompt``, and what is known of ``negative_prompt, model, seed, steps, guidance,
        scheduler, height, width``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such picture, it carries no recipe, or one that makes no sense.

    Warns
    -----
    UserWarning
        Where the recipe asks for what is not known here, such as another sampler.
    """
    name = "the picture" if hasattr(picture, "info") else str(picture)
    texts = _texts(picture, name)
    try:
        found = own_recipe(texts["course"]) if "course" in texts else None
        if found is None and "parameters" in texts:
            found = read_recipe(texts["parameters"])
    except ValueError as error:
        raise ValueError(f"{name} cannot be painted again: {error}.") from None
    if found is None:
        raise ValueError(
            f"{name} carries no recipe: no text 'parameters' or 'course'. Pictures lose it when a "
            "program saves them anew or they are sent by a chat; use the original file."
        )
    settings, remarks = found
    for remark in remarks:
        warnings.warn(f"{name}: {remark}", stacklevel=2)
    return settings


def _texts(picture: str | Path | Image.Image, name: str) -> dict[str, str]:
    """The texts ``course`` and ``parameters`` of a picture, the latter also from its Exif data."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(picture, Image.Image):
        return _texts_of(picture)
    if not Path(picture).is_file():
        raise FileNotFoundError(f"There is no picture {picture}. Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged Exif data, large pictures: seen to here
            with Image.open(picture, formats=FORMATS) as image:
                texts = _texts_of(image)
                if not texts and image.width * image.height <= _LARGEST_DECODED:
                    image.load()  # texts may stand behind the pixels
                    texts = _texts_of(image)
                return texts
    except UnidentifiedImageError:
        raise ValueError(f"{name} is no picture that can be read.") from None
    # Decoders answer damaged files with many kinds of errors, SyntaxError and struct.error included
    except Exception as error:
        raise ValueError(f"{name} cannot be read as a picture: {error}.") from None


def _texts_of(image: Image.Image) -> dict[str, str]:
    found = {key: image.info[key] for key in ("course", "parameters") if key in image.info}
    if "exif" in image.info and "parameters" not in found:
        with contextlib.suppress(Exception):  # damaged Exif data, in one of many ways: no recipe
            found["parameters"] = _decoded(image.getexif().get_ifd(_EXIF)[_USER_COMMENT])
    return {key: str(text) for key, text in found.items() if text}


def _decoded(comment: bytes | str) -> str:
    """An Exif comment: 8 bytes name its encoding, and "UNICODE" is UTF-16 of either byte order."""
    if isinstance(comment, str):
        return comment
    code, body = comment[:8].rstrip(b"\0 "), comment[8:]
    if code == b"UNICODE":
        little = body[1::2].count(0) > body[::2].count(0)  # Latin letters have a high byte of 0
        return body.decode("utf-16-le" if little else "utf-16-be", "replace").lstrip("\ufeff")
    return (body if code in (b"ASCII", b"") else comment).decode("utf-8", "replace").strip("\0")
