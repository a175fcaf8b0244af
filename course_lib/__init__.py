"""Portrait Diffusion: the helper package of the course.

Everything a lesson needs hangs off this one name: ``import course_lib as cl``. Names load on first
use, so the import stays light. `PUBLIC` maps each public name to the module that defines it.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

__version__ = "0.1.0"

_MODULES: dict[str, tuple[str, ...]] = {
    "classroom.course_map": ("course_map",),
    "device": ("DeviceReport", "device_report", "get_device", "make_generator"),
    "tensors": (
        "expand_to",
        "from_pil",
        "to_pil",
        "to_pil_list",
        "to_signed",
        "to_uint8",
        "to_unit",
    ),
    "schedules": ("NoiseSchedule",),
    "process": (
        "eps_from_score",
        "posterior_mean_variance",
        "predict_eps_from_v",
        "predict_eps_from_x0",
        "predict_x0_from_eps",
        "predict_x0_from_v",
        "q_sample",
        "q_step",
        "score_from_eps",
        "velocity",
    ),
    "samplers": ("SampleStep", "sample", "time_grid"),
    "unet": ("SmallUNet",),
    "training": ("EMA", "TrainStep", "denoising_loss", "held_out_loss", "train"),
    "diffusion": ("DiffusionModel",),
    "metrics": ("mse", "psnr", "ssim"),
    "mini": ("compare", "paint_like"),
    "pipelines": (
        "ddim_inversion",
        "decode_latents",
        "encode_prompt",
        "image_to_image",
        "inpaint",
        "load_pipeline",
        "load_settings",
        "paint",
        "paint_grid",
        "paint_steps",
        "paint_with_sketch",
        "personalise",
        "prefetch",
        "prompt_to_prompt",
        "record_attention",
        "repaint",
        "sketch_of",
    ),
    "portraits": (
        "Attributes",
        "PortraitDataset",
        "PortraitFolder",
        "caption",
        "paint_portrait",
        "parse_caption",
        "sample_attributes",
    ),
}
PUBLIC: dict[str, str] = {name: module for module, names in _MODULES.items() for name in names}
_SUBMODULES = (
    *(name for name in _MODULES if "." not in name), "checks", "classroom", "dit", "errors",
    "flow", "gan", "plotting", "provenance", "safety", "sampler_steps", "widgets",
)  # fmt: skip

__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES, _SUBMODULES)
