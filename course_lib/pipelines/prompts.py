"""From prompts to embeddings: weights, long prompts, negative prompts, batches.

`course_lib.pipelines.prompt_syntax` reads weights such as ``(word:1.3)``. What a weight does is a
convention, and there are two:

- "interpolate" (the default; ComfyUI's): a token's embedding z becomes z_empty + w (z - z_empty),
  where z_empty is what the empty prompt has there. Weight 0 says nothing, 1 changes nothing.
- "renormalise" (A1111's): z becomes w z, then the whole is scaled back to its earlier mean (to its
  earlier root mean square, if the mean is next to zero).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.pipelines.locks import one_thread
from course_lib.pipelines.prompt_syntax import foreign_syntax, parse_weights, shortened

WEIGHTINGS = ("interpolate", "renormalise")
_LONGEST_PROMPT = 20_000  # characters, some 60 chunks; each chunk costs time and memory
_LOOK_BACK = 20  # how far a cut may move back to the last end of a word


class PromptWarning(UserWarning):
    """A prompt is read in another way than it may seem."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Embeddings of a batch: prompts and negative prompts, each (B, tokens, channels).

    `pooled` and `negative_pooled`, (B, channels), are None except for SDXL.
    """

    prompt: Tensor
    negative: Tensor
    pooled: Tensor | None = None
    negative_pooled: Tensor | None = None

    def repeat(self, n: int) -> Encoded:
        """Each prompt `n` times in a row."""
        parts = (self.prompt, self.negative, self.pooled, self.negative_pooled)
        return Encoded(*(p if p is None else p.repeat_interleave(n, dim=0) for p in parts))


def encode_prompt(
    pipe,
    prompt: str | Sequence[str],
    negative_prompt: str | Sequence[str] = "",
    *,
    weighting: str = "interpolate",
) -> tuple[Tensor, Tensor]:
    """Turn prompts into what the U-Net's cross-attention reads.

    Parameters
    ----------
    pipe : StableDiffusionPipeline or StableDiffusionXLPipeline
        The pipeline; its tokenizers and text encoders are used.
    prompt, negative_prompt : str or sequence of str
        One prompt or a batch. A single negative prompt serves the whole batch; "" is allowed.
    weighting : str
        What a weight does: "interpolate" or "renormalise" (see the module's text).

    Returns
    -------
    (Tensor, Tensor), each of shape (B, 77 k, channels)
        Prompt and negative prompt. k is 1, or more if one of them has more than 75 tokens: such a
        prompt is read in chunks of 75 that are joined, with a `PromptWarning`.

    Raises
    ------
    TypeError, ValueError
        If a prompt is no text, or the batch sizes differ.
    """
    encoded = encode(pipe, prompt, negative_prompt, weighting=weighting)
    return encoded.prompt, encoded.negative


@one_thread
@torch.no_grad()
def encode(pipe, prompt, negative_prompt="", *, weighting: str = "interpolate") -> Encoded:
    """`encode_prompt` with SDXL's pooled embeddings."""
    check_choice("weighting", weighting, WEIGHTINGS)
    prompts = as_prompts(prompt, "prompt")
    negatives = as_prompts(negative_prompt, "negative_prompt")
    if len(negatives) not in (1, len(prompts)):
        raise ValueError(
            f"{len(negatives)} negative prompts for {len(prompts)} prompts: give one for all, or "
            "one for each."
        )
    texts = list(dict.fromkeys([*prompts, *negatives]))  # each text is encoded once
    foreign = {part: advice for text in texts for part, advice in foreign_syntax(text).items()}
    for part, advice in foreign.items():
        warnings.warn(
            f"{part!r} in the prompt is no command here and is read as words: {advice}.",
            PromptWarning,
            stacklevel=2,
        )
    encoders = [(pipe.tokenizer, pipe.text_encoder)]
    second = getattr(pipe, "text_encoder_2", None)
    if second is not None:
        encoders.append((pipe.tokenizer_2, second))
    parts = [
        _encode_with(pipe, tokenizer, encoder, texts, weighting, second is not None)
        for tokenizer, encoder in encoders
        if encoder is not None
    ]
    z = torch.cat([part[0] for part in parts], dim=-1)
    pooled = parts[-1][1]
    if second is not None and pipe.config.force_zeros_for_empty_prompt and negatives == [""]:
        return Encoded(
            z[[texts.index(t) for t in prompts]],
            torch.zeros_like(z[:1]).expand(len(prompts), -1, -1),
            pooled[[texts.index(t) for t in prompts]],
            torch.zeros_like(pooled[:1]).expand(len(prompts), -1),
        )
    rows = [texts.index(text) for text in prompts]
    negative_rows = [texts.index(text) for text in negatives]
    negative_rows = negative_rows if len(negative_rows) == len(rows) else negative_rows * len(rows)
    if second is None:
        return Encoded(z[rows], z[negative_rows])
    return Encoded(z[rows], z[negative_rows], pooled[rows], pooled[negative_rows])


def as_prompts(given: str | Sequence[str], name: str) -> list[str]:
    """One prompt or several as a list; anything else is an error that says so."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} must be a text or a list of texts, not {given!r}.")
    if not texts:
        raise ValueError(f'{name} is an empty list; give at least one text, "" if it says nothing.')
    return [_readable(text, name) for text in texts]


def _readable(text: str, name: str) -> str:
    if len(text) > _LONGEST_PROMPT:
        raise ValueError(
            f"{name} has {len(text):,} characters, but at most {_LONGEST_PROMPT:,} are read: "
            "shorten it."
        )
    try:
        # A terminal without UTF-8 (LC_ALL=C) hands bytes over as lone surrogates
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        raise ValueError(
            f"{name} holds bytes that are no text: {shortened(text)!a}. Type it again, or set the "
            "terminal to UTF-8."
        ) from None


_TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"


def _encode_with(pipe, tokenizer, encoder, texts, weighting, is_xl) -> tuple[Tensor, Tensor | None]:
    """Embeddings (texts, 77 k, channels) of one text encoder, and the pooled ones if it has any."""
    room = tokenizer.model_max_length - 2
    # Long prompts are read in chunks, and we say so ourselves: the tokenizer's warning is wrong
    getattr(tokenizer, "deprecation_warnings", {})[_TOO_LONG] = True
    convert = getattr(pipe, "maybe_convert_prompt", lambda text, _: text)  # textual inversions
    chunked = [_chunks(convert(text, tokenizer), tokenizer, room) for text in texts]
    count = max(len(chunks) for chunks in chunked)
    for text, chunks in zip(texts, chunked, strict=True):
        if len(chunks) > 1:
            _notice(text, sum(len(c) for c in chunks), len(chunks), room)
        chunks.extend([[]] * (count - len(chunks)))
    flat = [chunk for chunks in chunked for chunk in chunks]
    z, pooled = _run(pipe, encoder, _ids(flat, tokenizer, room), is_xl)
    weights = torch.ones(len(flat), room + 2)
    for row, chunk in enumerate(flat):
        weights[row, 1 : 1 + len(chunk)] = torch.tensor([w for _, w in chunk])
    if not bool((weights == 1).all()):
        z = _weigh(z, weights, weighting, lambda: _run(pipe, encoder, _ids([[]], tokenizer, room),
                                                       is_xl)[0])  # fmt: skip
    if pooled is not None:
        pooled = pooled[::count]  # of each text's first chunk
    return z.reshape(len(texts), count * (room + 2), -1), pooled


def _chunks(text: str, tokenizer, room: int) -> list[list[tuple[int, float]]]:
    """Tokens with weights, in chunks of at most `room` that end with a word."""
    pairs = [
        (token, weight)
        for fragment, weight in parse_weights(text)
        for token in tokenizer.convert_tokens_to_ids(tokenizer.tokenize(fragment))
    ]
    chunks = []
    while len(pairs) > room:
        ends = tokenizer.convert_ids_to_tokens([token for token, _ in pairs[:room]])
        back = next((k for k in range(_LOOK_BACK) if ends[room - 1 - k].endswith("</w>")), 0)
        chunks.append(pairs[: room - back])
        pairs = pairs[room - back :]
    return [*chunks, pairs]


def token_ids(tokenizer, text: str) -> Tensor:
    """Token ids (chunks, 77) of a prompt as `encode_prompt` reads it: begin, tokens, end, pads."""
    room = tokenizer.model_max_length - 2
    return _ids(_chunks(text, tokenizer, room), tokenizer, room)


def _ids(chunks, tokenizer, room: int) -> Tensor:
    """Token ids (chunks, room + 2): begin, the tokens, end, padding."""
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    rows = []
    for chunk in chunks:
        ids = [tokenizer.bos_token_id, *(token for token, _ in chunk), end]
        rows.append(ids + [pad] * (room + 2 - len(ids)))
    return torch.tensor(rows)


def _run(pipe, encoder, ids: Tensor, is_xl: bool) -> tuple[Tensor, Tensor | None]:
    ids = ids.to(pipe._execution_device)
    if not is_xl:
        return encoder(ids)[0], None
    out = encoder(ids, output_hidden_states=True)
    # SDXL reads the last layer but one, and the pooled text of its second encoder
    return out.hidden_states[-2], out[0] if out[0].ndim == 2 else None


def _weigh(z: Tensor, weights: Tensor, weighting: str, empty) -> Tensor:
    w = weights.to(z.device, z.dtype)[..., None]
    if weighting == "interpolate":
        z_empty = empty()
        return torch.where(w == 1, z, z_empty + w * (z - z_empty))
    weighted = z * w
    before, after = z.float(), weighted.float()
    rms = before.square().mean().sqrt()
    if before.mean().abs() < 0.01 * rms:  # a mean of nothing would divide by nothing
        return weighted * (rms / after.square().mean().sqrt()).to(z.dtype)
    return weighted * (before.mean() / after.mean()).to(z.dtype)


def _notice(text: str, tokens: int, chunks: int, room: int) -> None:
    warnings.warn(
        f"the prompt {shortened(text)!r} has {tokens} tokens, but the text encoder reads {room} at "
        f"a time. It is read in {chunks} chunks, one after the other; words in different chunks do "
        "not know of each other, so keep together what belongs together.",
        PromptWarning,
        stacklevel=2,
    )
