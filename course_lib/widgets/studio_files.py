"""A painted portrait as bytes and as a file name."""

from __future__ import annotations

import io
import re
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


def file_name(painted: Painted) -> str:
    """A name made of prompt and seed."""
    words = re.sub(r"[^a-z0-9]+", "-", painted.settings["prompt"].lower()).strip("-")[:48]
    return f"{words.strip('-') or 'portrait'}-{painted.settings['seed']}.png"
