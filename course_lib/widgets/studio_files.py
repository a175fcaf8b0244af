"""A painted portrait as bytes, as a caption and as a file name."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from course_lib.widgets.studio_work import Painted


def webp_bytes(image: Any) -> bytes:
    """For the page: small."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=90, method=2)
    return buffer.getvalue()


def png_bytes(image: Any) -> bytes:
    """For keeping: exact, with the recipe inside."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=image.info.get("pnginfo"))
    return buffer.getvalue()


_LONG = 160  # letters of a prompt under a picture


def clamped(text: str) -> str:
    """The beginning of a long text, and how many characters it has."""
    return text if len(text) <= _LONG else f"{text[:_LONG].rstrip()}... ({len(text):,} characters)"


def caption_of(settings: Mapping[str, Any], *, short: bool = False) -> str:
    """Prompt, seed, and what else was chosen; `short` clamps a long prompt."""
    prompt = clamped(settings["prompt"]) if short else settings["prompt"]
    return f"{prompt} ({numbers_of(settings)})"


def numbers_of(settings: Mapping[str, Any]) -> str:
    """Seed, and what else was chosen besides the prompt."""
    used = [f"seed {settings['seed']}"]
    if settings["steps"] is not None:
        used.append(f"{settings['steps']} steps")
    if settings["guidance"] is not None:
        used.append(f"guidance {settings['guidance']:g}")
    return ", ".join(used)


def file_name(painted: Painted) -> str:
    """A name made of prompt and seed."""
    words = re.sub(r"[^a-z0-9]+", "-", painted.settings["prompt"].lower()).strip("-")[:48]
    return f"{words.strip('-') or 'portrait'}-{painted.settings['seed']}.png"
