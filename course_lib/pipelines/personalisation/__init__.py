"""Train a model on a folder of your own: LoRA, DreamBooth and textual inversion.

`personalise` checks the folder, asks for consent, trains, stops early on held-out pictures and
writes one safetensors file that diffusers loads; `attached` uses such files for a while and leaves
the pipeline as it was.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "attach": ("attached",),
    "training": ("personalise",),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
