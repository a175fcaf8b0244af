"""Designer, grid, explorer, studio without a browser: numbers, painting, still pictures, errors."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from course_lib.mini.config import MINI_PORTRAITS
from course_lib.portraits import VOCABULARY, parse_caption, sample_attributes, visible_attributes
from course_lib.process import q_sample
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import to_uint8
from course_lib.widgets import AttentionExplorer, GuidanceGrid, PortraitStudio, ScheduleDesigner
from course_lib.widgets.designer import HANDLES
from course_lib.widgets.messages import one_sentence
from course_lib.widgets.progress import with_bar
from course_lib.widgets.studio_words import GROUPS, compose_prompt, random_choices

VIEW = "application/vnd.jupyter.widget-view+json"
FACE = torch.linspace(-1, 1, 3 * 16 * 16).reshape(3, 16, 16)
POINTS = [4.5, 3, 2, 1, 0, -1.5, -3, -4]


def tile(sprite: bytes, layout: dict, row: int, index: int) -> np.ndarray:
    """Cut one frame out of a sprite as the page does."""
    picture = np.asarray(Image.open(io.BytesIO(sprite)).convert("RGB"))
    number = layout["at"][row][index]
    left = (number % layout["columns"]) * layout["width"]
    top = number // layout["columns"] * layout["height"]
    return picture[top : top + layout["height"], left : left + layout["width"]]


def flat(value: float, size: int = 16) -> torch.Tensor:
    return torch.full((3, size, size), value)


# ---- designer


def test_each_kind_gives_the_course_s_own_schedule():
    for kind in ("linear", "scaled_linear", "cosine"):
        made = ScheduleDesigner(FACE, kind=kind, num_timesteps=50).schedule
        assert torch.equal(made.betas, NoiseSchedule.named(kind, 50).betas)
    own = ScheduleDesigner(FACE, beta_start=0.001, beta_end=0.1, num_timesteps=20).schedule
    assert torch.equal(own.betas, NoiseSchedule.linear(20, beta_start=0.001, beta_end=0.1).betas)


@pytest.mark.parametrize("count", [2, 10, 1001, 10_000])
def test_a_schedule_by_hand_goes_through_its_handles_and_falls(count):
    """A valid NoiseSchedule has every beta in (0, 1), so making one proves that it falls."""
    schedule = ScheduleDesigner(FACE, points=POINTS, num_timesteps=count).schedule
    log_snr = schedule.snr.log10()
    assert schedule.num_timesteps == count
    assert float(log_snr[0]) == pytest.approx(POINTS[0], abs=1e-6)
    assert float(log_snr[-1]) == pytest.approx(POINTS[-1], abs=1e-6)
    if count == 1001:  # every handle lies on a whole timestep
        at = [round(u * 1000) for u in HANDLES]
        assert log_snr[at].tolist() == pytest.approx(POINTS, abs=1e-6)


def test_points_on_a_line_give_a_straight_log_snr():
    """A cubic through points of one straight line is that line."""
    points = [4 - 8 * u for u in HANDLES]
    log_snr = ScheduleDesigner(FACE, points=points, num_timesteps=101).schedule.snr.log10()
    line = torch.linspace(4, -4, 101, dtype=torch.float64)
    assert torch.allclose(log_snr, line, atol=1e-8)


def test_the_tightest_points_still_make_a_schedule():
    tight = [5 - 0.02 * k for k in range(8)]
    assert ScheduleDesigner(FACE, points=tight, num_timesteps=10_000).schedule.num_timesteps
    late = [*tight[:7], -5]
    assert float(ScheduleDesigner(FACE, points=late).schedule.alphas_cumprod[-1]) < 2e-5


def test_the_noised_portrait_is_that_of_q_sample():
    designer = ScheduleDesigner(FACE, kind="cosine", num_timesteps=100, t=40, seed=5)
    # The page gets picture and noise rounded to 8 and 16 bits.
    noise = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(5))
    expected = q_sample(FACE[None], torch.tensor([40]), designer.schedule, noise=noise[None])
    assert torch.allclose(designer.noised(), expected, atol=1 / 127.5)
    sent = np.frombuffer(designer._noise, "<i2").reshape(16, 16, 3) / 6000
    assert np.allclose(sent, noise.movedim(0, -1).numpy(), atol=1e-4)
    shown = np.frombuffer(designer._pixels, np.uint8).reshape(16, 16, 3)
    assert np.array_equal(shown, to_uint8(FACE))


def test_the_designer_s_traits_follow_python():
    designer = ScheduleDesigner(FACE, num_timesteps=100, t=90)
    designer.points = POINTS
    assert designer.kind == "custom" and designer.schedule.name == "custom"
    designer.num_timesteps = 10
    assert designer.t == 9 and designer.schedule.num_timesteps == 10
    for name, value in (("t", 10), ("kind", "cosin"), ("beta_end", 1e-5), ("points", [1.0])):
        before = getattr(designer, name)
        with pytest.raises(traitlets.TraitError):
            setattr(designer, name, value)
        assert getattr(designer, name) == before


def test_the_default_portrait_and_large_ones():
    assert len(ScheduleDesigner()._pixels) == 96 * 96 * 3
    wide = ScheduleDesigner(torch.zeros(3, 100, 400))._info
    assert (wide["width"], wide["height"]) == (128, 32)
    assert ScheduleDesigner(Image.new("RGB", (20, 10)))._info["width"] == 20


# ---- grid


def make_grid(**options) -> GuidanceGrid:
    keys = [(s, g, k) for s in (4, 20) for g in (1.0, 3.0, 7.5) for k in (0, 9)]
    images = {key: flat(-1 + 2 * i / 11) for i, key in enumerate(keys)}
    shuffled = dict(sorted(images.items(), key=lambda item: hash(item[0])))
    return GuidanceGrid(shuffled, **options)


def test_every_picture_is_found_where_it_belongs():
    grid = make_grid(quality=100)
    assert (grid.steps, grid.guidance, grid.seed) == (20, 3.0, 0)
    index = 0
    for grid.steps in (4, 20):
        for grid.guidance in (1.0, 3.0, 7.5):
            for grid.seed in (0, 9):
                value = -1 + 2 * index / 11
                assert float(grid.picture().mean()) == pytest.approx(value, abs=1e-6)
                # WebP at quality 100 keeps a flat colour within two byte levels.
                shown = tile(grid._sprite, grid._layout, 0, index)
                assert abs(float(shown.mean()) - (value + 1) * 127.5) < 2
                index += 1
    with pytest.raises(traitlets.TraitError, match="no picture with guidance = 2.0"):
        grid.guidance = 2.0


def test_the_axes_of_a_grid_can_have_other_names():
    grid = make_grid(labels={"guidance": "strength"})
    assert grid._info["labels"] == {"steps": "steps", "guidance": "strength", "seed": "seed"}
    assert grid.still().axes[0].get_title().replace("\n", " ") == "4 steps, strength 1"
    with pytest.raises(ValueError, match="axis 'force'"):
        make_grid(labels={"force": "x"})


def test_a_grid_paints_what_it_says():
    calls = []

    def paint(prompt, model, **options):
        calls.append((prompt, model, options))
        return [Image.new("RGB", (8, 8), (options["steps"], 0, 0))]

    grid = GuidanceGrid.from_pipeline(
        "pipe", "a man", steps=(2, 50), guidance=(1, 4), seeds=(7,), negative_prompt="hat",
        progress=False, backend=SimpleNamespace(paint=paint), frame_size=100,
    )  # fmt: skip
    assert [(c[2]["steps"], c[2]["guidance"], c[2]["seed"]) for c in calls] == [
        (2, 1, 7), (2, 4, 7), (50, 1, 7), (50, 4, 7),
    ]  # fmt: skip
    assert calls[0][:2] == ("a man", "pipe") and calls[0][2]["negative_prompt"] == "hat"
    assert grid._info["caption"] == "a man" and repr(grid).startswith("GuidanceGrid(2 steps")


def test_a_bar_in_a_notebook_is_html_and_goes_when_it_ends(monkeypatch):
    """tqdm's own is a widget, which a saved notebook cannot show."""
    shown = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data))
    monkeypatch.setattr("course_lib.widgets.progress.kernel_shell", lambda: object())
    monkeypatch.setattr(
        "IPython.display.display", lambda data, **options: shown.append(data) or handle
    )
    assert list(with_bar(["a", "b"], "Painting")) == ["a", "b"]
    assert [one["text/plain"] for one in shown] == [
        "Painting 0 / 2", "Painting 1 / 2", "Painting 2 / 2", "",
    ]  # fmt: skip
    assert all(set(one) <= {"text/plain", "text/html"} for one in shown)
    with pytest.raises(KeyError):
        for _ in with_bar(["a", "b"], "Painting"):
            raise KeyError
    assert shown[-1] == {"text/plain": ""}


# ---- explorer


def make_maps(steps: int = 3) -> dict[str, torch.Tensor]:
    ramp = torch.linspace(0, 1, 4).repeat(steps, 4, 1)
    return {"red": ramp * 0.5, "round glasses": ramp.flip(-1), "glasses": ramp * 0.01}


def test_maps_are_shown_from_their_own_least_to_their_own_most():
    explorer = AttentionExplorer(FACE, make_maps(), timesteps=[9, 5, 0])
    assert [most for _, most in explorer._info["scales"]] == pytest.approx([0.5, 1.0, 0.01])
    for word in range(3):
        shown = tile(explorer._maps, explorer._map_layout, word, 1)[0, :, 0].tolist()
        expected = [0, 85, 170, 255]
        assert shown == (expected[::-1] if word == 1 else expected)
    # Even maps stay even; a tenth is what their ripples are measured by.
    ripples = {"and": 0.5 + 0.01 * make_maps()["red"], "so": torch.full((3, 4, 4), 0.2)}
    flat_ones = AttentionExplorer(FACE, ripples)
    assert tile(flat_ones._maps, flat_ones._map_layout, 0, 0).max() == round(255 * 0.005 / 0.0505)
    assert tile(flat_ones._maps, flat_ones._map_layout, 1, 0).max() == 0
    assert explorer.value == 2 and explorer.word == "red"
    # One picture for all steps travels once.
    assert explorer._layout["at"] == [[0, 0, 0]]


def test_the_prompt_is_cut_at_its_words():
    explorer = AttentionExplorer(
        FACE, make_maps(), prompt="A Red-haired man in red, with round glasses"
    )
    assert explorer._info["pieces"] == [
        ["A Red-haired man in", -1], ["red", 0], [", with", -1], ["round glasses", 1],
        ["glasses", 2],
    ]  # fmt: skip


def test_an_explorer_records_while_it_paints():
    events = []

    @contextmanager
    def record_attention(pipe):
        events.append("begin")
        yield SimpleNamespace(for_word=lambda pipe, prompt, word: make_maps(3)["red"])
        events.append("end")

    def paint_steps(pipe, prompt, **options):
        for i in range(3):
            events.append(options["seed"])
            yield SimpleNamespace(t=30 - 10 * i, x_0_hat=flat(0.1 * i)[None])

    backend = SimpleNamespace(
        record_attention=record_attention, paint_steps=paint_steps, decode_latents=lambda _, z: z
    )
    explorer = AttentionExplorer.from_pipeline(
        "pipe", "a woman with a red hat", seed=4, backend=backend
    )
    assert events == ["begin", 4, 4, 4, "end"]
    assert explorer._map_layout["rows"] == ["woman", "red", "hat"]
    assert explorer._info["t"] == [30, 20, 10]
    assert repr(explorer) == "AttentionExplorer(3 steps; words: woman, red, hat)"


# ---- studio


class FakeBackend:
    """Paints a picture that brightens with each step; `gate` lets one step through at a time."""

    def __init__(self, total: int = 4, gate: threading.Semaphore | None = None) -> None:
        self.total, self.gate, self.orders = total, gate, []
        self.failure: Exception | None = None

    def load(self, model):
        return f"loaded {model}"

    def stream(self, pipe, order):
        self.orders.append((pipe, order))
        for i in range(self.total):
            if self.gate:
                assert self.gate.acquire(timeout=20)
            if self.failure and i == 2:
                raise self.failure
            now, after = (flat(k / self.total)[None] for k in (i, i + 1))
            yield SimpleNamespace(i=i, t=9.0 - i, total=self.total, x_0_hat=now, latents_next=after)

    def decode(self, pipe, latents):
        return latents


def test_every_choice_can_be_said_and_is_understood():
    """The prompt reads back to exactly what was chosen; the parser is the captions' own."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        person = sample_attributes(rng)
        said = {name: getattr(person, name) for name in visible_attributes(person)}
        said = {k: v for k, v in said.items() if v != "none" and rng.random() < 0.5}
        if said.get("hair_style") == "bald" and "facial_hair" not in said:
            said.pop("hair_color", None)  # the colour of no hair
        understood = {k: v for k, v in parse_caption(compose_prompt(said)).items() if v != "none"}
        assert understood == said, compose_prompt(said)
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(VOCABULARY)
    assert compose_prompt({}, " a cat ") == "a cat"
    assert compose_prompt({"gender": "man", "eyewear": "none"}, "1920s") == "a man, 1920s"


def test_the_studio_offers_what_the_model_has_learned():
    def offered(studio):
        groups = studio._info["groups"]
        return {field["name"]: field["options"] for group in groups for field in group["fields"]}

    mini = PortraitStudio("mini")
    assert offered(mini)["style"] == list(MINI_PORTRAITS["style"])
    assert "pose" not in offered(mini)  # one value is no choice
    assert mini._info["defaults"].keys() == {"steps", "guidance"}
    rng = np.random.default_rng(0)
    for _ in range(200):
        # A surprise says nothing that the lists do not show.
        chosen = random_choices(rng, mini._info["groups"], MINI_PORTRAITS)
        assert chosen and all(value in offered(mini)[name] for name, value in chosen.items())
    assert offered(PortraitStudio("sd15"))["style"] == list(VOCABULARY["style"])


def test_painting_reports_every_step_and_keeps_the_picture(tmp_path):
    backend = FakeBackend()
    studio = PortraitStudio(
        "any", choices={"gender": "woman"}, prompt="in snow", seed=3, backend=backend
    )
    seen = []
    studio.observe(lambda change: seen.append(change["new"]), "_status")
    studio.negative_prompt, studio.steps, studio.guidance = "hat", 4, 2.5
    studio.paint()
    image = studio.wait(20)
    assert [(s["state"], s.get("i")) for s in seen] == [
        ("loading", None), ("painting", 0), ("painting", 1), ("painting", 2), ("painting", 3),
        ("painting", 4), ("done", None),
    ]  # fmt: skip
    pipe, order = backend.orders[0]
    assert (pipe, order.prompt, order.negative_prompt) == ("loaded any", "a woman, in snow", "hat")
    assert (order.seed, order.steps, order.guidance) == (3, 4, 2.5)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    entry = studio._gallery[0]
    assert entry["caption"] == "a woman, in snow (seed 3, 4 steps, guidance 2.5)"
    assert Image.open(io.BytesIO(entry["picture"])).size == (16, 16)
    assert entry["settings"]["choices"] == {"gender": "woman"}
    saved = studio.save(tmp_path / "new folder" / "x.png")
    assert np.array_equal(np.asarray(Image.open(saved)), np.asarray(image))
    with pytest.raises(ValueError, match="must end in .png"):
        studio.save(tmp_path / "x.jpg")
    studio.prompt = "someone else"
    assert studio.choices == {} and studio._prompt == "someone else"


def test_painting_can_be_stopped_and_begun_again():
    gate = threading.Semaphore(0)
    studio = PortraitStudio(prompt="x", backend=FakeBackend(total=50, gate=gate))
    studio.paint()
    with pytest.raises(RuntimeError, match="being painted"):
        studio.paint()
    with pytest.raises(TimeoutError):
        studio.wait(0.01)
    gate.release(2)
    studio.stop()
    gate.release(2)
    assert studio.wait(20) is None and studio._status["state"] == "stopped"
    assert not studio.gallery
    gate.release(50)
    studio.paint()
    assert studio.wait(20) is not None and len(studio.gallery) == 1


def test_errors_are_told_on_the_page_and_in_python():
    backend = FakeBackend()
    backend.failure = MemoryError("the picture is too large")
    studio = PortraitStudio(prompt="x", backend=backend)
    for serial in range(2):  # the same failure twice is told twice
        before = studio._status.get("serial", 0)
        studio._hear_page(studio, {"do": "paint"}, [])
        with pytest.raises(MemoryError, match="too large"):
            studio.wait(20)
        assert studio._status["state"] == "error", serial
        assert "MemoryError: the picture is too large" in studio._status["text"]
        assert studio._status["serial"] > before
    backend.failure = None
    studio.paint()
    assert studio.wait(20) is not None


def test_the_page_s_wishes():
    studio = PortraitStudio(backend=FakeBackend())
    sent = []
    studio.send = lambda content, buffers=None: sent.append((content, buffers))
    studio._hear_page(studio, {"do": "paint"}, [])
    assert studio._status["text"].startswith("the prompt is empty")
    studio._hear_page(studio, {"do": "dance"}, [])
    assert "'dance'" in studio._status["text"]
    studio.words = "in the rain"
    studio._hear_page(studio, {"do": "surprise"}, [])
    studio.wait(20)  # a surprise is painted at once, and the form shows what it is
    painted = studio.gallery[0].settings
    assert painted["prompt"] == compose_prompt(studio.choices) and painted["seed"] == studio.seed
    studio._hear_page(studio, {"do": "save", "number": 0}, [])
    content, buffers = sent[0]
    assert re.fullmatch(r"[a-z0-9-]+-\d+\.png", content["name"])
    assert Image.open(io.BytesIO(buffers[0])).format == "PNG"


def test_notices_and_warnings_reach_the_page_each_time():
    place = {"filename": "prompts.py", "lineno": 1, "module": "course_lib.prompts", "registry": {}}

    class Warned(FakeBackend):
        def notices(self, pipe, order):
            return [f"the mini does not know: {order.prompt}."]

        def decode(self, pipe, latents):
            warnings.warn_explicit("the prompt is long.", UserWarning, **place)
            return latents

    studio = PortraitStudio(prompt="a dog", backend=Warned())
    told = ["the mini does not know: a dog.", "the prompt is long."]
    for _ in range(2):
        studio.paint()
        studio.wait(20)
        assert studio._status["state"] == "done" and studio._status["notices"] == told
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)  # another thread's go where they went
    assert studio._status["notices"] == told


def test_a_studio_waits_for_another_painting_and_can_be_stopped():
    class Shared(FakeBackend):
        held = threading.Lock()

        def lock(self, pipe):
            return self.held

    studio = PortraitStudio(prompt="x", backend=Shared())
    waiting, seen = threading.Event(), []
    studio.observe(lambda change: seen.append(change["new"]["text"]), "_status")
    studio.observe(lambda change: change["new"]["state"] == "waiting" and waiting.set(), "_status")
    for stopped in (True, False):
        with Shared.held:
            studio.paint()
            assert waiting.wait(20) and seen[-1] == "Waiting for the other painting ..."
            waiting.clear()
            if stopped:
                studio.stop()
                studio.wait(20)
        studio.wait(20)
        assert studio._status["state"] == ("stopped" if stopped else "done")


def test_errors_are_one_sentence():
    assert (
        one_sentence(ValueError("size must be\n a multiple of 8"))
        == "size must be a multiple of 8."
    )
    assert one_sentence(MemoryError()) == "MemoryError."
    assert len(one_sentence(RuntimeError("x " * 900))) < 450


def test_a_prompt_of_2000_characters_is_clamped_with_a_count():
    words = "a woman with a very " + "long " * 396
    studio = PortraitStudio(prompt=words, backend=FakeBackend())
    studio.paint()
    studio.wait(20)
    assert studio.gallery[0].settings["prompt"] == words.strip()
    shown = studio._gallery[0]["caption"]
    assert len(shown) < 220 and "(1,999 characters)" in shown and shown.endswith("(seed 0)")
    assert len(studio.alt_text()) < 250 and studio.still().axes
    assert studio.still().axes[0].get_title() == "seed 0"


def test_a_pipeline_without_steps_paints_in_one_go():
    class Whole(FakeBackend):
        def stream(self, pipe, order):
            return None

        def whole(self, pipe, order):
            return Image.new("RGB", (8, 8), "navy")

    studio = PortraitStudio(prompt="x", backend=Whole())
    studio.paint()
    assert studio.wait(20).getpixel((0, 0)) == (0, 0, 128)


# ---- all of them


def painted_studio() -> PortraitStudio:
    studio = PortraitStudio(prompt="a man", backend=FakeBackend())
    studio.paint()
    studio.wait(20)
    return studio


WIDGETS = {
    "designer": (lambda: ScheduleDesigner(FACE, caption="Drag it"), "Drag it"),
    "grid": (lambda: make_grid(caption="a prompt"), "a prompt"),
    "explorer": (lambda: AttentionExplorer(FACE, make_maps(), alt="maps"), "maps (word: red)"),
    "studio": (painted_studio, "Portrait studio: a man (seed 0)"),
    "empty studio": (
        lambda: PortraitStudio(backend=FakeBackend()),
        "Portrait studio: nothing painted yet",
    ),
}


@pytest.mark.parametrize(("make", "alt"), WIDGETS.values(), ids=WIDGETS)
def test_readers_without_the_widget(make, alt, tmp_path):
    widget = make()
    data, metadata = widget._repr_mimebundle_()
    assert VIEW not in data and data["text/plain"] == repr(widget)
    assert metadata["image/png"]["alt"] == alt
    picture = base64.b64decode(data["image/png"])
    assert Image.open(io.BytesIO(picture)).width > 60 and len(picture) < 100_000
    assert data["image/png"] == widget._repr_mimebundle_()[0]["image/png"]
    assert f'data-course-widget="{widget.model_id}"' in data["text/html"]
    page = widget.export_html(tmp_path / "page.html").read_text(encoding="utf-8")
    # The one address is the name of the SVG namespace, which nobody fetches.
    addresses = page.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in addresses and "import " not in addresses
    with pytest.raises(FileNotFoundError, match="no folder"):
        widget.export_html(tmp_path / "nowhere" / "page.html")


def test_no_widget_loads_diffusers():
    code = (
        "import sys; from course_lib.widgets import AttentionExplorer, GuidanceGrid, MaskPainter, "
        "PictureComparison, PortraitStudio, ScheduleDesigner, TimestepStepper; "
        "print([m for m in ('diffusers', 'transformers', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


MAPS = make_maps()
IMAGES = {(4, 1.0, 0): flat(0.0), (8, 2.0, 0): flat(0.0)}
FAKE = {"backend": FakeBackend()}
BAD = {
    "kind": (lambda: ScheduleDesigner(FACE, kind="cosin"), "Did you mean 'cosine'"),
    "no points": (lambda: ScheduleDesigner(FACE, kind="custom"), "needs points"),
    "rising": (lambda: ScheduleDesigner(FACE, points=POINTS[::-1]), "falling"),
    "seven": (lambda: ScheduleDesigner(FACE, points=POINTS[1:]), "8 falling numbers"),
    "nan": (lambda: ScheduleDesigner(FACE, points=[float("nan")] * 8), "falling"),
    "too high": (lambda: ScheduleDesigner(FACE, points=[9.0, *POINTS[1:]]), "-5 ... 5"),
    "betas": (lambda: ScheduleDesigner(FACE, beta_start=0.5, beta_end=0.1), "beta_start < beta"),
    "one step": (lambda: ScheduleDesigner(FACE, num_timesteps=1), "2 to 10000"),
    "t": (lambda: ScheduleDesigner(FACE, num_timesteps=10, t=10), r"0\.\.9, not 10"),
    "no image": (lambda: ScheduleDesigner("face.png"), "PIL image, not str"),
    "two images": (lambda: ScheduleDesigner(torch.zeros(2, 3, 8, 8)), "holds 2 pictures"),
    "latents": (lambda: ScheduleDesigner(torch.zeros(4, 8, 8)), "4 channels"),
    "no grid": (lambda: GuidanceGrid({}), "not empty"),
    "gap": (lambda: GuidanceGrid(IMAGES), "2 of 4 combinations are missing"),
    "key": (lambda: GuidanceGrid({(1, 2): flat(0.0)}), r"\(1, 2\)"),
    "picture": (lambda: GuidanceGrid({(1, 1, 1): "x.png"}), "PIL image, not str"),
    "grid sizes": (
        lambda: GuidanceGrid({(1, 1, 0): flat(0.0), (1, 1, 1): flat(0.0, 8)}),
        "mixes images",
    ),
    "absent": (lambda: make_grid(seed=5), r"no picture with seed = 5; there are \[0, 9\]"),
    "grid frame": (lambda: make_grid(frame_size=10), r"64\.\.1024"),
    "no maps": (lambda: AttentionExplorer(FACE, {}), "not empty"),
    "map range": (lambda: AttentionExplorer(FACE, {"a": MAPS["red"] * 9}), r"in \[0, 1\]"),
    "map nan": (lambda: AttentionExplorer(FACE, {"a": MAPS["red"] / 0 * 0}), "NaN"),
    "map shape": (lambda: AttentionExplorer(FACE, {"a": torch.zeros(4, 4)}), r"\(N, h, w\)"),
    "map shapes": (
        lambda: AttentionExplorer(FACE, {"a": torch.zeros(1, 4, 4), "b": torch.zeros(1, 2, 2)}),
        "one shape",
    ),
    "frames": (lambda: AttentionExplorer(torch.zeros(2, 3, 8, 8), MAPS), "2 frames and maps of 3"),
    "word": (lambda: AttentionExplorer(FACE, MAPS, word="rad"), "Did you mean 'red'"),
    "mode": (lambda: AttentionExplorer(FACE, MAPS, mode="spot"), "Did you mean 'spotlight'"),
    "strength": (lambda: AttentionExplorer(FACE, MAPS, strength=2), r"0\.\.1, not 2"),
    "frame": (lambda: AttentionExplorer(FACE, MAPS, value=3), r"0\.\.2, not 3"),
    "times": (lambda: AttentionExplorer(FACE, MAPS, timesteps=[1]), "1 entries for 3"),
    "quiet": (lambda: AttentionExplorer.from_pipeline("pipe", "a of the"), "no word to look for"),
    "attribute": (lambda: PortraitStudio(choices={"hairs": "x"}, **FAKE), "Unknown attribute"),
    "choice": (lambda: PortraitStudio(choices={"age": "yung"}, **FAKE), "Did you mean 'young'"),
    "seed": (lambda: PortraitStudio(seed=-1, **FAKE), "seed"),
    "steps": (lambda: PortraitStudio(steps=0, **FAKE), "steps"),
    "guidance": (lambda: PortraitStudio(guidance=-1, **FAKE), "guidance"),
    "empty": (lambda: PortraitStudio(**FAKE).paint(), "prompt is empty"),
    "gallery": (lambda: PortraitStudio(**FAKE).save(), "holds 0 pictures"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()
