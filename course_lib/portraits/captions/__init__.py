"""Captions: attributes to English (`caption`, `full_caption`) and back (`parse_caption`)."""

from __future__ import annotations

from course_lib.portraits.captions.parser import parse_caption
from course_lib.portraits.captions.writer import caption, full_caption, with_article

__all__ = ["caption", "full_caption", "parse_caption", "with_article"]
