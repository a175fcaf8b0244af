"""The models that the course knows by a short name, and how each is best used.

Revisions are pinned, so that a name means the same weights next year. Sizes are of the files that
the course fetches (16-bit safetensors, without safety checkers and duplicates).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from course_lib.errors import check_choice

# The mini's painting time is that of steps x U-Net passes: these were chosen by quality.
MINI_SCHEDULER = "dpmpp_2m"
MINI_STEPS = 5
MINI_GUIDANCE = 2.5
MINI_GUIDANCE_UNTIL = 1.0

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "models"


@dataclass(frozen=True)
class Source:
    """One place on the model hub where a model lies.

    `revision` is the pinned commit, or None for the newest. `file` names a single safetensors
    file; None stands for a diffusers folder.
    """

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}/{self.file}" if self.file else self.repo


@dataclass(frozen=True)
class ModelSpec:
    """What the course knows about a model.

    Attributes
    ----------
    name, title : str
        The short name and the one for people.
    sources : tuple of Source
        Where to fetch it, in this order; empty for the shipped model.
    licence : str
        The licence of the weights.
    gated : bool
        Whether the hub wants a login and an accepted licence.
    download_gb, memory_gb : float
        Size of the files, and memory of an accelerator that paints one picture in 16 bit.
    steps, guidance, scheduler, size
        Recommended settings; `size` is the native edge in pixels. Guidance of at most 1 means that
        the model works without guidance and ignores negative prompts.
    dtype : str
        Number format on an accelerator: "float16", "bfloat16" or "float32".
    folder : str or None
        Folder beneath ``data/models`` for what is shipped with the course.
    note : str
        What to know before choosing it.
    guidance_until : float
        Share of the steps that are guided; the later ones ask the U-Net once instead of twice.
    """

    name: str
    title: str
    sources: tuple[Source, ...]
    licence: str
    gated: bool
    download_gb: float
    memory_gb: float
    steps: int
    guidance: float
    scheduler: str
    size: int
    dtype: str = "float16"
    folder: str | None = None
    note: str = ""
    guidance_until: float = 1.0

    @property
    def shipped(self) -> bool:
        """Whether the weights come with the course, so that no network is needed."""
        return self.folder is not None


_SPECS = (
    ModelSpec(
        name="mini",
        title="the course's mini Stable Diffusion",
        sources=(),
        licence="CC BY 4.0",
        gated=False,
        download_gb=0.0,
        memory_gb=0.6,
        steps=MINI_STEPS,
        guidance=MINI_GUIDANCE,
        scheduler=MINI_SCHEDULER,
        size=128,
        dtype="float32",
        folder="mini",
        guidance_until=MINI_GUIDANCE_UNTIL,
        note="Trained by this course on portraits that this course paints; works offline.",
    ),
    ModelSpec(
        name="sd15",
        title="Stable Diffusion 1.5",
        sources=(
            Source(
                "stable-diffusion-v1-5/stable-diffusion-v1-5",
                "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            ),
            Source("benjamin-paine/stable-diffusion-v1-5"),
            Source("botp/stable-diffusion-v1-5"),
            Source(
                "Comfy-Org/stable-diffusion-v1-5-archive",
                file="v1-5-pruned-emaonly-fp16.safetensors",
            ),
        ),
        licence="CreativeML OpenRAIL-M",
        gated=False,
        download_gb=2.1,
        memory_gb=4.0,
        steps=25,
        guidance=7.0,
        scheduler="dpmpp_2m_karras",
        size=512,
        note="The model of most tutorials, LoRAs and ControlNets.",
    ),
    ModelSpec(
        name="sd-turbo",
        title="SD-Turbo",
        sources=(Source("stabilityai/sd-turbo", "b261bac6fd2cf515557d5d0707481eafa0485ec2"),),
        licence="Stability AI Community Licence",
        gated=False,
        download_gb=2.6,
        memory_gb=5.0,
        steps=2,
        guidance=0.0,
        scheduler="euler_trailing",
        size=512,
        note="One to four steps; no guidance and no negative prompts.",
    ),
    ModelSpec(
        name="sdxl",
        title="Stable Diffusion XL",
        sources=(
            Source(
                "stabilityai/stable-diffusion-xl-base-1.0",
                "462165984030d82259a11f4367a4eed129e94a7b",
            ),
        ),
        licence="CreativeML OpenRAIL++-M",
        gated=False,
        download_gb=6.9,
        memory_gb=8.0,
        steps=30,
        guidance=7.0,
        scheduler="dpmpp_2m_karras",
        size=1024,
        note="Twice the resolution; needs an accelerator.",
    ),
    ModelSpec(
        name="sdxl-turbo",
        title="SDXL-Turbo",
        sources=(Source("stabilityai/sdxl-turbo", "71153311d3dbb46851df1931d3ca6e939de83304"),),
        licence="Stability AI Non-Commercial Research Community License",
        gated=False,
        download_gb=6.9,
        memory_gb=8.0,
        steps=2,
        guidance=0.0,
        scheduler="euler_trailing",
        size=512,
        note="One to four steps; no guidance; for commercial use see stability.ai/license.",
    ),
    ModelSpec(
        name="flux2-klein",
        title="FLUX.2 [klein] 4B",
        sources=(
            Source("black-forest-labs/FLUX.2-klein-4B", "e7b7dc27f91deacad38e78976d1f2b499d76a294"),
        ),
        licence="Apache 2.0",
        gated=False,
        download_gb=16.0,
        memory_gb=13.0,
        steps=4,
        guidance=1.0,
        scheduler="own",
        size=1024,
        dtype="bfloat16",
        note="A rectified-flow transformer of 2026, distilled to 4 steps; needs diffusers 0.37.",
    ),
)
REGISTRY: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}


def model_spec(name: str) -> ModelSpec:
    """The registry's entry for a short name; ValueError with the nearest name otherwise."""
    return REGISTRY[check_choice("model", name, REGISTRY)]


def spec_for(name: str) -> ModelSpec:
    """The registry's entry, or a plain one for an id of the hub such as ``"owner/model"``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if name in REGISTRY or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return model_spec(name)
    return ModelSpec(
        name=name, title=name, sources=(Source(name),), licence="see the model's page",
        gated=False, download_gb=0.0, memory_gb=0.0, steps=25, guidance=7.0, scheduler="own",
        size=0, note="Not in the registry: steps and guidance are guesses.",
    )  # fmt: skip


# What one scheduler takes over from the one before: the noise schedule, not the solver's options.
_SCHEDULE_KEYS = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
    "prediction_type", "timestep_spacing", "steps_offset", "rescale_betas_zero_snr",
    "_use_default_values",
)  # fmt: skip
# These classes of diffusers have no formula for a model that predicts the clean image
_WITHOUT_SAMPLE_PREDICTION = ("EulerAncestralDiscreteScheduler", "PNDMScheduler")
# Name -> (class in diffusers, options for its from_config). "own" keeps the model's scheduler.
SCHEDULERS: dict[str, tuple[str, dict[str, object]]] = {
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_lu": ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}),
    "dpmpp_2m_sde": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++"},
    ),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_trailing": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lcm": ("LCMScheduler", {}),
}


def make_scheduler(name: str, current, *, steps: int | None = None):
    """A fresh scheduler of the given name with the noise schedule of `current`.

    Parameters
    ----------
    name : str
        A key of `SCHEDULERS`, or "own" for a copy of `current`.
    current : diffusers scheduler
        It gives betas and prediction type, and stays as it is.
    steps : int, optional
        If given, the timesteps are set as well.

    Raises
    ------
    ValueError
        For an unknown name, or a scheduler that cannot work with what the model predicts.
    """
    import diffusers

    if name == "own":
        scheduler = type(current).from_config(current.config)
    else:
        class_name, options = SCHEDULERS[check_choice("scheduler", name, [*SCHEDULERS, "own"])]
        kept = {key: current.config[key] for key in _SCHEDULE_KEYS if key in current.config}
        if kept.get("prediction_type") == "sample" and class_name in _WITHOUT_SAMPLE_PREDICTION:
            raise ValueError(
                f"The scheduler {name!r} cannot be used with this model, which predicts the clean "
                "image (prediction_type='sample'): diffusers has no formula for it. Take "
                "'dpmpp_2m', 'dpmpp_2m_sde', 'euler', 'heun' or 'ddim'."
            )
        scheduler = getattr(diffusers, class_name).from_config(kept, **options)
    if steps is not None:
        scheduler.set_timesteps(steps)
    return scheduler
