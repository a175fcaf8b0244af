"""Initialisation of the autoencoder's decoder: a positional encoding made by its own convolutions.

Convolutions are translation equivariant, and `AutoencoderTiny` enlarges by repeating pixels. So
from latents that are constant over neighbouring cells it can only decode constant areas: the
ordered dither of pixel art, which repeats within a cell, would be lost (24.8 dB instead of 37.4).
Only the zero padding at the image's edges breaks the symmetry (arXiv:2001.08248). Here that
information is carried inwards by construction: two channels say at every resolution which columns
and rows are even. Training goes on from these weights of a stock class.
"""

from __future__ import annotations

import torch
from torch import nn

# The last channels of every layer: a constant; a pulse travelling from each of the four edges
# (left, right, top, bottom); the positional encoding, 1 in even columns and in even rows
CONSTANT, PULSES, EVEN = -7, (-6, -5, -4, -3), (-2, -1)
STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # (row, column) of the cell that each pulse comes from
SPARE = -24  # from here on: copies that a residual block needs between its convolutions


@torch.no_grad()
def init_decoder(decoder: nn.Module) -> None:
    """Set up a decoder so that its last two channels say which columns and rows are even.

    Right for latents of 16 x 16. In the middle of larger ones both channels are zero.

    Parameters
    ----------
    decoder : DecoderTiny
        With 24 channels or more, three residual blocks at its first resolution and at least one at
        the next two. Changed in place.

    Raises
    ------
    ValueError
        If it has fewer.
    """
    first, levels = _levels(decoder)
    enough = [len(blocks) >= needed for (_, blocks), needed in zip(levels, (3, 1, 1), strict=False)]
    if first.out_channels < -SPARE or not all(enough):
        raise ValueError(
            "The positional encoding takes 24 channels and blocks at three resolutions, 3, 1 and 1."
        )
    _set_rows(first, {})
    first.bias[CONSTANT] = 1.0
    _propagate(*levels[0][1][:3])
    for pass_on, blocks in levels[1:]:
        _set_rows(pass_on, {c: {(c, 0, 0): 1.0} for c in (CONSTANT, *EVEN)})
        if blocks:  # the last resolution may have none
            _refine(blocks[0])


def _levels(decoder: nn.Module) -> tuple[nn.Conv2d, list[tuple[nn.Conv2d | None, list]]]:
    """The first layer, and for each resolution the convolution that begins it and its blocks."""
    first, *layers = decoder.layers
    levels: list = [(None, [])]
    for before, layer in zip([None, *layers], layers, strict=False):
        if isinstance(before, nn.Upsample):
            levels.append((layer, []))
        elif hasattr(layer, "fuse"):
            levels[-1][1].append(layer)
    return first, levels


def _set_rows(convolution: nn.Conv2d, rows: dict, since: int = CONSTANT) -> None:
    """Output channels from `since` on get the weights in `rows`, and zeros elsewhere.

    `rows` holds channel -> {(source, row, column): weight}, row and column from the centre.
    """
    convolution.weight[since:] = 0.0
    if convolution.bias is not None:
        convolution.bias[since:] = 0.0
    for channel, terms in rows.items():
        for (source, row, column), value in terms.items():
            convolution.weight[channel, source, 1 + row, 1 + column] = value


def _set_block(block: nn.Module, rows: tuple[dict, dict, dict]) -> None:
    """The three convolutions of a residual block; only the last writes to the block's output."""
    convolutions = [layer for layer in block.conv if isinstance(layer, nn.Conv2d)]
    for convolution, wanted, since in zip(
        convolutions, rows, (SPARE, SPARE, CONSTANT), strict=True
    ):
        _set_rows(convolution, wanted, since)


def _propagate(*blocks: nn.Module) -> None:
    """Nine convolutions: a pulse moves on by a cell in each, and leaves a mark in even places.

    Let e_k be 1 in the k-th column from an edge. Of 16 columns the even ones are e_0, e_2, e_4 and
    e_6 from the left, and e_1, e_3, e_5 and e_7 from the right; the same holds for rows.
    """
    for number, block in enumerate(blocks):
        rows: tuple[dict, dict, dict] = ({}, {}, {CONSTANT: {}})
        for side, (pulse, step) in enumerate(zip(PULSES, STEPS, strict=True)):
            before, between = SPARE + 2 * side, SPARE + 2 * side + 1
            even, odd_distance = EVEN[side // 2], side % 2
            first_k = 3 * number  # the block makes e_k for k = first_k .. first_k + 2
            if number == 0:  # e_0: the neighbour of the constant channel is padding
                rows[0][pulse] = {(CONSTANT, *step): -1.0, (CONSTANT, 0, 0): 1.0}
            else:
                rows[0][pulse] = {(pulse, *step): 1.0}
                rows[0][before] = {(pulse, 0, 0): 1.0}
            rows[1][pulse] = {(pulse, *step): 1.0}
            rows[1][before] = {(before, 0, 0): 1.0}
            rows[1][between] = {(pulse, 0, 0): 1.0}
            # The block adds to its input: take the old pulse away, put the new one in its place
            rows[2][pulse] = {(before, 0, 0): -1.0}
            if number < 2:
                rows[2][pulse] |= {(pulse, *step): 1.0}
            marks = rows[2].setdefault(even, {})
            sources = ((between, 0, 0), (pulse, 0, 0), (pulse, *step))
            for k, source in enumerate(sources, start=first_k):
                if k % 2 == odd_distance and k <= 7:
                    marks[source] = 1.0
        _set_block(block, rows)


def _refine(block: nn.Module) -> None:
    """After an enlargement: of two equal columns, the first is where the left neighbour differs."""
    rows: tuple[dict, dict, dict] = ({}, {}, {CONSTANT: {}})
    for axis, even in enumerate(EVEN):
        step = STEPS[2 * axis]
        copy, falls, rises = (SPARE + 3 * axis + k for k in range(3))
        rows[0][copy] = {(even, 0, 0): 1.0}
        rows[0][falls] = {(even, *step): 1.0, (even, 0, 0): -1.0}
        rows[0][rises] = {(even, *step): -1.0, (even, 0, 0): 1.0}
        for channel in (copy, falls, rises):
            rows[1][channel] = {(channel, 0, 0): 1.0}
        # |difference| = rises + falls after their ReLUs; the old encoding is subtracted
        rows[2][even] = {(copy, 0, 0): -1.0, (falls, 0, 0): 1.0, (rises, 0, 0): 1.0}
    _set_block(block, rows)
