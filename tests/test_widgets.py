"""TimestepStepper without a browser: what it sends, what readers without one see, bad input."""

from __future__ import annotations

import base64
import io
import re
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from course_lib.portraits import PortraitDataset
from course_lib.process import q_sample
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import to_uint8
from course_lib.widgets import ScheduleDesigner, TimestepStepper
from course_lib.widgets.sprite import pack_sprite

COSINE = NoiseSchedule.cosine(100)
VIEW = "application/vnd.jupyter.widget-view+json"


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tile(widget: TimestepStepper, row: int, index: int) -> np.ndarray:
    """Cut one frame out of the sprite as the page does."""
    layout = widget._layout
    sprite = np.asarray(Image.open(io.BytesIO(widget._sprite)).convert("RGB"))
    number = layout["at"][row][index]
    left = (number % layout["columns"]) * layout["width"]
    top = number // layout["columns"] * layout["height"]
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


def test_mse_and_histogram_are_those_of_the_raw_values():
    """Clipping to what can be drawn must not enter the numbers."""
    x_0, x = noise(3, 8, 8).clamp(-1, 1), noise(4, 3, 8, 8) * 2
    info = TimestepStepper({"x_t": x, "eps": x}, target=x_0, target_name="portrait")._info
    assert list(info["mse"]) == ["x_t"] and info["mse_to"] == "portrait"
    assert info["mse"]["x_t"] == pytest.approx(((x - x_0) ** 2).mean((1, 2, 3)).tolist(), rel=1e-4)
    bins = info["bins"]["x_t"]
    density = np.frombuffer(base64.b64decode(bins["bytes"]), np.uint8).reshape(4, bins["count"])
    edges = np.linspace(-4, 4, bins["count"] + 1)
    expected, _ = np.histogram(x[2].clamp(-4, 4).numpy(), edges, density=True)
    # 255 stands for 0.8, so a byte is 0.003; half of it is the rounding.
    assert np.allclose(density[2] / 255 * 0.8, expected.clip(0, 0.8), atol=0.002)
    assert bins["mean"][1] == pytest.approx(float(x[1].mean()), abs=1e-3)
    assert bins["std"][1] == pytest.approx(float(x[1].std(unbiased=False)), abs=1e-3)
    clean = TimestepStepper(x, timesteps=[9, 5, 2, -1], schedule=COSINE)._info["mse"]["x_t"]
    assert clean[3] == 0 and clean[0] > 1  # by default to the frame at t = -1
    assert TimestepStepper(x, timesteps=[9, 5, 2, -1], target=False)._info["mse"] == {}


def test_a_frame_that_stays_the_same_is_sent_once():
    eps = noise(1, 3, 32, 32)
    still = TimestepStepper({"eps": eps.expand(50, -1, -1, -1)})
    assert still._layout["at"] == [[0] * 50]
    assert len(still._sprite) < 2 * len(TimestepStepper({"eps": eps})._sprite)


def test_fifty_frames_of_128_pixels_fit_in_600_kilobytes():
    """The budget of a widget that shows noise, on a portrait as learners see it."""
    x_0 = PortraitDataset(1, size=128, seed=0, styles=["oil painting"]).images([0])
    times = torch.linspace(0, 99, 50).long().tolist()
    eps = noise(1, 3, 128, 128)
    frames = torch.cat([q_sample(x_0, t, COSINE, noise=eps) for t in times])
    rows = {"x_t": frames, "predicted x_0": x_0.expand_as(frames), "eps": eps.expand_as(frames)}
    assert len(TimestepStepper(rows, timesteps=times, schedule=COSINE)._sprite) <= 600_000


def test_attention_is_laid_over_the_predicted_picture():
    maps = torch.zeros(4, 2, 2)
    maps[:, 0] = 1  # the upper half is looked at
    grey = torch.zeros(4, 3, 8, 8)
    widget = TimestepStepper(
        {"x_t": grey, "predicted x_0": grey}, attention={"hair": maps, "red": 1 - maps}
    )
    assert widget._layout["rows"][2:] == ["attention hair", "attention red"]
    assert widget._info["lines"][0]["panels"][2] == {
        "title": "attention", "rows": [2, 3], "choices": ["hair", "red"],
    }  # fmt: skip
    shown = widget._strip_rows["attention hair"]
    assert shown[0, :, 0].mean() > shown[0, :, -1].mean() + 0.3


def test_compare_locks_trajectories_by_their_timesteps():
    """Three steps beside six: every moment shows the frame whose t is nearest."""
    few, many = list(trajectory(count=3)), list(trajectory(count=3))
    many = [
        Step(2 * k + j, s.t - 15 * j, *(s.x_t,) * 4) for k, s in enumerate(many) for j in (0, 1)
    ]
    widget = TimestepStepper.compare({"few": few, "many": many}, COSINE, rows=["x_t", "eps"])
    assert widget._info["t"] == [90, 75, 60, 45, 30, 15, -1]
    assert widget._layout["rows"] == ["few: x_t", "few: eps", "many: x_t", "many: eps"]
    assert widget._layout["limits"] == [1, 3, 1, 3]
    # 75 lies halfway between 90 and 60, where the earlier one stays; 15 is nearer to 30 than to -1.
    assert widget._layout["at"][0] == [0, 0, 1, 1, 2, 2, 3]
    titles = [[p["title"] for p in line["panels"]] for line in widget._info["lines"]]
    assert titles == [["x_t", "eps"], ["x_t", "eps"]]
    assert widget._info["mse"]["few: x_t"][-1] == 0


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
        assert list(data) == ["text/html", "image/png", "text/plain"]
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
    assert "export default live(MAIN" in script


def test_the_exported_page_holds_everything(tmp_path):
    caption = 'a </script> in "quotes" & <b>'
    widget = TimestepStepper(noise(3, 3, 8, 8), caption=caption, lossless=True)
    page = widget.export_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2  # the data cannot end its element
    assert base64.b64encode(widget._sprite).decode() in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    with pytest.raises(FileNotFoundError, match="make it first"):
        widget.export_html(tmp_path / "nowhere" / "page.html")


def test_the_output_is_a_page_unless_the_front_end_needs_a_view(monkeypatch):
    """What a notebook keeps must not depend on a kernel; Colab makes models only for views."""
    widget = TimestepStepper(noise(3, 3, 8, 8))
    data, _ = widget._repr_mimebundle_()
    assert base64.b64encode(widget._sprite).decode() in data["text/html"]
    # JupyterLab drops scripts and styles where it does not trust a notebook; the picture stays.
    bare = re.sub(r"<(script|style).*?</\1>", "", data["text/html"], flags=re.DOTALL)
    assert f"data:image/png;base64,{data['image/png']}" in bare
    forms = {}
    for form in ("page", "live", "picture"):
        monkeypatch.setenv("COURSE_WIDGETS", form)
        forms[form] = list(widget._repr_mimebundle_()[0])
    assert forms["page"] == ["text/html", "image/png", "text/plain"]
    assert VIEW in forms["live"] and forms["picture"] == ["image/png", "text/plain"]
    monkeypatch.setenv("COURSE_WIDGETS", "pages")
    with pytest.raises(ValueError, match="Did you mean 'page'"):
        widget._repr_mimebundle_()
    monkeypatch.delenv("COURSE_WIDGETS")
    monkeypatch.setitem(sys.modules, "google.colab", object())
    assert VIEW in ScheduleDesigner(x_0 := noise(3, 8, 8).clamp(-1, 1))._repr_mimebundle_()[0]
    assert VIEW not in TimestepStepper(x_0[None])._repr_mimebundle_()[0]


def test_python_answers_the_page():
    """Without an answer the page says that the kernel is gone."""
    widget = TimestepStepper(torch.zeros(2, 3, 8, 8))
    sent = []
    widget.send = lambda content, buffers=None: sent.append(content)
    widget._handle_custom_msg({"do": "ping"}, [])
    assert sent == [{"do": "heard"}]


def test_an_exception_of_a_callback_is_raised_and_shown():
    widget = TimestepStepper(torch.zeros(5, 3, 8, 8))

    def broken(change):
        raise RuntimeError("the callback broke")

    widget.observe(broken, "value")
    with pytest.raises(RuntimeError, match="broke"):
        widget.set_state({"value": 2})  # what the page sends
    assert "RuntimeError: the callback broke" in widget._problem
    assert "in broken, line" in widget._problem
    widget.unobserve(broken, "value")
    widget.set_state({"value": 3})
    assert widget._problem == "" and widget.value == 3


@dataclass
class Painted:
    """The fields of course_lib.pipelines.PaintStep."""

    i: int
    t: float
    latents: torch.Tensor
    x_0_hat: torch.Tensor
    latents_next: torch.Tensor
    total: int


@pytest.fixture
def pipe(monkeypatch):
    """A pipeline of three steps whose latents decode by enlargement; it records its settings."""
    from course_lib import pipelines

    seen = []

    def paint_steps(pipe, prompt, **settings):
        seen.append((prompt, settings))
        x = noise(3 * 3, 1, 4, 4, 4).clamp(-1, 1)
        for i in range(3):
            yield Painted(i, 66.0 - 33 * i, x[3 * i], x[3 * i + 1], x[3 * i + 2], 3)

    def decode(pipe, latents):
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=4)

    monkeypatch.setattr(pipelines, "paint_steps", paint_steps, raising=False)
    monkeypatch.setattr(pipelines, "decode_latents", decode, raising=False)
    scheduler = SimpleNamespace(alphas_cumprod=COSINE.alphas_cumprod)
    return SimpleNamespace(scheduler=scheduler, seen=seen)


def test_from_pipeline_sends_each_step_as_it_comes(pipe, monkeypatch):
    sent = []
    monkeypatch.setattr(
        TimestepStepper, "notify_change", lambda self, change: sent.append(change) or None
    )
    widget = TimestepStepper.from_pipeline(
        pipe, "a smile", rows=["x_t", "predicted x_0", "eps"], steps=3, seed=5, lossless=True
    )
    assert pipe.seen == [("a smile", {"steps": 3, "seed": 5})]
    sent = [change["new"] for change in sent if change["name"] == "_chunk" and change["new"]]
    assert [(c["index"], c["rows"], c["moment"]["t"]) for c in sent] == [
        (0, [0, 1, 2], 66.0), (1, [0, 1, 2], 33.0), (2, [0, 1, 2], 0.0),
    ]  # fmt: skip
    column = np.asarray(Image.open(io.BytesIO(sent[1]["data"])))
    assert column.shape == (3 * 16, 16, 3)
    # At the end the widget is as if it had been made of all frames at once, the last one shown.
    assert widget._info["t"] == [66, 33, 0, -1] and widget.value == 3
    assert widget._info["mse"]["x_t"][-1] == 0 and widget._info["mse_to"] == "result"
    x = noise(9, 1, 4, 4, 4).clamp(-1, 1)
    large = torch.nn.functional.interpolate(x[3, :, :3], scale_factor=4)[0]
    assert np.array_equal(tile(widget, 0, 1), to_uint8(large))
    alpha = float(COSINE.alphas_cumprod[33])
    eps = (x[3, 0, :3] - alpha**0.5 * x[4, 0, :3]) / (1 - alpha) ** 0.5
    assert np.abs(tile(widget, 2, 1)[0, 0] - to_uint8(eps[:, :1, :1] / 3)[0, 0]).max() <= 1


def test_from_pipeline_compares_settings(pipe):
    widget = TimestepStepper.from_pipeline(
        pipe, "a smile", compare={"w = 1": {"guidance": 1}, "w = 6": {"guidance": 6}}, seed=2
    )
    assert [s for _, s in pipe.seen] == [{"seed": 2, "guidance": 1}, {"seed": 2, "guidance": 6}]
    assert [line["label"] for line in widget._info["lines"]] == ["w = 1", "w = 6"]


def test_an_exception_of_the_pipeline_is_raised(pipe, monkeypatch):
    from course_lib import pipelines

    def broken(pipe, prompt):
        yield from ()
        raise MemoryError("no room for the U-Net")

    monkeypatch.setattr(pipelines, "paint_steps", broken)
    with pytest.raises(MemoryError, match="no room"):
        TimestepStepper.from_pipeline(pipe, "a smile")


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
    "lines leave out": (
        lambda: TimestepStepper({"a": X, "b": X}, lines={"l": ["a"]}),
        "leaves out",
    ),
    "lines": (lambda: TimestepStepper(X, lines=["x_t"]), "must be a dict"),
    "line row": (lambda: TimestepStepper(X, lines={"l": ["x_u"]}), "Did you mean 'x_t'"),
    "target": (lambda: TimestepStepper(X, target=X[0, :, :4]), "one picture"),
    "target nan": (lambda: TimestepStepper(X, target=X[0] * float("nan")), "NaN"),
    "maps": (lambda: TimestepStepper(X, attention={"a": torch.zeros(3, 2, 2)}), "N = 4"),
    "map range": (lambda: TimestepStepper(X, attention={"a": X[:, 0] + 2}), r"\[0, 1\]"),
    "nothing to compare": (lambda: TimestepStepper.compare({}), "must be a dict"),
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
