"""The pixel watermark: found after what happens to pictures, and rarely where there is none."""

from __future__ import annotations

import functools
import io
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course_lib.metrics import psnr
from course_lib.portraits import PortraitFolder
from course_lib.provenance import add_watermark, read_watermark
from course_lib.tensors import from_pil, to_pil

ROOT = Path(__file__).resolve().parent.parent
KEY = 1234
COUNT = 12


@functools.cache
def portraits():
    data = PortraitFolder(ROOT / "data" / "portraits", size=128)  # the styles take turns
    return [data[i][0] for i in range(COUNT)]


def saved_as_jpeg(image, quality=50):
    buffer = io.BytesIO()
    to_pil(image).save(buffer, "JPEG", quality=quality)
    return from_pil(Image.open(buffer).convert("RGB"))


def resized(image, size=96):
    small = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)
    return F.interpolate(small, size=image.shape[1:], mode="bilinear")[0]


CHANGES = {
    "nothing": lambda x: x,
    "8 bits": lambda x: from_pil(to_pil(x)),
    "JPEG of quality 50": saved_as_jpeg,
    "a crop": lambda x: x[:, 13:113, 7:107],
    "a blur": lambda x: F.avg_pool2d(x[None], 3, 1, 1)[0],
    "resizing": resized,
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_found_after_what_happens_to_pictures(change):
    marked = [add_watermark(image, KEY) for image in portraits()]
    readings = [read_watermark(CHANGES[change](image), KEY) for image in marked]
    # A crop of a woodcut may be too small: black and white have no room for the pattern
    assert sum(one.found() for one in readings) >= COUNT - (change == "a crop")
    offset = (-13 % 64, -7 % 64) if change == "a crop" else (0, 0)
    assert all(one.offset == offset for one in readings)


def test_it_is_neither_seen_nor_found_with_another_key():
    for image in portraits():
        marked = add_watermark(image, KEY)
        assert 34 < psnr(marked[None], image[None]) < 42
        assert not read_watermark(image, KEY).found()
        assert not read_watermark(marked, KEY + 1).found()


def test_the_p_value_is_what_unmarked_pictures_give():
    """Uniform for pictures without the mark: checked at three quantiles over 600 keys."""
    values = torch.tensor([
        read_watermark(image, key).p_value for image in portraits() for key in range(50)
    ])  # fmt: skip
    for level in (0.05, 0.25, 0.5):
        share = (values < level).double().mean().item()
        # Five deviations, and a third for neighbouring offsets, whose scores are correlated
        margin = 5 * math.sqrt(level * (1 - level) / len(values))
        assert level / 3 - margin < share < level + margin, (level, share)


def test_a_message_is_read_and_costs_strength():
    bits = torch.rand(8, generator=torch.Generator().manual_seed(0)) < 0.5
    wrong, scores = 0, {0: 0.0, 8: 0.0}
    for image in portraits():
        for message in ((), tuple(bits.tolist())):
            marked = saved_as_jpeg(
                add_watermark(image, KEY, bits=message, strength=0.03), quality=80
            )
            reading = read_watermark(marked, KEY, num_bits=len(message))
            scores[len(message)] += reading.score / COUNT
            wrong += sum(a != b for a, b in zip(reading.bits, message, strict=True))
    assert wrong <= 0.02 * 8 * COUNT
    # Nine patterns share the power of one
    assert scores[8] < scores[0] / 2


def test_a_picture_without_any_detail_is_read_without_an_error():
    flat = torch.zeros(3, 64, 64)
    assert read_watermark(flat, KEY).p_value == 1
    assert read_watermark(add_watermark(flat, KEY), KEY).found()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: add_watermark(torch.zeros(3, 63, 128), KEY), "at least 64 x 64"),
        (lambda: read_watermark(torch.zeros(1, 3, 64, 64), KEY), "one picture"),
        (lambda: add_watermark(torch.zeros(3, 64, 64), KEY, strength=-1), "strength"),
        (lambda: add_watermark(torch.zeros(3, 64, 64), KEY, bits=[1] * 33), "bits"),
        (lambda: add_watermark(torch.zeros(3, 64, 64), -1), "seed"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
