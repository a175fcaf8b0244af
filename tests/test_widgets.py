"""TimestepStepper without a browser: what it sends, what readers without one see, bad input."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from course_lib.schedules import NoiseSchedule
from course_lib.tensors import to_uint8
from course_lib.widgets import TimestepStepper
from course_lib.widgets.sprite import pack_sprite

COSINE = NoiseSchedule.cosine(100)
VIEW = "application/vnd.jupyter.widget-view+json"


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tile(widget: TimestepStepper, row: int, index: int) -> np.ndarray:
    """Cut one frame out of the sprite as the page does."""
    layout = widget._layout
    sprite = np.asarray(Image.open(io.BytesIO(widget._sprite)).convert("RGB"))
    left = (index % layout["columns"]) * layout["width"]
    top = (index // layout["columns"] * len(layout["rows"]) + row) * layout["height"]
    return sprite[top : top + layout["height"], left : left + layout["width"]]


@dataclass
class Step:
    """The fields of course_lib.samplers.SampleStep that the widget reads."""

    i: int
    t: int
    x_t: torch.Tensor
    x_0_hat: torch.Tensor
    eps_hat: torch.Tensor
    x_prev: torch.Tensor


def trajectory(batch: int = 2, count: int = 3):
    x = noise(4 * count, batch, 3, 8, 8)
    for i in range(count):
        yield Step(i, 90 - 30 * i, x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3])


@pytest.mark.parametrize("shape", [(7, 3, 8, 8), (5, 1, 6, 10), (1, 3, 4, 4), (50, 3, 16, 16)])
def test_lossless_frames_are_exact_wherever_they_lie_in_the_sprite(shape):
    rows = {"x_t": noise(*shape), "eps": noise(*shape).flip(0)}
    widget = TimestepStepper(rows, lossless=True)
    for index in range(shape[0]):
        for row, scale in enumerate((1, 3)):  # eps is shown from -3 to 3
            frame = list(rows.values())[row][index] / scale
            expected = np.broadcast_to(to_uint8(frame), (*shape[2:], 3))
            assert np.array_equal(tile(widget, row, index), expected)


def test_lossy_frames_are_close_and_small():
    """Smooth pictures survive WebP at quality 80 to about 2 % of the range on average."""
    wave = torch.sin(torch.linspace(0, 3, 64)).view(1, 1, 1, -1).repeat(10, 3, 64, 1)
    widget = TimestepStepper(wave)
    error = np.abs(tile(widget, 0, 4).astype(int) - to_uint8(wave[4]).astype(int)).mean()
    assert error < 5
    pure_noise = noise(50, 3, 64, 64)
    packed = len(TimestepStepper(pure_noise)._sprite)
    assert packed < 0.35 * len(TimestepStepper(pure_noise, lossless=True)._sprite)


def test_numbers_beside_a_frame():
    widget = TimestepStepper(
        torch.zeros(4, 3, 8, 8), timesteps=[99, 20, 0.5, -1], schedule=COSINE, titles=list("abcd")
    )
    info, alphas = widget._info, COSINE.alphas_cumprod
    assert info["t"] == [99, 20, 0.5, -1] and info["titles"] == list("abcd")
    expected = [float(alphas[99]), float(alphas[20]), float(alphas[:2].mean()), 1.0]
    assert info["alpha_bar"] == pytest.approx(expected, rel=1e-12)
    assert info["snr"][1] == pytest.approx(float(COSINE.snr[20]), rel=1e-9)
    assert info["snr"][3] is None  # infinite: JSON has no infinity
    bare = TimestepStepper(torch.zeros(100, 3, 8, 8), alphas_cumprod=alphas)
    assert bare._info["t"] == list(range(100)) and len(bare._info["curve"]["t"]) == 100


def test_from_trajectory_ends_with_the_result():
    steps = list(trajectory())
    widget = TimestepStepper.from_trajectory(trajectory(), COSINE, sample=1, lossless=True)
    assert widget._layout["rows"] == ["x_t", "predicted x_0", "eps"]
    assert widget._info["t"] == [90, 60, 30, -1]
    assert repr(widget).endswith("t = 90 ... clean)")
    assert np.array_equal(tile(widget, 0, 1), to_uint8(steps[1].x_t[1]))
    assert np.array_equal(tile(widget, 0, 3), to_uint8(steps[2].x_prev[1]))
    assert np.array_equal(tile(widget, 1, 3), to_uint8(steps[2].x_0_hat[1]))
    assert np.array_equal(tile(widget, 2, 0), to_uint8(steps[0].eps_hat[1] / 3))
    one = TimestepStepper.from_trajectory(trajectory(), rows="predicted x_0")
    assert one._layout["rows"] == ["predicted x_0"] and one._info["curve"] is None


def test_an_early_prediction_far_beyond_the_range_is_clipped_not_refused():
    """At t = 999 the error of a predicted x_0 is multiplied by 100 and more."""
    wild = noise(2, 3, 8, 8) * 150
    widget = TimestepStepper({"predicted x_0": wild}, lossless=True)
    assert np.array_equal(tile(widget, 0, 1), to_uint8(wild[1].clamp(-1, 1)))


def test_readers_without_the_widget_see_a_film_strip():
    """GitHub and exporters take image/png; its alt text and text/plain do not vary."""
    options = {"schedule": COSINE, "timesteps": range(0, 100, 2), "caption": "Noising a face"}
    bundles = [
        TimestepStepper({"x_t": noise(50, 3, 64, 64)}, **options)._repr_mimebundle_()
        for _ in range(2)
    ]
    for data, metadata in bundles:
        assert data[VIEW]["model_id"]
        assert metadata["image/png"]["alt"] == "Noising a face"
        assert (
            data["text/plain"] == "TimestepStepper(50 frames of 64 x 64; rows: x_t; t = 0 ... 98)"
        )
    assert bundles[0][0]["image/png"] == bundles[1][0]["image/png"]
    png = base64.b64decode(bundles[0][0]["image/png"])
    strip = Image.open(io.BytesIO(png))
    assert strip.width > 8 * 64 and strip.height >= 64
    assert len(png) < 100_000  # eight frames of noise: a notebook holds several
    figure = TimestepStepper({"x_t": noise(50, 3, 64, 64)}, **options).film_strip()
    assert [ax.get_title() for ax in figure.axes][:2] == ["t = 0", "t = 14"]
    assert figure.axes[-1].get_title() == "t = 98"


def test_value_moves_and_reports():
    widget = TimestepStepper(torch.zeros(5, 3, 8, 8), value=2)
    heard = []
    widget.observe(lambda change: heard.append(change["new"]), "value")
    widget.value = 4
    assert heard == [4]
    with pytest.raises(traitlets.TraitError, match=r"0\.\.4, not 5"):
        widget.value = 5
    assert widget.value == 4


def test_the_page_script_needs_no_network():
    script = TimestepStepper._esm + TimestepStepper._css
    # The one address is the name of the SVG namespace, which nobody fetches.
    addresses = script.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in addresses and "import " not in addresses
    assert "export default { render }" in script


def test_widgets_do_not_load_diffusers():
    code = (
        "import sys, course_lib.widgets; "
        "print([m for m in ('diffusers', 'transformers', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


X = torch.zeros(4, 3, 8, 8)
BAD = {
    "empty tensor": (lambda: TimestepStepper(X[:0]), "empty"),
    "empty dict": (lambda: TimestepStepper({}), "empty"),
    "empty list": (lambda: TimestepStepper([]), "empty"),
    "one image": (lambda: TimestepStepper(X[0]), r"\(N, C, H, W\)"),
    "mixed sizes": (lambda: TimestepStepper([X[0], X[0, :, :4]]), "mixes images of shapes"),
    "rows differ": (lambda: TimestepStepper({"a": X, "b": X[..., :4]}), "the same size"),
    "counts differ": (lambda: TimestepStepper({"a": X, "b": X[:2]}), "same number of frames"),
    "nan": (lambda: TimestepStepper(X * float("nan")), "NaN"),
    "bytes range": (lambda: TimestepStepper(X + 200), r"200 to 200, outside \[-1, 1\]"),
    "integers": (lambda: TimestepStepper(X.byte()), "uint8"),
    "latents": (lambda: TimestepStepper(torch.zeros(2, 4, 8, 8)), "4 channels"),
    "row name": (lambda: TimestepStepper({"x_t": X}, rows=["x_y"]), "Did you mean 'x_t'"),
    "limit name": (lambda: TimestepStepper(X, limits={"x_u": 2}), "Did you mean 'x_t'"),
    "times": (lambda: TimestepStepper(X, timesteps=[1]), "1 entries for 4 frames"),
    "t too large": (
        lambda: TimestepStepper(X, timesteps=[0, 1, 2, 100], schedule=COSINE),
        r"timestep 100 is outside 0\.\.99",
    ),
    "no times": (lambda: TimestepStepper(X, schedule=COSINE), r"timesteps=\[\.\.\.\]"),
    "two schedules": (
        lambda: TimestepStepper(X, schedule=COSINE, alphas_cumprod=COSINE.alphas_cumprod),
        "not both",
    ),
    "no schedule": (lambda: TimestepStepper(X, schedule=[0.1]), "must be a NoiseSchedule"),
    "alphas": (lambda: TimestepStepper(X, alphas_cumprod=[1.0, 2.0]), r"numbers in \[0, 1\]"),
    "titles": (lambda: TimestepStepper(X, titles=["a"]), "1 entries for 4 frames"),
    "quality": (lambda: TimestepStepper(X, quality=0), r"1\.\.100"),
    "fps": (lambda: TimestepStepper(X, fps=0), "fps"),
    "value": (lambda: TimestepStepper(X, value=4), r"0\.\.3, not 4"),
    "frame size": (lambda: TimestepStepper(X, frame_size=2), r"16\.\.1024"),
    "too much": (lambda: pack_sprite({"a": X[:1].expand(700_000, 3, 8, 8)}), r"frames\[::2\]"),
    "sample": (lambda: TimestepStepper.from_trajectory(trajectory(), sample=2), r"0\.\.1"),
    "field": (lambda: TimestepStepper.from_trajectory(trajectory(), rows="x"), "Unknown row"),
    "used up": (lambda: TimestepStepper.from_trajectory([]), "only once"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()
