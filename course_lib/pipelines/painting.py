"""From a prompt to portraits in one call."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib import __version__
from course_lib.device import get_device, make_generator
from course_lib.pipelines.denoising import PaintStep, Settings
from course_lib.pipelines.loading import load_pipeline
from course_lib.pipelines.locks import one_thread
from course_lib.pipelines.metadata import attach
from course_lib.pipelines.personalisation.attach import as_loras, attached
from course_lib.pipelines.prompts import Encoded, PromptWarning, as_prompts, encode
from course_lib.pipelines.registry import REGISTRY, SHIPPED
from course_lib.pipelines.sampling import (
    decode_latents,
    seeds_of,
    settings_for,
    supports_steps,
    trajectory,
)
from course_lib.pipelines.tuning import report_of
from course_lib.pipelines.vocabulary import prompt_notices
from course_lib.tensors import to_pil_list

if TYPE_CHECKING:
    from PIL import Image

Walk = Callable[..., Iterator[PaintStep]]  # of pipe, encoded, seeds and settings
_loaded: dict[tuple, Any] = {}
_loading: dict[tuple, threading.Lock] = {}
# Pixels that are painted at once: more brings no speed, but takes memory.
_PIXELS_AT_ONCE = {"cpu": 16 * 128**2}
_PIXELS_AT_ONCE_GPU = 8 * 512**2


def paint(
    prompt: str | Sequence[str],
    model: Any = "mini",
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    n: int = 1,
    negative_prompt: str | Sequence[str] = "",
    size: int | Sequence[int] | None = None,
    scheduler: str | None = None,
    weighting: str = "interpolate",
    lora: Any = None,
    progress: bool = False,
) -> list[Image.Image]:
    """Paint portraits.

    Parameters
    ----------
    prompt, negative_prompt : str or sequence of str
        What to paint, and what to keep away from. ``(word:1.2)`` weighs; see `encode_prompt`.
    model : str, path or pipeline
        What `load_pipeline` takes, or what it returned. A model that is given by its name stays
        loaded for the next call.
    seed : int
        Picture k of `n` has the seed ``seed + k``, whatever else is in the batch.
    steps, guidance, size, scheduler
        Default: what the registry recommends for the model.
    n : int
        Pictures for each prompt.
    lora : path, (path, scale) or list of such, optional
        LoRAs, with scales from -10 to 10 (default: 1), and textual inversions, as `personalise` or
        other programs write them. They are taken out of the pipeline afterwards.
    progress : bool
        Show a bar.

    Returns
    -------
    list of PIL.Image.Image
        Ordered by prompt, then by seed. Each carries its recipe: ``image.info["parameters"]`` and,
        as JSON, ``image.info["course"]``; ``image.save("x.png")`` keeps both.

    Warns
    -----
    PromptWarning
        Where the prompt is read otherwise than it may seem, or says what the model never learned.

    Raises
    ------
    ValueError, TypeError, ModelUnavailable
        For settings out of range, and as `load_pipeline`.
    """
    pipe = pipeline_of(model)
    settings = settings_for(pipe, steps=steps, guidance=guidance, size=size, scheduler=scheduler)
    with attached(pipe, as_loras(lora)) as loras:
        return paint_with(
            pipe, prompt, settings, seeds=seeds_of(seed, n), negative_prompt=negative_prompt,
            weighting=weighting, progress=progress, recipe={"loras": loras} if loras else None,
        )  # fmt: skip


def paint_with(
    pipe, prompt: str | Sequence[str], settings: Settings, *, seeds: list[int],
    negative_prompt: str | Sequence[str] = "", weighting: str = "interpolate",
    progress: bool = False, walk: Walk = trajectory, together: int = 1,
    recipe: Mapping[str, Any] | None = None,
) -> list[Image.Image]:  # fmt: skip
    """What `paint` and the functions that edit pictures share: prompts in, pictures out.

    `walk` makes the steps of a batch, as `trajectory` does, of at least `together` pictures;
    `recipe` is added to each picture's.
    """
    prompts = as_prompts(prompt, "prompt")
    negatives = as_prompts(negative_prompt, "negative_prompt")
    if settings.guidance <= 1 and any(negatives):
        warnings.warn(
            f"guidance {settings.guidance:g} means none, so the negative prompt has no effect.",
            stacklevel=3,
        )
    for notice in prompt_notices(pipe, prompts, negatives):
        warnings.warn(notice, PromptWarning, stacklevel=3)
    negatives = negatives if len(negatives) > 1 else negatives * len(prompts)
    if supports_steps(pipe):
        encoded = encode(pipe, prompts, negatives, weighting=weighting).repeat(len(seeds))
        images = _paint_all(pipe, encoded, seeds * len(prompts), settings, progress, walk, together)
    else:
        images = _paint_generic(pipe, prompts, negatives, seeds, settings)
    rows = [(p, q, s) for p, q in zip(prompts, negatives, strict=True) for s in seeds]
    for image, (text, negative, own_seed) in zip(images, rows, strict=True):
        own = _recipe(pipe, text, negative, own_seed, settings, weighting)
        attach(image, own | dict(recipe or {}))
    return images


def pipeline_of(model: Any):
    """The pipeline itself, or the one of that name, loaded once."""
    if hasattr(model, "components"):
        return model
    name = str(model)
    sums = SHIPPED / name / "SHA256SUMS"
    version = sums.stat().st_mtime_ns if name in REGISTRY and sums.is_file() else None
    key = (name, str(get_device()), version)
    # A lock for each model: the mini need not wait for a large one that is being fetched
    with _loading.setdefault(key, threading.Lock()):
        if key not in _loaded:
            for other in [k for k in [*_loaded] if k[0] == name or k[0] != "mini"]:
                _loaded.pop(other, None)  # one large model at a time is enough for any memory
            _loaded[key] = load_pipeline(name, verbose=name != "mini")
        return _loaded[key]


def _paint_all(
    pipe,
    encoded: Encoded,
    seeds: list[int],
    settings: Settings,
    progress: bool,
    walk: Walk,
    together: int,
) -> list[Image.Image]:
    """Paint batch after batch, as many pictures at once as the memory is sure to bear."""
    from tqdm.auto import tqdm

    device = report_of(pipe).device
    pixels = _PIXELS_AT_ONCE.get(device.type, _PIXELS_AT_ONCE_GPU)
    at_once = max(together, pixels // (settings.height * settings.width))
    images: list[Image.Image] = []
    batches = [slice(k, k + at_once) for k in range(0, len(seeds), at_once)]
    bar = tqdm(total=len(batches) * settings.steps, desc="painting") if progress else None
    for batch in batches:
        latents = None
        for step in walk(pipe, _rows(encoded, batch), seeds[batch], settings):
            latents = step.latents_next
            if bar is not None:
                bar.update()
        images += to_pil_list(decode_latents(pipe, latents))
    if bar is not None:
        bar.close()
    return images


def _rows(encoded: Encoded, batch: slice) -> Encoded:
    parts = (encoded.prompt, encoded.negative, encoded.pooled, encoded.negative_pooled)
    return Encoded(*(None if part is None else part[batch] for part in parts))


@one_thread
def _paint_generic(
    pipe, prompts: list[str], negatives: list[str], seeds: list[int], settings: Settings
) -> list[Image.Image]:
    """Paint by the pipeline's own call: transformers and whatever else is no Stable Diffusion."""
    takes = inspect.signature(pipe.__call__).parameters
    images = []
    for text, negative, seed in _each(prompts, negatives, seeds):
        arguments = {
            "prompt": text, "num_inference_steps": settings.steps, "height": settings.height,
            "width": settings.width, "guidance_scale": settings.guidance,
            "generator": make_generator(seed),
        }  # fmt: skip
        if negative and settings.guidance > 1:
            arguments["negative_prompt"] = negative
        known = {key: value for key, value in arguments.items() if key in takes}
        images.append(pipe(**known).images[0])
    return images


def _each(prompts, negatives, seeds) -> Iterator[tuple[str, str, int]]:
    for text, negative in zip(prompts, negatives, strict=True):
        for seed in seeds:
            yield text, negative, seed


def _recipe(
    pipe, prompt: str, negative: str, seed: int, settings: Settings, weighting: str
) -> dict[str, Any]:
    report = report_of(pipe)
    model, source = report.model, report.source
    if Path(source).exists():  # pictures are shared: they shall not tell the owner's folders
        model, source = Path(model).name, "a folder or file"
    return {
        "prompt": prompt, "negative_prompt": negative, "model": model,
        "source": source, "revision": report.revision, "seed": seed,
        "steps": settings.steps, "guidance": settings.guidance, "scheduler": settings.scheduler,
        "height": settings.height, "width": settings.width, "weighting": weighting,
        "dtype": str(report.dtype).removeprefix("torch."), "version": __version__,
    }  # fmt: skip
