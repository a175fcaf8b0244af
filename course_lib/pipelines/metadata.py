"""A portrait carries its recipe: prompt, model, seed and settings, inside the PNG file.

Two texts are written: ``parameters``, in the form that portrait makers share, and ``course``, the
same as JSON, which needs no guessing to be read back. Pictures of other programs are read as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

# Our scheduler names and those of portrait makers: (sampler, schedule type)
_SAMPLERS = {
    "dpmpp_2m": ("DPM++ 2M", "Uniform"),
    "dpmpp_2m_karras": ("DPM++ 2M", "Karras"),
    "dpmpp_2m_lu": ("DPM++ 2M", "Lu"),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", "Uniform"),
    "unipc": ("UniPC", "Uniform"),
    "deis": ("DEIS", "Uniform"),
    "heun": ("Heun", "Uniform"),
    "euler": ("Euler", "Uniform"),
    "euler_trailing": ("Euler", "SGM Uniform"),
    "euler_ancestral": ("Euler a", "Uniform"),
    "ddim": ("DDIM", "Uniform"),
    "ddpm": ("DDPM", "Uniform"),
    "pndm": ("PLMS", "Uniform"),
    "lcm": ("LCM", "Uniform"),
}
_FIELD = re.compile(r'\s*([\w ]+):\s*("(?:\\.|[^"])*"|[^,]*)(?:,|$)')


def parameters_text(settings: Mapping[str, Any]) -> str:
    """The settings in the form that portrait makers share."""
    sampler, kind = _SAMPLERS.get(settings["scheduler"], (settings["scheduler"], "Automatic"))
    height, width = settings["height"], settings["width"]
    fields = {
        "Steps": settings["steps"], "Sampler": sampler, "Schedule type": kind,
        "CFG scale": f"{settings['guidance']:g}", "Seed": settings["seed"],
        "Size": f"{width}x{height}", "Model hash": (settings.get("revision") or "")[:10],
        "Model": settings["model"], "Version": f"Portrait Diffusion {settings['version']}",
    }  # fmt: skip
    line = ", ".join(
        f"{key}: {_quoted(str(value))}" for key, value in fields.items() if value != ""
    )
    negative = settings["negative_prompt"]
    middle = [f"Negative prompt: {negative}"] if negative else []
    return "\n".join([settings["prompt"], *middle, line])


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
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} must end in .png, since a PNG file keeps the picture's recipe.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, pnginfo=image.info.get("pnginfo"))
    except OSError as error:
        raise OSError(f"cannot write {path} ({error}). Choose another file or folder.") from None
    return path


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
        If there is no such picture, or it carries no recipe.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(picture, Image.Image):
        info, name = picture.info, "the picture"
    else:
        name = str(picture)
        if not Path(picture).is_file():
            raise FileNotFoundError(f"There is no picture {picture}. Check the path.")
        try:
            with Image.open(picture) as image:
                image.load()  # texts may stand behind the pixels
                info = dict(image.info)
        except UnidentifiedImageError:
            raise ValueError(f"{name} is no picture that can be read.") from None
    try:
        settings = json.loads(info["course"])
        if isinstance(settings, dict) and isinstance(settings.get("prompt"), str):
            return settings
    except (KeyError, ValueError, TypeError):
        pass
    if isinstance(info.get("parameters"), str):
        return parse_parameters(info["parameters"])
    raise ValueError(
        f"{name} carries no recipe: no text 'parameters' or 'course'. Pictures lose it when a "
        "program saves them anew or they are sent by a chat; use the original PNG."
    )


def parse_parameters(text: str) -> dict[str, Any]:
    """Read the form that portrait makers share; unknown fields are left out."""
    lines = text.strip().split("\n")
    fields: dict[str, str] = {}
    if re.match(r"\s*Steps: \d", lines[-1]):
        for key, value in _FIELD.findall(lines.pop()):
            fields[key.strip()] = json.loads(value) if value.startswith('"') else value.strip()
    start = next((k for k, line in enumerate(lines) if line.startswith("Negative prompt:")), None)
    settings: dict[str, Any] = {"prompt": "\n".join(lines[:start]), "negative_prompt": ""}
    if start is not None:
        negative = "\n".join(lines[start:])
        settings["negative_prompt"] = negative.removeprefix("Negative prompt:").strip()
    for key, name, kind in (("Steps", "steps", int), ("CFG scale", "guidance", float),
                            ("Seed", "seed", int), ("Model", "model", str)):  # fmt: skip
        with_value = fields.get(key, "")
        try:
            settings.update({name: kind(with_value)} if with_value else {})
        except ValueError:
            continue
    size = re.fullmatch(r"(\d+)x(\d+)", fields.get("Size", ""))
    if size:
        settings.update(width=int(size[1]), height=int(size[2]))
    sampler = fields.get("Sampler", "")
    kind = fields.get("Schedule type") or ("Karras" if sampler.endswith(" Karras") else "Uniform")
    named = {pair: ours for ours, pair in _SAMPLERS.items()}
    scheduler = named.get((sampler.removesuffix(" Karras"), kind))
    settings.update({"scheduler": scheduler} if scheduler else {})
    return settings
