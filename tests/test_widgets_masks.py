"""The mask painter without a browser: masks in and out, still pictures, bad input."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from course_lib.tensors import to_pil
from course_lib.widgets import MaskPainter

HEIGHT, WIDTH = 18, 29  # neither square nor a multiple of 8
FACE = torch.linspace(-1, 1, 3 * HEIGHT * WIDTH).reshape(3, HEIGHT, WIDTH)


def random_bits() -> np.ndarray:
    return np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3


def as_image(bits: np.ndarray) -> Image.Image:
    return Image.fromarray(bits.astype(np.uint8) * 255)


BITS = random_bits()
SPELLED = {
    "L": as_image(BITS),
    "1": as_image(BITS).convert("1"),
    "RGB": as_image(BITS).convert("RGB"),
    "downloaded": as_image(BITS).convert("RGBA"),
    "grey": Image.fromarray(np.where(BITS, 128, 127).astype(np.uint8)),
    "bool": torch.from_numpy(BITS),
    "float": torch.from_numpy(BITS).float()[None, None],
}


@pytest.mark.parametrize("mask", SPELLED.values(), ids=SPELLED)
def test_a_mask_comes_back_as_it_was_given(mask):
    for painter in (MaskPainter(FACE, mask), MaskPainter(FACE)):
        painter.mask = mask
        assert painter.mask.mode == "L" and painter.mask.size == (WIDTH, HEIGHT)
        assert np.array_equal(np.asarray(painter.mask), BITS * 255)
        tensor = painter.mask_tensor()
        assert tensor.shape == (1, 1, HEIGHT, WIDTH) and tensor.dtype == torch.float32
        assert np.array_equal(tensor[0, 0].numpy(), BITS)
        assert painter.share == pytest.approx(BITS.mean())


def test_the_picture_is_kept_whatever_it_was():
    expected = np.asarray(to_pil(FACE))
    for image in (FACE, FACE[None], to_pil(FACE), to_pil(FACE).convert("RGBA")):
        assert np.array_equal(np.asarray(MaskPainter(image).image), expected)
    grey = np.asarray(MaskPainter(FACE[:1]).image)
    assert grey.shape == (HEIGHT, WIDTH, 3) and np.array_equal(grey[..., 0], grey[..., 2])


def test_a_mask_of_the_page_that_does_not_fit_is_refused():
    painter = MaskPainter(FACE, as_image(BITS))
    for wrong in ("", "no base64", base64.b64encode(bytes(9)).decode()):
        with pytest.raises(traitlets.TraitError, match="does not fit 29 x 18"):
            painter._mask = wrong
    with pytest.raises(traitlets.TraitError, match="from 1 to 14"):
        painter.brush = 99
    assert np.array_equal(np.asarray(painter.mask), BITS * 255) and painter.brush == 12


def test_the_still_shows_the_mask_and_says_its_share(tmp_path):
    half = np.zeros((16, 16), bool)
    half[:, 8:] = True
    painter = MaskPainter(torch.full((3, 16, 16), 0.6), as_image(half), caption="Paint the hair")
    figure = painter.still()
    assert figure.axes[0].get_title() == "50.0 % masked"
    shown = figure.axes[0].images[0].get_array()  # sixteen pixels in twenty times the size
    middle = shown.shape[0] // 2
    assert np.ptp(shown[middle, 2]) == 0  # the grey picture, untouched
    assert shown[middle, -2, 2] > shown[middle, -2, 0] + 50  # the blue veil
    edge = shown.shape[1] // 2
    assert shown[middle, edge - 1].max() == 0 and shown[middle, edge].min() == 255
    alt = "Paint the hair (50.0 % of 16 x 16 pixels masked)"
    data, metadata = painter._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == alt
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 60
    page = painter.export_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert painter._mask in page and alt in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


BAD = {
    "path": (lambda: MaskPainter("face.png"), TypeError, "PIL.Image.open"),
    "batch": (lambda: MaskPainter(torch.zeros(2, 3, 9, 9)), ValueError, "holds 2 pictures"),
    "bytes": (lambda: MaskPainter(FACE * 90 + 99), ValueError, "look like bytes"),
    "large": (lambda: MaskPainter(torch.zeros(3, 9, 2000)), ValueError, "2000 x 9 .* Resize"),
    "small": (lambda: MaskPainter(torch.zeros(3, 4, 9)), ValueError, "edges of 8 to 1024"),
    "brush": (lambda: MaskPainter(FACE, brush=15), ValueError, "from 1 to 14, not 15"),
    "frame": (lambda: MaskPainter(FACE, frame_size=9), ValueError, "from 64 to 1024"),
    "array": (lambda: MaskPainter(FACE, BITS), TypeError, 'mode "L" .* not ndarray'),
    "size": (
        lambda: MaskPainter(FACE, Image.new("L", (HEIGHT, WIDTH))),
        ValueError,
        r"18 x 29 pixels and the picture 29 x 18; .* mask\.resize",
    ),
    "mode": (
        lambda: MaskPainter(FACE, Image.new("F", (WIDTH, HEIGHT))),
        ValueError,
        r'mode \'F\'; convert it: mask\.convert\("L"\)',
    ),
    "colours": (
        lambda: MaskPainter(FACE, Image.new("RGB", (WIDTH, HEIGHT), "red")),
        ValueError,
        "has colours",
    ),
    "see-through": (
        lambda: MaskPainter(FACE, Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))),
        ValueError,
        "transparent parts",
    ),
    "shape": (lambda: MaskPainter(FACE, torch.zeros(3, 9, 9)), ValueError, r"not \(3, 9, 9\)"),
    "range": (lambda: MaskPainter(FACE, FACE[0]), ValueError, r"values in \[0, 1\]"),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
    painter = MaskPainter(FACE, as_image(BITS))
    with pytest.raises(ValueError, match="picture"):
        painter.mask = Image.new("L", (3, 3))
    assert np.array_equal(np.asarray(painter.mask), BITS * 255)
