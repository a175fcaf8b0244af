"""Tokens of a textual inversion: words whose embedding is given, not looked up.

arXiv:2208.01618. The tokenizer is a copy that knows the new words; the text encoder's table stays
as it is, since a hook puts the rows in where the new words' numbers stand.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def token_names(token: str, count: int) -> list[str]:
    """``<anna>``, ``<anna>_1``, ...: as diffusers names the parts of one token."""
    return [token, *(f"{token}_{k}" for k in range(1, count))]


def check_free(tokenizer, names: list[str]) -> None:
    """Refuse words that the tokenizer has as one token already."""
    known = tokenizer.get_vocab()
    taken = [name for name in names if name in known]
    if taken:
        raise ValueError(
            f"the tokenizer has the word {taken[0]!r} already, so it cannot stand for something "
            "new. Load only one of the two files, or train under another name."
        )


@contextlib.contextmanager
def extra_tokens(pipe, rows: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the pipeline read new tokens for a while.

    Parameters
    ----------
    pipe : StableDiffusionPipeline
        With one text encoder. Its tokenizer is exchanged meanwhile.
    rows : mapping of str to Tensor of shape (k, width)
        Token -> its embeddings; where they are parameters, gradients reach them.
    """
    original, table = pipe.tokenizer, pipe.text_encoder.get_input_embeddings()
    names = [name for token, own in rows.items() for name in token_names(token, len(own))]
    check_free(original, names)
    tokenizer = copy.deepcopy(original)
    tokenizer.add_tokens(names)
    ids = tokenizer.convert_tokens_to_ids(names)
    numbers = torch.tensor(ids)

    seen: list[Tensor] = []

    def remember(module, inputs):
        seen[:] = inputs
        # What the table lacks is looked up as token 0, and replaced below
        return (inputs[0].masked_fill(torch.isin(inputs[0], numbers.to(inputs[0])), 0),)

    def replace(module, inputs, output):
        for number, row in zip(ids, torch.cat(list(rows.values())), strict=True):
            output = torch.where((seen[0] == number)[..., None], row.to(output), output)
        return output

    hooks = [table.register_forward_pre_hook(remember), table.register_forward_hook(replace)]
    pipe.tokenizer = tokenizer
    try:
        yield
    finally:
        pipe.tokenizer = original
        for hook in hooks:
            hook.remove()


def token_ids(pipe, captions: list[str]) -> Tensor:
    """Token numbers of captions, (N, 77), inside `extra_tokens`; what is longer is cut off."""
    tokenizer = pipe.tokenizer
    texts = [pipe.maybe_convert_prompt(text, tokenizer) for text in captions]
    return tokenizer(
        texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids  # fmt: skip
