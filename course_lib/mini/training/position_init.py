"""A head start for the decoder: it is told where in its cell each pixel lies.

A convolution does the same everywhere, so from latents that are alike in neighbouring cells this
decoder makes areas without any pattern: the ordered dither of pixel art, which repeats from cell to
cell, could not be decoded at all. Only the edge of a picture, where zeros are padded, tells places
apart. So the first blocks carry, from all four edges, which rows and columns are even, and the
first block after each enlargement works out which half of the former row or column a new one is.
All are weights of a stock `AutoencoderTiny`, which training goes on from.
"""

from __future__ import annotations

import torch
from torch import nn

# The last channels of every layer: a constant one, what moves in from the four edges (columns from
# the left and right, rows from the top and bottom), and even columns and rows
ONE, FRONTS, EVEN = -7, (-6, -5, -4, -3), (-2, -1)
STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # (row, column) of the cell that each front comes from
SPARE = -24  # channels from here on carry copies within a block


@torch.no_grad()
def mark_places(decoder: nn.Module) -> None:
    """Set up a decoder so that its last two channels say which columns and rows are even.

    Right for latents of 16 x 16. In the middle of larger ones both channels are zero; in smaller
    ones a mark may count twice.

    Parameters
    ----------
    decoder : DecoderTiny
        With 24 channels at the least, three blocks at its first size and one or more at the next
        two. Changed in place.

    Raises
    ------
    ValueError
        If it has fewer.
    """
    first, levels = _levels(decoder)
    enough = [len(blocks) >= needed for (_, blocks), needed in zip(levels, (3, 1, 1), strict=False)]
    if first.out_channels < -SPARE or not all(enough):
        raise ValueError("Marking places takes 24 channels and blocks at three sizes, 3, 1 and 1.")
    _only(first, {})
    first.bias[ONE] = 1.0
    _march_in(*levels[0][1][:3])
    for pass_on, blocks in levels[1:]:
        _only(pass_on, {c: {(c, 0, 0): 1.0} for c in (ONE, *EVEN)})
        if blocks:  # the last size may have none
            _halves(blocks[0])


def _levels(decoder: nn.Module) -> tuple[nn.Conv2d, list[tuple[nn.Conv2d | None, list]]]:
    """The first layer, and for each size the convolution that begins it and its blocks."""
    first, *layers = decoder.layers
    levels: list = [(None, [])]
    for before, layer in zip([None, *layers], layers, strict=False):
        if isinstance(before, nn.Upsample):
            levels.append((layer, []))
        elif hasattr(layer, "fuse"):
            levels[-1][1].append(layer)
    return first, levels


def _only(convolution: nn.Conv2d, rows: dict, since: int = ONE) -> None:
    """Channels from `since` on come from what `rows` says of them, and from nothing else.

    `rows` holds channel -> {(source, row, column): weight}, row and column from the centre.
    """
    weight = convolution.weight
    weight[since:] = 0.0
    if convolution.bias is not None:
        convolution.bias[since:] = 0.0
    for channel, terms in rows.items():
        for (source, row, column), value in terms.items():
            weight[channel, source, 1 + row, 1 + column] = value


def _set(block: nn.Module, rows: tuple[dict, dict, dict]) -> None:
    """The three convolutions of a block; within it, copies have channels of their own."""
    convolutions = [layer for layer in block.conv if isinstance(layer, nn.Conv2d)]
    for convolution, wanted, since in zip(convolutions, rows, (SPARE, SPARE, ONE), strict=True):
        _only(convolution, wanted, since)


def _march_in(*blocks: nn.Module) -> None:
    """Nine convolutions: a front moves one cell with each, and leaves a mark on even places.

    e_k is 1 in the k-th column from an edge. From the left e_0, e_2, e_4 and e_6 are even columns
    of 16, from the right e_1, e_3, e_5 and e_7.
    """
    for number, block in enumerate(blocks):
        rows: tuple[dict, dict, dict] = ({}, {}, {ONE: {}})
        for side, (front, step) in enumerate(zip(FRONTS, STEPS, strict=True)):
            copy, middle = SPARE + 2 * side, SPARE + 2 * side + 1
            even, late = EVEN[side // 2], side % 2  # late: marks odd k
            start = 3 * number - 1  # the front that the block gets
            if number == 0:  # none yet: e_0 is where the neighbour is padding
                rows[0][front] = {(ONE, *step): -1.0, (ONE, 0, 0): 1.0}
            else:
                rows[0][front] = {(front, *step): 1.0}
                rows[0][copy] = {(front, 0, 0): 1.0}
            rows[1][front] = {(front, *step): 1.0}
            rows[1][copy] = {(copy, 0, 0): 1.0}
            rows[1][middle] = {(front, 0, 0): 1.0}
            rows[2][front] = {(copy, 0, 0): -1.0}
            if number < 2:
                rows[2][front] |= {(front, *step): 1.0}
            marks = rows[2].setdefault(even, {})
            sources = ((middle, 0, 0), (front, 0, 0), (front, *step))
            for k, source in enumerate(sources, start=start + 1):
                if k % 2 == late and k <= 7:
                    marks[source] = 1.0
        _set(block, rows)


def _halves(block: nn.Module) -> None:
    """After an enlargement: a column is the first of its two where its left neighbour differs."""
    rows: tuple[dict, dict, dict] = ({}, {}, {ONE: {}})
    for axis, even in enumerate(EVEN):
        step = STEPS[2 * axis]
        copy, falls, rises = (SPARE + 3 * axis + k for k in range(3))
        rows[0][copy] = {(even, 0, 0): 1.0}
        rows[0][falls] = {(even, *step): 1.0, (even, 0, 0): -1.0}
        rows[0][rises] = {(even, *step): -1.0, (even, 0, 0): 1.0}
        for channel in (copy, falls, rises):
            rows[1][channel] = {(channel, 0, 0): 1.0}
        rows[2][even] = {(copy, 0, 0): -1.0, (falls, 0, 0): 1.0, (rises, 0, 0): 1.0}
    _set(block, rows)
