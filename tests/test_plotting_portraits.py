"""Portraits as JPEG, and attention over faces: the right pixels, and errors that teach."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import plotting


def ramp(count: int) -> torch.Tensor:
    """Smooth colours, as JPEG likes them."""
    line = torch.linspace(-1, 1, 64)
    one = torch.stack([line.expand(64, 64), line[:, None].expand(64, 64), -line.expand(64, 64)])
    return one.expand(count, -1, -1, -1)


def test_a_photo_is_the_figure_as_jpeg():
    figure = plotting.image_grid(ramp(2))
    photo = plotting.photo(figure)
    data, metadata = photo._repr_mimebundle_()
    assert set(data) == {"image/jpeg", "text/plain"}
    assert metadata["image/jpeg"]["alt"] == figure.alt == photo.alt
    shown = Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"])))
    drawn = Image.open(io.BytesIO(figure.png())).convert("RGB")
    assert shown.format == "JPEG" and shown.size == drawn.size
    # Quality 76 on smooth colours is off by a few levels of 255, mostly at the frames' edges
    difference = np.abs(np.asarray(shown).astype(int) - np.asarray(drawn).astype(int))
    assert difference.mean() < 3
    from_pil = plotting.photo(drawn, alt="two ramps", quality=95)
    assert from_pil.alt == "two ramps" and len(from_pil.jpeg) > len(photo.jpeg)


def test_a_photo_of_noise_is_written_too():
    noise = torch.rand(10, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    photo = plotting.photo(plotting.image_grid(noise, columns=5))
    Image.open(io.BytesIO(photo.jpeg)).load()  # raises where the file is cut off


def test_bright_colour_lies_where_the_attention_is():
    maps = torch.zeros(3, 4, 4)
    maps[2, 0, 3] = 0.5  # the last moment, upper right
    figure = plotting.attention_strip(torch.zeros(3, 3, 64, 64), {"hat": maps}, ["1", "2", "3"])
    axes = [ax for ax in figure.axes if ax.images]
    assert len(axes) == 6
    first, last = (np.asarray(axes[k].images[0].get_array()).astype(int) for k in (3, 5))
    corner, opposite = last[2, 61], last[61, 2]
    assert corner[0] > 180 and corner[2] < 100  # viridis ends in yellow
    assert opposite[2] > opposite[0]  # and begins in violet
    assert np.abs(first - opposite).max() <= 1  # one scale for all moments


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(TypeError, match="image_grid"):
        plotting.photo(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="quality"):
        plotting.photo(Image.new("RGB", (8, 8)), quality=100)
    with pytest.raises(ValueError, match="one for each frame"):
        plotting.attention_strip(ramp(3), {"hat": torch.zeros(2, 4, 4)})
