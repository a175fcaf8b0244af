"""Figures: one display in a notebook, small files, the right pixels, errors that teach."""

from __future__ import annotations

import base64
import io

import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

from course_lib import plotting
from course_lib.portraits import PortraitDataset
from course_lib.schedules import NoiseSchedule

CURVE = {"train": ([1, 2, 3], [0.9, 0.5, 0.4])}
PANEL = {name: torch.zeros(3, 2) for name in ("points", "at", "arrows")}
ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.7}
SERIES = {"ddim": ([0.1, 0.2], [0.5, 0.1], [5, 10])}


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def every_figure() -> dict[str, Figure]:
    images = noise(3, 3, 8, 8).clamp(-1, 1)
    return {
        "image_grid": plotting.image_grid(images, ["a", "b", "c"]),
        "film_strip": plotting.film_strip({"x_t": images, "eps": images}, ["1", "2", "3"]),
        "before_after": plotting.before_after(images, images),
        "heatmap_grid": plotting.heatmap_grid({"nose": torch.rand(4, 4), "hat": torch.rand(4, 4)}),
        "schedule_curves": plotting.schedule_curves({"cosine": NoiseSchedule.cosine(50)}),
        "loss_curves": plotting.loss_curves(CURVE, log=True, smooth=0.5),
        "time_quality": plotting.time_quality(SERIES),
        "histogram_vs_normal": plotting.histogram_vs_normal(noise(1, 3, 8, 8)),
        "power_spectra": plotting.power_spectra({"noise": noise(2, 3, 8, 8)}),
        "vector_fields": plotting.vector_fields(
            {"t = 9": PANEL | {"paths": [noise(4, 2)]}}, xlim=(-2, 2), ylim=(-2, 2)
        ),
        "distribution": plotting.distribution({"ddim": [0.1, 0.2], "heun": [0.3, 0.1]}),
        "roc_curves": plotting.roc_curves({"a": ([0.0, 0.5, 1.0], [0.0, 0.9, 1.0])}),
        "interval_dots": plotting.interval_dots({"a": ESTIMATE, "b": ESTIMATE}, reference=0.5),
        "interval_curves": plotting.interval_curves({"mini": [(1, ESTIMATE), (2, 0.3, "two")]}),
    }


def test_every_figure_is_small_labelled_and_unknown_to_pyplot():
    import matplotlib.pyplot as plt

    for name, figure in every_figure().items():
        assert isinstance(figure, Figure) and figure.dpi <= 100, name
        data, metadata = figure._repr_mimebundle_()
        kind = next(iter(data))
        picture = base64.b64decode(data[kind])
        assert len(picture) < 100_000 and Image.open(io.BytesIO(picture)).width <= 850, name
        assert metadata[kind]["alt"], name
        drawn = [ax for ax in figure.axes if ax.axison]  # pictures have their axes off
        assert all(ax.get_ylabel() for ax in drawn), name
    assert plt.get_fignums() == []  # pyplot would show them a second time


def test_a_figure_is_displayed_exactly_once_by_a_kernel(tmp_path):
    """With pyplot imported (its inline backend registers formatters) and without."""
    setup = (
        "import torch\nfrom course_lib.plotting import image_grid, loss_curves\n"
        "x = torch.zeros(2, 3, 8, 8)"
    )
    draw = "image_grid(x)"
    sources = [setup, draw, "import matplotlib.pyplot as plt", draw, "f = image_grid(x)"]
    sources += ["plt.plot([1]); plt.show()\nloss_curves({'a': ([1, 2], [2, 1])})"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    pictures = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in cells
    ]
    assert pictures == [0, 1, 0, 1, 0, 2]  # the last cell: one by pyplot, one by us


def test_pixels_arrive_unchanged():
    """-1 is black, +1 full brightness; eps rows are shown from -3 to 3; beyond is clipped."""
    images = torch.stack([torch.full((3, 4, 4), v) for v in (-1.0, 0.0, 1.0, 2.5)])
    figure = plotting.film_strip({"x_t": images, "eps": images * 3})
    for row in (figure.axes[:4], figure.axes[4:]):
        shown = [int(np.asarray(ax.images[0].get_array())[0, 0, 0]) for ax in row]
        assert shown == [0, 128, 255, 255]  # 127.5 rounds to the even 128


def test_small_pictures_are_enlarged_by_whole_multiples():
    """One pixel of a picture covers k x k pixels of the page, none is stretched."""
    checker = (torch.arange(16).view(-1, 1) + torch.arange(16)) % 2
    figure = plotting.image_grid((checker * 2.0 - 1).expand(4, 3, 16, 16))
    box = figure.axes[0].get_window_extent()
    assert box.width == pytest.approx(round(box.width / 16) * 16, abs=1e-6)
    assert box.width == pytest.approx(box.height, abs=1e-6)


def test_white_noise_has_its_variance_at_every_frequency():
    """Parseval's theorem; 192 spectra with 8 frequencies in the smallest ring scatter by 3.6 %."""
    frequency, power = plotting.radial_power(2 * noise(64, 3, 32, 32))
    assert frequency.tolist() == list(range(1, 17))
    torch.testing.assert_close(power, torch.full_like(power, 4.0), rtol=0.15, atol=0)
    assert power.mean().item() == pytest.approx(4.0, rel=0.02)


def test_a_wave_has_power_at_its_own_frequency_only():
    wave = (2 * torch.pi * 5 * torch.arange(32) / 32).cos().expand(1, 1, 32, 32)
    _, power = plotting.radial_power(wave.double())
    assert int(power.argmax()) + 1 == 5 and power.sum() - power.max() < 1e-9
    # The variance, 1/2, is the mean over all frequencies, and only those of one ring have any
    axis = torch.fft.fftfreq(32, d=1 / 32)
    ring = int(((axis[:, None] ** 2 + axis**2).sqrt().round() == 5).sum())
    assert power.max().item() * ring / 32**2 == pytest.approx(0.5)


def test_arrows_end_where_they_should():
    at, arrows = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, -1.0]])
    panel = {"points": at, "at": at, "arrows": arrows, "paths": [torch.tensor([[1.0, 2], [3, 4]])]}
    ax = plotting.vector_fields({"a": panel}, xlim=(-2, 4), ylim=(-2, 4)).axes[0]
    quiver = ax.collections[0]
    assert (quiver.U.item(), quiver.V.item()) == (0.5, -1.0)
    assert quiver.scale == 1 and quiver.scale_units == "xy" and quiver.angles == "xy"
    ring, dot = ax.get_lines()[-2:]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, 2) and ring.get_fillstyle() == "none"
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (3, 4)


def test_a_palette_makes_curves_and_noise_small_and_leaves_clean_pictures_exact():
    pictures = noise(4, 3, 64, 64)
    exact, few = (plotting.image_grid(pictures, few_colors=few).png() for few in (False, True))
    assert len(few) < 0.6 * len(exact)
    assert Image.open(io.BytesIO(exact)).mode == "RGB"
    assert Image.open(io.BytesIO(plotting.loss_curves(CURVE).png())).mode == "P"


def test_a_notebook_gets_whichever_file_is_smaller():
    portraits = PortraitDataset(4, size=64).images()
    painted, plain = (plotting.image_grid(x) for x in (portraits, torch.zeros(4, 3, 8, 8)))
    for figure, kind in ((painted, "image/jpeg"), (plain, "image/png")):
        data, metadata = figure._repr_mimebundle_()
        assert list(data) == [kind, "text/plain"] and metadata[kind]["alt"]
        assert len(base64.b64decode(data[kind])) <= len(figure.png())
    assert "image/png" in plotting.loss_curves(CURVE)._repr_mimebundle_()[0]


def test_long_trajectories_are_thinned_evenly():
    figure = plotting.film_strip({"x_t": torch.zeros(100, 3, 8, 8)}, [str(i) for i in range(100)])
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == "0" and titles[-1] == "99" and len(titles) == 10


def test_lines_differ_in_more_than_colour():
    curves = {str(k): ([1, 2], [k + 1, k + 2]) for k in range(7)}
    lines = plotting.loss_curves(curves).axes[0].get_lines()
    assert len({line.get_color() for line in lines}) == 7
    assert len({line.get_marker() for line in lines}) == 7


def field(**changes):
    return plotting.vector_fields({"a": PANEL | changes}, xlim=(-1, 1), ylim=(-1, 1))


X = torch.zeros(2, 3, 8, 8)
BAD = [
    (lambda: plotting.image_grid(X[0]), r"images\[None\]"),
    (lambda: plotting.image_grid(X[:0]), "empty"),
    (lambda: plotting.image_grid([]), "empty"),
    (lambda: plotting.image_grid([X[0], X[0, :, :4]]), "mixes images of shapes"),
    (lambda: plotting.image_grid(X * float("nan")), "NaN"),
    (lambda: plotting.image_grid(X + 255), "127.5"),
    (lambda: plotting.image_grid(X.byte()), "torch.uint8"),
    (lambda: plotting.image_grid(torch.zeros(2, 4, 8, 8)), "4 channels.*latents"),
    (lambda: plotting.image_grid(X.numpy()), "ndarray"),
    (lambda: plotting.image_grid(X, ["one"]), "1 entries for 2 images"),
    (lambda: plotting.image_grid(X, columns=0), "columns must be at least 1"),
    (lambda: plotting.image_grid(X, scale=0), "scale must be positive"),
    (lambda: plotting.film_strip({}), "at least one row"),
    (lambda: plotting.film_strip({"a": X, "b": X[:1]}), "same number of frames"),
    (lambda: plotting.film_strip({"a": X}, ["1"]), "1 entries for 2 frames"),
    (lambda: plotting.before_after(X, X, names=("a", "a")), "different names"),
    (lambda: plotting.heatmap_grid({"a": X}), r"\(H, W\)"),
    (
        lambda: plotting.schedule_curves({"a": NoiseSchedule.cosine(5)}, ["sn"]),
        "Did you mean 'snr'",
    ),
    (lambda: plotting.schedule_curves({}), "at least one entry"),
    (lambda: plotting.loss_curves({"a": ([1], [1, 2])}), "1 steps but 2 losses"),
    (lambda: plotting.loss_curves({"a": ([1], [float("nan")])}), "diverge"),
    (lambda: plotting.loss_curves({"a": ([1], [0.0])}, log=True), "log=True"),
    (lambda: plotting.time_quality({"a": ([1, 2], [1, 2], [5])}), "must match"),
    (lambda: plotting.time_quality({"a": ([0, 2], [1, 2])}), "log axis"),
    (lambda: plotting.histogram_vs_normal(torch.zeros(0)), "at least one value"),
    (lambda: plotting.distribution({"a": []}), "empty"),
    (lambda: plotting.power_spectra({}), "at least one entry"),
    (lambda: plotting.radial_power(X[:, :, :4]), r"\(N, C, S, S\)"),
    (lambda: plotting.radial_power(X * float("nan")), "finite"),
    (lambda: field(at=torch.zeros(2, 2)), "3 arrows at 2 places"),
    (lambda: field(points=torch.zeros(3)), r"points of 'a' must have shape \(N, 2\)"),
    (lambda: field(arrows=PANEL["at"] * float("nan")), "arrows of 'a' contain NaN"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_intervals_reach_from_low_to_high():
    both = {"mini": {"a": ESTIMATE, "b": ESTIMATE}, "gan": {"a": ESTIMATE}}
    ax = plotting.interval_dots(both, xlabel="KID").axes[0]
    lines = [bar.get_segments()[0] for bar in ax.collections]
    assert [[x for x, _ in line] for line in lines] == [[0.4, 0.7]] * 3
    assert len({round(line[0][1], 2) for line in lines}) == 3  # side by side, not on top
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mini", "gan"]
    ax = plotting.interval_curves(
        {"w": [(ESTIMATE, 0.2, "1"), ({"value": 1, "low": 1, "high": 1.5}, 0.4, "2")]},
        levels={"painted": 0.9},
    ).axes[0]
    (bars,) = ax.collections
    np.testing.assert_allclose([s[:, 0] for s in bars.get_segments()], [[0.4, 0.7], [1, 1.5]])
    assert [text.get_text() for text in ax.texts] == ["painted", "1", "2"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "values"),
        ({"a": {"value": 1.0}}, "neither a number nor an estimate"),
        ({"a": {"value": float("nan"), "low": 0, "high": 1}}, "must be finite"),
    ],
)
def test_intervals_refuse_what_is_no_estimate(values, message):
    with pytest.raises(ValueError, match=message):
        plotting.interval_dots(values)
    with pytest.raises(ValueError, match="series|estimate|finite"):
        plotting.interval_curves({name: [(1, value)] for name, value in values.items()})


def test_interval_curves_name_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one point"):
        plotting.interval_curves({"a": [(1,)]})
    with pytest.raises(ValueError, match="on a log axis positive"):
        plotting.interval_curves({"a": [(1, 0.0)]}, log="y")
