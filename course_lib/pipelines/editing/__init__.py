"""Pictures in, pictures out: image to image, inpainting, prompt-to-prompt, DDIM inversion."""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "img2img": ("image_to_image",),
    "inpainting": ("inpaint",),
    "inputs": ("encode_image", "prepare_image", "prepare_mask"),
    "inversion": ("Inversion", "ddim_inversion"),
    "injection": ("align_tokens", "prompt_to_prompt"),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
