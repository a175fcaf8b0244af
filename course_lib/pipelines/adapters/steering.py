"""Paint while an adapter hands the U-Net more than noise, timestep and text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.errors import check_number
from course_lib.pipelines.adapters.sketches import sketch_tensor
from course_lib.pipelines.adapters.weights import ip_adapter_state, load_sketch_adapter
from course_lib.pipelines.locks import model_lock
from course_lib.pipelines.painting import Walk, paint_with, pipeline_of
from course_lib.pipelines.sampling import seeds_of, settings_for, supports_steps, trajectory
from course_lib.pipelines.tuning import quiet

if TYPE_CHECKING:
    from diffusers import T2IAdapter
    from PIL import Image

_shipped: dict[str, Any] = {}
_MAX_SCALE = 10.0  # far beyond 2, where pictures fall apart


def paint_with_sketch(
    prompt: str | Sequence[str],
    sketch: Image.Image,
    model: Any = "mini",
    *,
    adapter_conditioning_scale: float = 1.0,
    adapter: T2IAdapter | None = None,
    seed: int = 0,
    n: int = 1,
    negative_prompt: str | Sequence[str] = "",
    **settings: Any,
) -> list[Image.Image]:
    """Paint a prompt along the lines of a sketch, with a T2I-Adapter (arXiv:2302.08453).

    Parameters
    ----------
    prompt, negative_prompt, seed, n
        As for `course_lib.paint`.
    sketch : PIL.Image.Image
        Mode ``L``, white lines on black, as large as the picture; `sketch_of` makes one.
    model : str, path or pipeline
        As for `course_lib.paint`.
    adapter_conditioning_scale : float
        What the adapter's features are multiplied by. With 0 the picture is `course_lib.paint`'s.
    adapter : diffusers.T2IAdapter, optional
        Default: the shipped one, which fits the mini alone.
    **settings
        ``steps``, ``guidance`` and ``scheduler``.

    Returns
    -------
    list of PIL.Image.Image
        Ordered by prompt, then by seed. The recipe in each names the scale, not the sketch.

    Raises
    ------
    TypeError, ValueError
        If the sketch has another size or mode, the scale is no number from -10 to 10, or the
        adapter does not fit the U-Net.
    """
    pipe = _stable_diffusion(model, "paint_with_sketch")
    scale = _scale("adapter_conditioning_scale", adapter_conditioning_scale)
    chosen = settings_for(pipe, **settings)
    lines = sketch_tensor(sketch, (chosen.height, chosen.width))
    adapter = adapter or _shipped_adapter()
    _check_fit(pipe, adapter)
    with torch.no_grad():
        lines = lines.expand(-1, adapter.config.in_channels, -1, -1)
        features = [scale * f for f in adapter(lines.to(adapter.device, adapter.dtype))]
    return paint_with(
        pipe, prompt, chosen, seeds=seeds_of(seed, n), negative_prompt=negative_prompt,
        walk=_steered(lambda rows, pictures: _residuals(features, rows, pipe.unet)),
        recipe={"made_by": "paint_with_sketch", "adapter_conditioning_scale": scale},
    )  # fmt: skip


def paint_with_image_prompt(
    prompt: str | Sequence[str],
    embeds: Tensor,
    image_proj: dict[str, Tensor],
    model: Any = "mini",
    *,
    ip_adapter_scale: float = 1.0,
    seed: int = 0,
    n: int = 1,
    negative_prompt: str | Sequence[str] = "",
    **settings: Any,
) -> list[Image.Image]:
    """Paint a prompt and an image's embedding together, with an IP-Adapter (arXiv:2308.06721).

    Parameters
    ----------
    embeds : Tensor, shape (1, E)
        What the image encoder made of the image.
    image_proj : dict of Tensor
        The projection of such embeddings, as `load_image_prompt` returns it.
    ip_adapter_scale : float
        The weight of what the cross-attentions read from the image's tokens, beside the text's.
    prompt, model, seed, n, negative_prompt, **settings
        As for `paint_with_sketch`. The adapter is unloaded at the end.
    """
    pipe = _stable_diffusion(model, "paint_with_image_prompt")
    scale = _scale("ip_adapter_scale", ip_adapter_scale)
    chosen = settings_for(pipe, **settings)
    embeds = embeds.to(pipe.unet.device, pipe.unet.dtype)[:, None]  # (1, E) -> (1, 1, E)

    def added(rows: int, pictures: int) -> dict[str, Any]:
        given = embeds.expand(pictures, -1, -1)
        if rows > pictures:  # guidance: the negative rows come first, and see no image
            given = torch.cat([torch.zeros_like(given), given])
        return {"added_cond_kwargs": {"image_embeds": [given]}}

    with ip_adapter(pipe, image_proj, scale):
        return paint_with(
            pipe, prompt, chosen, seeds=seeds_of(seed, n), negative_prompt=negative_prompt,
            walk=_steered(added),
            recipe={"made_by": "paint_with_image_prompt", "ip_adapter_scale": scale},
        )  # fmt: skip


@contextlib.contextmanager
def ip_adapter(pipe, image_proj: dict[str, Tensor], scale: float = 1.0) -> Iterator[Any]:
    """A pipeline with an IP-Adapter, which is unloaded at the end.

    As long as it is loaded, every call needs an image: ``ip_adapter_image_embeds``, a list with a
    tensor (2, 1, E), zeros first, or (1, 1, E) without guidance. Other threads wait.
    """
    with model_lock(pipe):
        extractor, processors = pipe.feature_extractor, pipe.unet.attn_processors
        state = ip_adapter_state(pipe.unet, image_proj)
        with quiet():  # it remarks that the embedding is ours to compute
            pipe.load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)
        try:
            pipe.set_ip_adapter_scale(scale)
            yield pipe
        finally:
            pipe.unload_ip_adapter()
            pipe.unet.set_attn_processor(processors)
            pipe.register_modules(feature_extractor=extractor)


def _steered(inputs: Callable[[int, int], dict[str, Any]]) -> Walk:
    """A walk as `trajectory` makes it, whose U-Net gets the keyword arguments `inputs`.

    They are made for each call, from its number of rows and the number of pictures; with guidance
    there are twice as many rows.
    """

    def steps(pipe, encoded, seeds, settings):
        def add(module, arguments, keywords):
            return arguments, keywords | inputs(len(arguments[0]), len(seeds))

        with model_lock(pipe):
            hook = pipe.unet.register_forward_pre_hook(add, with_kwargs=True)
            try:
                yield from trajectory(pipe, encoded, seeds, settings)
            finally:
                hook.remove()

    return steps


def _residuals(features: list[Tensor], rows: int, unet) -> dict[str, Any]:
    """Features of one sketch, (1, C, h, w), for every row; diffusers empties the list."""
    placed = [f.to(unet.device, unet.dtype).expand(rows, -1, -1, -1) for f in features]
    return {"down_intrablock_additional_residuals": placed}


def _shipped_adapter() -> T2IAdapter:
    if "sketch" not in _shipped:
        _shipped["sketch"] = load_sketch_adapter()
    return _shipped["sketch"]


def _stable_diffusion(model: Any, name: str):
    pipe = pipeline_of(model)
    if not supports_steps(pipe):
        raise TypeError(
            f"{name} works with Stable Diffusion 1, 2 and XL, not {type(pipe).__name__}."
        )
    return pipe


def _scale(name: str, value: Any) -> float:
    return float(check_number(name, value, low=-_MAX_SCALE, high=_MAX_SCALE))


def _check_fit(pipe, adapter) -> None:
    given, wanted = adapter.config.channels[0], pipe.unet.config.block_out_channels[0]
    if given != wanted:
        raise ValueError(
            f"This adapter's features have {given} channels, but the first block of the model has "
            f"{wanted}. An adapter fits the model that it was trained for, and its fine-tuned "
            "copies; load one with diffusers' T2IAdapter.from_pretrained."
        )
