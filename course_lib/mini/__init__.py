"""The mini Stable Diffusion: a real one, small enough for a laptop, trained by this project.

``python -m course_lib.mini.train`` trains it, ``python -m course_lib.mini.evaluate`` measures it,
and ``cl.load_pipeline("mini")`` loads it.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES = {"comparison": ("compare",), "image_prompt": ("paint_like",)}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
