"""Pixels in and out, and values that broadcast over the batch."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from course_lib.tensors import (
    expand_to,
    from_pil,
    to_pil,
    to_pil_list,
    to_signed,
    to_uint8,
    to_unit,
)


def test_expand_to_gives_each_image_its_own_value():
    x = torch.ones(2, 3, 4, 5)
    scaled = expand_to(torch.tensor([2.0, 3.0]), x) * x
    assert expand_to(torch.tensor([2.0, 3.0]), x).shape == (2, 1, 1, 1)
    assert scaled[0].unique().tolist() == [2.0] and scaled[1].unique().tolist() == [3.0]
    assert expand_to(torch.tensor(2.0), x).shape == (1, 1, 1, 1)
    assert expand_to(torch.ones(2, dtype=torch.float64), x).dtype == torch.float64


def test_every_byte_survives_the_round_trip():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([pixels, pixels.T, 255 - pixels], axis=-1))
    x = from_pil(image)
    assert x.shape == (3, 16, 16) and x.min() == -1 and x.max() == 1
    assert np.array_equal(np.asarray(to_pil(x)), np.asarray(image))


def test_ranges():
    assert to_unit(torch.tensor([-1.0, 0, 1])).tolist() == [0, 0.5, 1]
    assert to_signed(torch.tensor([0.0, 0.5, 1])).tolist() == [-1, 0, 1]
    x = torch.tensor([-7.0, -1, 0, 1, 7]).reshape(1, 1, 5)
    assert to_uint8(x).ravel().tolist() == [0, 0, 128, 255, 255]


def test_axes_move_and_batches_become_lists():
    x = torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5).to(torch.bfloat16)
    assert to_uint8(x).shape == (2, 4, 5, 3)
    images = to_pil_list(x.requires_grad_())
    assert [image.size for image in images] == [(5, 4), (5, 4)]
    assert to_pil(x[:1]).mode == "RGB" and to_pil(x[0, :1]).mode == "L"


def test_from_pil_cuts_the_centre_and_shows_white_behind_transparency():
    wide = Image.new("RGBA", (40, 20), (255, 0, 0, 0))
    wide.paste((0, 0, 255, 255), (10, 0, 30, 20))  # the central square is opaque blue
    x = from_pil(wide, size=8)
    assert x.shape == (3, 8, 8)
    assert torch.equal(x[:, 4, 4], torch.tensor([-1.0, -1.0, 1.0]))
    assert torch.equal(from_pil(wide)[:, 0, 0], torch.ones(3))
    assert torch.equal(from_pil(wide.rotate(90, expand=True), size=8), x.rot90(dims=(1, 2)))
