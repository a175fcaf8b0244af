"""Stable Diffusion pipelines: which models there are, loading one, prompts, painting, prefetching.

`load_pipeline` returns diffusers' own pipeline object, tuned for this machine, and says what it
chose and why. `paint` goes from a prompt to pictures; `paint_steps` yields every step on the way.
The shipped model ``mini`` needs no network; other models are fetched once from the model hub.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "adapters": ("line_agreement", "paint_with_sketch", "sketch_of"),
    "attention": ("record_attention",),
    "bundle": ("models_folder",),
    "editing": ("ddim_inversion", "image_to_image", "inpaint", "prompt_to_prompt"),
    "grid": ("paint_grid",),
    "hub": ("ModelUnavailable",),
    "licences": ("LICENCES", "TRAINING_DATA", "Licence", "licence_of"),
    "loading": ("load_pipeline",),
    "metadata": ("load_settings", "save_png"),
    "painting": ("paint",),
    "personalisation": ("personalise",),
    "plan": ("NotEnoughMemory",),
    "repainting": ("repaint",),
    "shelf": ("ModelState", "model_states", "prefetch"),
    "prompt_syntax": ("parse_weights",),
    "prompts": ("PromptWarning", "encode_prompt"),
    "registry": ("REGISTRY", "SCHEDULERS", "ModelSpec", "make_scheduler", "model_spec"),
    "sampling": ("PaintStep", "decode_latents", "paint_steps"),
    "tuning": ("LoadReport",),
    "vocabulary": ("prompt_notices",),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)
