"""Cross-attention maps: which part of the picture looks at which word, step by step.

The fused attention of PyTorch never forms its probabilities, so nothing can read them. While
`record_attention` is open, the U-Net's cross-attention computes the same thing in the open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.pipelines.locks import model_lock
from course_lib.pipelines.prompts import _chunks

_LARGEST_GRID = 64


class AttentionMaps:
    """What `record_attention` has recorded.

    Attributes
    ----------
    probabilities : list of Tensor, shape (B, tokens, h, w)
        One entry for each call of the U-Net, on the CPU: how each place of the picture shares its
        attention among the tokens, averaged over heads and layers. At each place the tokens'
        shares add up to 1. With guidance only the pass with the prompt is kept.
    layers : dict of str to (int, int)
        Height and width at which each layer attends.
    """

    def __init__(self) -> None:
        self.layers: dict[str, tuple[int, int]] = {}
        self._calls: list[Tensor] = []
        self._guided: list[bool] = []
        self._grid = (0, 0)
        self._size = (0, 0)
        self._sum: Tensor | None = None
        self._count = 0
        self._thread = threading.get_ident()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def probabilities(self) -> list[Tensor]:
        if not self._calls:
            raise ValueError(
                "nothing is recorded yet: paint inside the `with record_attention(pipe)` block."
            )
        last = self._calls[-1]
        pictures = len(last) // 2 if self._guided[-1] else len(last)
        # Negative rows come first. Two prompts from one seed look guided at first, hence the count.
        return [call[-pictures:] for call in self._calls]

    def for_word(self, pipe: Any, prompt: str, word: str, *, picture: int = 0) -> Tensor:
        """How much of its attention each place gives to a word, in every call of the U-Net.

        Parameters
        ----------
        pipe : StableDiffusionPipeline
            The pipeline that painted; its tokenizer finds the word.
        prompt : str
            The prompt that it painted.
        word : str
            A word or phrase of the prompt. The shares of its tokens, and of all places where it
            stands, are added.
        picture : int
            Which picture of the batch.

        Returns
        -------
        Tensor, shape (steps, h, w), values in [0, 1]
            On the grid of the latents, at most 64 x 64. One map for each call of the U-Net: Heun
            makes two in each step.

        Raises
        ------
        ValueError
            If the prompt does not contain the word, there is no such picture, or nothing was
            recorded.
        """
        calls = self.probabilities
        if not 0 <= picture < len(calls[0]):
            raise ValueError(f"picture must lie in 0..{len(calls[0]) - 1}, not {picture}.")
        positions = token_positions(pipe.tokenizer, prompt, word)
        return torch.stack([call[picture, positions].sum(dim=0).clamp(0, 1) for call in calls])

    def _begin(self, module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "The attention of this pipeline is being recorded by another thread. Wait until "
                "its `with record_attention(pipe)` block has ended, or use paint, which waits."
            )
        sample = args[0] if args else kwargs["sample"]
        height, width = sample.shape[-2:]
        self._size = (height, width)
        shrink = max(1.0, max(height, width) / _LARGEST_GRID)
        self._grid = (round(height / shrink), round(width / shrink))
        # Guidance asks about every latent twice in one batch: without the prompt and with it.
        first, second = sample[: len(sample) // 2], sample[len(sample) // 2 :]
        self._guided.append(len(sample) % 2 == 0 and torch.equal(first, second))
        self._sum, self._count = None, 0

    def _add(self, name: str, share: Tensor) -> Tensor:
        """Keep one layer's probabilities (B, heads, places, tokens), and give them back."""
        probabilities = share.mean(dim=1)
        self.layers[name] = size = _shape_of(probabilities.shape[1], self._size)
        maps = probabilities.float().transpose(1, 2).unflatten(2, size)
        maps = F.interpolate(maps, self._grid, mode="bilinear", antialias=True)
        self._sum = maps if self._sum is None else self._sum + maps
        self._count += 1
        return share

    def _end(self, module: Any, args: tuple, output: Any) -> None:
        if self._sum is not None:
            self._calls.append((self._sum / self._count).cpu())
        self._sum = None


class OpenAttention:
    """Attention as diffusers computes it, with the probabilities in the open.

    `see` gets the probabilities (B, heads, places, tokens), and returns those that are used.
    """

    def __init__(self, see: Callable[[Tensor], Tensor]) -> None:
        self._see = see

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attn.norm_cross:
            text = attn.norm_encoder_hidden_states(text)
        query, key, value = attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text)
        query, key, value = (attn.head_to_batch_dim(z) for z in (query, key, value))
        scores = query @ key.transpose(1, 2) * attn.scale
        if attention_mask is not None:
            scores = scores + attn.prepare_attention_mask(attention_mask, text.shape[1], len(text))
        # In 16 bit the exponentials would overflow
        share = scores.float().softmax(dim=-1).to(value.dtype)
        share = self._see(share.unflatten(0, (-1, attn.heads))).flatten(0, 1)
        out = attn.to_out[0](attn.batch_to_head_dim(share @ value))
        out = attn.to_out[1](out)  # dropout
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor


@contextmanager
def record_attention(pipe: Any) -> Iterator[AttentionMaps]:
    """Record the cross-attention of everything that the pipeline paints inside the block.

    Parameters
    ----------
    pipe : StableDiffusionPipeline or StableDiffusionXLPipeline
        Its U-Net's attention processors are replaced, and put back at the end, come what may.

    Yields
    ------
    AttentionMaps
        Ask it ``maps.for_word(pipe, prompt, "glasses")`` after painting. Paint one thing in a
        block; its pictures do not change, up to rounding. Other threads that paint with the
        pipeline wait until the block ends.

    Raises
    ------
    TypeError
        If the pipeline has no U-Net, or one whose cross-attention does more than read text.

    Notes
    -----
    Averaging over heads and layers follows Tang and others, arXiv:2210.04885.
    """
    unet = getattr(pipe, "unet", None)
    if unet is None or not hasattr(unet, "attn_processors"):
        raise TypeError(
            f"record_attention needs a pipeline with a U-Net, not {type(pipe).__name__}: "
            "transformers mix text and picture in one attention."
        )
    if any("IPAdapter" in type(one).__name__ for one in unet.attn_processors.values()):
        raise TypeError("record_attention reads text only; unload the IP-Adapter first.")
    with model_lock(pipe):
        before = dict(unet.attn_processors)
        maps = AttentionMaps()
        hooks = [
            unet.register_forward_pre_hook(maps._begin, with_kwargs=True),
            unet.register_forward_hook(maps._end),
        ]
        unet.set_attn_processor({
            name: OpenAttention(partial(maps._add, name)) if ".attn2." in name else processor
            for name, processor in before.items()
        })  # fmt: skip
        try:
            yield maps
        finally:
            for hook in hooks:
                hook.remove()
            unet.set_attn_processor(before)


def token_positions(tokenizer: Any, prompt: str, word: str) -> list[int]:
    """Where a word or phrase stands in the token sequence that the U-Net reads.

    Position 0 is the token that begins a prompt; a word may have several tokens. Weights such as
    ``(word:1.2)`` and prompts of more than 75 tokens are read as `encode_prompt` reads them.

    Raises
    ------
    ValueError
        If the word is not in the prompt.
    """
    room = tokenizer.model_max_length - 2
    wanted = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))
    chunks = _chunks(prompt, tokenizer, room)
    # Chunks are filled up to room + 2 tokens, with one for the beginning and one for the end
    places = [
        (token, number * (room + 2) + 1 + k)
        for number, chunk in enumerate(chunks)
        for k, (token, _) in enumerate(chunk)
    ]
    ids = [token for token, _ in places]
    starts = [k for k in range(len(ids)) if wanted and ids[k : k + len(wanted)] == wanted]
    if not starts:
        raise ValueError(
            f"the prompt does not contain the word {word!r}. Write it as in the prompt: {prompt!r}."
        )
    return [places[start + k][1] for start in starts for k in range(len(wanted))]


def _shape_of(places: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a layer with so many places; each level of the U-Net halves the size."""
    height, width = size
    while height * width > places:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != places:
        raise ValueError(f"{places} places do not fit a grid that comes from halving {size}.")
    return height, width
