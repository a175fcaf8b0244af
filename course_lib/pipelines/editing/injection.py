"""Prompt-to-prompt: change a word and keep the composition, by way of the attention maps.

Two prompts are painted from one noise. For the first share of the steps the picture of the edited
prompt uses the attention probabilities of the first prompt's picture, while its values come from
its own words (arXiv:2208.01626).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.errors import check_number
from course_lib.pipelines.attention import OpenAttention
from course_lib.pipelines.editing.inputs import check_pipeline
from course_lib.pipelines.locks import model_lock
from course_lib.pipelines.painting import Walk, paint_with, pipeline_of
from course_lib.pipelines.prompts import token_ids
from course_lib.pipelines.sampling import seeds_of, settings_for, trajectory

if TYPE_CHECKING:
    from PIL import Image


def prompt_to_prompt(
    prompt: str,
    edited: str,
    *,
    cross: float = 0.8,
    self_attention: float = 0.4,
    pooled: float = 0.0,
    noise: Tensor | None = None,
    model: Any = "mini",
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str = "",
    size: int | Sequence[int] | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> list[Image.Image]:
    """Paint a prompt and an edited version of it with one composition.

    Parameters
    ----------
    prompt, edited : str
        Two prompts of at most 75 tokens that share most of their words.
    cross, self_attention : float
        From 0 to 1: for this share of the steps, from the first one on, the edited picture uses
        the cross-attention and the self-attention of the other. 0 for both is painting with the
        same seed.
    pooled : float
        The same for the mean of the prompt that some U-Nets, such as the mini's, add to the
        embedding of the timestep. No effect on others.
    noise : Tensor, shape (1, C, h, w), optional
        Noise to start from instead of the seed's, such as that of `ddim_inversion`.
    model, seed, steps, guidance, negative_prompt, size, scheduler, progress
        As for `paint`.

    Returns
    -------
    list of PIL.Image.Image
        The picture of `prompt`, which is that of `paint` up to rounding, and the edited one.

    Raises
    ------
    ValueError
        If a share is out of range or a prompt is too long.
    TypeError
        If the pipeline is no Stable Diffusion.
    """
    pipe = pipeline_of(model)
    check_pipeline(pipe, "prompt_to_prompt")
    shares = {"cross": cross, "self_attention": self_attention, "pooled": pooled}
    shares = {key: check_number(key, value, low=0, high=1) for key, value in shares.items()}
    mapper, own = align_tokens(*(_ids_of(pipe, text) for text in (prompt, edited)))
    settings = settings_for(pipe, steps=steps, guidance=guidance, size=size, scheduler=scheduler)
    _ids_of(pipe, negative_prompt)
    with _injection(pipe, mapper, own, shares) as progress_of:
        images = paint_with(
            pipe, [prompt, edited], settings, seeds=seeds_of(seed, 1),
            negative_prompt=negative_prompt, progress=progress, together=2,
            walk=_pair_walk(progress_of, noise),
            recipe={"made_by": "prompt_to_prompt", "source_prompt": prompt, **shares},
        )  # fmt: skip
    return images


def align_tokens(source: Sequence[int], edited: Sequence[int]) -> tuple[Tensor, Tensor]:
    """How the attention of a prompt's tokens is handed to those of an edited prompt.

    Parameters
    ----------
    source, edited : sequence of int
        Token ids of equal length, with padding.

    Returns
    -------
    mapper : Tensor, shape (tokens, tokens)
        Row i shares the attention of source token i among edited tokens. A token that both have
        keeps it. The tokens of a replaced passage share what theirs had in equal parts, however
        many they are.
    own : Tensor, shape (tokens,)
        1 for inserted tokens, which keep their own attention; 0 elsewhere.
    """
    mapper, own = torch.zeros(len(source), len(edited)), torch.zeros(len(edited))
    matcher = difflib.SequenceMatcher(None, source, edited, autojunk=False)
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            mapper[range(i, i_end), range(j, j_end)] = 1
        elif kind == "replace":
            mapper[i:i_end, j:j_end] = 1 / (j_end - j)
        elif kind == "insert":
            own[j:j_end] = 1
    return mapper, own


def _ids_of(pipe: Any, text: str) -> list[int]:
    chunks = token_ids(pipe.tokenizer, text)
    if len(chunks) > 1:
        raise ValueError(
            f"prompt_to_prompt takes prompts of at most {chunks.shape[1] - 2} tokens: shorten "
            f"{text[:40]!r}."
        )
    return chunks[0].tolist()


class _Progress:
    """The share of the steps that are done."""

    def __init__(self) -> None:
        self.done = 0.0


@contextmanager
def _injection(pipe, mapper: Tensor, own: Tensor, shares: dict[str, float]) -> Iterator[_Progress]:
    """Inside the block the last picture of the batch attends as the one before it does."""
    state, unet = _Progress(), pipe.unet
    mapper, own = mapper.to(pipe._execution_device), own.to(pipe._execution_device)

    def see_words(share: Tensor) -> Tensor:
        if state.done >= shares["cross"]:
            return share
        given = share[-2].float() @ mapper + share[-1].float() * own
        mixed = (given / given.sum(dim=-1, keepdim=True)).to(share.dtype)
        return torch.cat([share[:-1], mixed[None]])

    def see_places(share: Tensor) -> Tensor:
        on = state.done < shares["self_attention"]
        return torch.cat([share[:-1], share[-2:-1]]) if on else share

    def mean_of_prompt(module: Any, args: tuple, output: Tensor) -> Tensor:
        on = state.done < shares["pooled"]
        return torch.cat([output[:-1], output[-2:-1]]) if on else output

    with model_lock(pipe):
        before = dict(unet.attn_processors)
        unet.set_attn_processor({
            name: OpenAttention(see_words if ".attn2." in name else see_places) for name in before
        })  # fmt: skip
        pools = unet.config.addition_embed_type == "text"
        hook = unet.add_embedding.register_forward_hook(mean_of_prompt) if pools else None
        try:
            yield state
        finally:
            unet.set_attn_processor(before)
            if hook is not None:
                hook.remove()


def _pair_walk(state: _Progress, noise: Tensor | None) -> Walk:
    """Both prompts from the noise of one seed, with the share of the steps told to `state`."""

    def steps(pipe, encoded, seeds, settings):
        both = None if noise is None else noise.expand(2, -1, -1, -1)
        state.done = 0.0
        for step in trajectory(pipe, encoded, seeds, settings, noise=both):
            state.done = (step.i + 1) / step.total
            yield step

    return steps
