"""Concept erasure in closed form: Unified Concept Editing (arXiv:2308.14761).

Cross-attention reads a prompt through the matrices ``to_k`` and ``to_v``. They are replaced by the
least-squares solution that maps the concept's vectors to where neutral vectors went, and leaves the
preserved vectors where they were. The mini's U-Net also pools the prompt into one vector; the
matrices of that pooling are edited in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import check_number
from course_lib.mini.tokenizer import token_ids
from course_lib.pipelines.locks import model_lock

RIDGE = 0.01
_POOLING = ("k_proj", "q_proj", "v_proj")


def edited_weight(
    weight: Tensor, concepts: Tensor, values: Tensor, preserved: Tensor, *, ridge: float = RIDGE
) -> Tensor:
    r"""The matrix W that minimises what UCE minimises (arXiv:2308.14761, equation 7).

    .. math:: \sum_i |W c_i - v_i|^2 + \sum_j |W p_j - W_\text{old} p_j|^2
        + \lambda |W - W_\text{old}|^2

    Parameters
    ----------
    weight : Tensor, shape (out, d)
        The old matrix.
    concepts : Tensor, shape (N, d)
        The vectors c of the concept.
    values : Tensor, shape (N, out)
        What they shall give instead: of a neutral vector n, ``weight @ n``.
    preserved : Tensor, shape (M, d)
        The vectors p that give what they gave.
    ridge : float
        The factor lambda, greater than 0. It is the authors' code's, not the paper's, and makes the
        solution unique.

    Returns
    -------
    Tensor, shape (out, d)
        In the number format of `weight`; computed in float64.

    Raises
    ------
    ValueError
        If shapes do not fit, or `ridge` is not positive.
    """
    ridge = check_number("ridge", ridge, low=1e-12, high=1e12)
    shapes = {"concepts": concepts, "values": values, "preserved": preserved}
    if (
        any(x.ndim != 2 for x in shapes.values())
        or values.shape != (len(concepts), weight.shape[0])
        or not concepts.shape[1] == preserved.shape[1] == weight.shape[1]
    ):
        given = ", ".join(f"{name} {tuple(x.shape)}" for name, x in shapes.items())
        raise ValueError(
            f"a weight {tuple(weight.shape)} needs concepts (N, {weight.shape[1]}), values "
            f"(N, {weight.shape[0]}) and preserved (M, {weight.shape[1]}), not {given}."
        )
    w, c, v, p = (x.detach().double() for x in (weight, concepts, values, preserved))
    kept = p.T @ p + ridge * torch.eye(w.shape[1], dtype=torch.float64, device=w.device)
    # W (C^T C + P^T P + lambda I) = V^T C + W_old (P^T P + lambda I); both brackets are symmetric
    new = torch.linalg.solve(c.T @ c + kept, c.T @ v + kept @ w.T).T
    return new.to(weight.dtype)


def erasure_map(
    concepts: Tensor, neutral: Tensor, preserved: Tensor, *, ridge: float = RIDGE
) -> Tensor:
    """The matrix M (d, d) for which every edited matrix is ``weight @ M``.

    Where the values are ``weight @ neutral``, the solution of `edited_weight` is the old matrix
    times one matrix, the same for all layers that read the same vectors: M maps the vectors of the
    concept to neutral ones. Shapes as there, `neutral` as `concepts`. In float64.
    """
    identity = torch.eye(concepts.shape[1], dtype=torch.float64, device=concepts.device)
    return edited_weight(identity, concepts, neutral, preserved, ridge=ridge)


@torch.no_grad()
def token_states(pipe: Any, prompts: Sequence[str]) -> Tensor:
    """What the U-Net reads of prompts: the text encoder's states, (N, 77, d)."""
    ids = token_ids(pipe.tokenizer, prompts).to(pipe.text_encoder.device)
    return pipe.text_encoder(ids)[0]


@torch.no_grad()
def last_word_states(pipe: Any, prompts: Sequence[str]) -> Tensor:
    """The states of each prompt's last token before the end, (N, d), as UCE's authors take them.

    Of the empty prompt it is the state of the start token.
    """
    ids = token_ids(pipe.tokenizer, prompts)
    ends = (ids == pipe.tokenizer.eos_token_id).int().argmax(dim=1)  # the first of each row
    return token_states(pipe, prompts)[torch.arange(len(ids)), ends - 1]


def with_neutral_word(pipe: Any, prompts: Sequence[str], word: str, neutral: str) -> list[str]:
    """The prompts with a neutral word instead of the concept's, token beside token.

    Raises
    ------
    ValueError
        If a prompt lacks the word, or the two words have different numbers of tokens, so that the
        tokens behind them would not stand in the same places.
    """
    lengths = {w: len(pipe.tokenizer.tokenize(w)) for w in (word, neutral)}
    if lengths[word] != lengths[neutral]:
        raise ValueError(
            f"{word!r} has {lengths[word]} tokens and {neutral!r} has {lengths[neutral]}: choose a "
            "neutral word of as many tokens."
        )
    lacking = [text for text in prompts if word not in text]
    if lacking or not prompts:
        shown = repr(lacking[0][:60]) if lacking else "there is no prompt"
        raise ValueError(f"every prompt must hold the concept's word {word!r}: {shown}.")
    return [text.replace(word, neutral) for text in prompts]


@contextmanager
def concept_edit(
    pipe: Any,
    concepts: Tensor,
    neutral: Tensor,
    preserved: Tensor,
    *,
    ridge: float = RIDGE,
    pooled: bool = False,
) -> Iterator[list[str]]:
    """Paint with an edited U-Net inside the block; at its end the old matrices are back.

    Parameters
    ----------
    pipe : StableDiffusionPipeline
    concepts, neutral, preserved : Tensor, shape (N, d), (N, d), (M, d); or (N, 77, d) and so on
        States of tokens: of the concept, what they are mapped to, and what stays.
    ridge : float
        As in `edited_weight`.
    pooled : bool
        Also edit the pooling of the prompt, which the mini has. It needs whole prompts, (N, 77, d).

    Yields
    ------
    list of str
        The names of the edited matrices.

    Raises
    ------
    ValueError
        If `pooled` does not fit the model or the states.
    """
    unet = pipe.unet
    flat = [x.flatten(0, -2) for x in (concepts, neutral, preserved)]
    edits = {"attn2": erasure_map(*flat, ridge=ridge)}
    if pooled:
        if unet.config.addition_embed_type != "text" or concepts.ndim != 3:
            raise ValueError(
                "pooled=True is for a U-Net that pools the prompt, as the mini's does, and for the "
                "states of whole prompts, (N, 77, d): leave it out."
            )
        pools = [_pooled_inputs(unet, x).flatten(0, 1) for x in (concepts, neutral, preserved)]
        edits["add_embedding"] = erasure_map(*pools, ridge=ridge)
    with model_lock(pipe):
        weights = {
            name: (module.weight, edits[part])
            for name, module in unet.named_modules()
            if (part := _part_of(name)) in edits
        }
        before = {name: weight.detach().clone() for name, (weight, _) in weights.items()}
        try:
            for weight, matrix in weights.values():
                weight.data.copy_(weight.detach().double() @ matrix)
            yield list(weights)
        finally:
            for name, (weight, _) in weights.items():
                weight.data.copy_(before[name])


def _part_of(name: str) -> str:
    """ "attn2" for cross-attention's keys and values, "add_embedding" for the pooling, else ""."""
    if name.endswith(("attn2.to_k", "attn2.to_v")):
        return "attn2"
    return "add_embedding" if name.endswith(_POOLING) and "add_embedding" in name else ""


@torch.no_grad()
def _pooled_inputs(unet: Any, states: Tensor) -> Tensor:
    """What the pooling's matrices read, (N, 78, d): the prompt's mean, then its tokens."""
    pooling = unet.add_embedding
    x = pooling.norm1(states)
    mean = x.mean(dim=1, keepdim=True) + pooling.pool.positional_embedding
    return torch.cat([mean, x], dim=1)
