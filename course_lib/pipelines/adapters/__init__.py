"""Adapters: small networks that steer a finished U-Net by a sketch or by an image."""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "sketches": ("edge_lines", "line_agreement", "sketch_of", "sketch_tensor"),
    "steering": ("ip_adapter", "paint_with_image_prompt", "paint_with_sketch"),
    "weights": (
        "ADAPTERS",
        "ip_adapter_state",
        "load_image_prompt",
        "load_sketch_adapter",
        "new_sketch_adapter",
    ),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
