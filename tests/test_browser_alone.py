"""Steppers beyond the plain case: exported pages offline, streamed frames, broken callbacks."""

from __future__ import annotations

import json

import pytest
import torch
from browser_lab import errors, open_notebook, recorded_page, run_all, wait_for_all, watch

from course_lib.schedules import NoiseSchedule
from course_lib.widgets import (
    AttentionExplorer,
    GuidanceGrid,
    MaskPainter,
    PictureComparison,
    PortraitStudio,
    ScheduleDesigner,
    TimestepStepper,
)

pytestmark = pytest.mark.browser
ROOT = ".timestep-stepper"
COUNT = 9

# Eight steps of a pipeline that waits before the fifth until it may go on; the pictures are flat,
# step k of level k / 8.
CELL_STREAM = """
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from course_lib import pipelines
from course_lib.schedules import NoiseSchedule
from course_lib.widgets import TimestepStepper

def paint_steps(pipe, prompt, **settings):
    for i in range(8):
        while i == 4 and not Path("go").exists():
            time.sleep(0.1)
        level = torch.full((1, 4, 4, 4), i / 8)
        yield SimpleNamespace(i=i, t=700 - 100 * i, latents=level, x_0_hat=level,
                              latents_next=level + 1 / 8, total=8)

pipelines.paint_steps = paint_steps
pipelines.decode_latents = lambda pipe, x: x[:, :3].repeat(1, 1, 4, 4)
schedule = NoiseSchedule.scaled_linear(1000)
pipe = SimpleNamespace(scheduler=SimpleNamespace(alphas_cumprod=schedule.alphas_cumprod))
TimestepStepper.from_pipeline(pipe, "a smile", caption="Painting a smile", lossless=True)
"""
CELL_BROKEN = """
def broken(change):
    raise RuntimeError(f"cannot take {change['new']}")

stepper = TimestepStepper(torch.zeros(5, 3, 8, 8), caption="A callback that breaks")
stepper.observe(broken, "value")
stepper
"""


def levels() -> torch.Tensor:
    """COUNT flat frames from -1 to 1."""
    return torch.linspace(-1, 1, COUNT).view(-1, 1, 1, 1).repeat(1, 3, 8, 8)


def stepper() -> TimestepStepper:
    frames = levels()
    return TimestepStepper(
        {"x_t": frames, "predicted x_0": frames.flip(0)},
        timesteps=range(COUNT), schedule=NoiseSchedule.cosine(COUNT),
        caption="Alone on a disk", lossless=True, fps=60,
    )  # fmt: skip


def grey(page, index: int = 0) -> int:
    """The red of the first pixel of a picture."""
    return page.evaluate(
        """k => document.querySelectorAll("canvas:not(.lens)")[k]
            .getContext("2d").getImageData(0, 0, 1, 1).data[0]""",
        index,
    )


@pytest.fixture
def offline(chromium):
    """A page without a network that notes what it asks for and what goes wrong."""
    with recorded_page(chromium, offline=True, viewport={"width": 1100, "height": 700}) as page:
        yield page


def test_the_exported_page_works_offline(offline, axe, tmp_path, screenshots):
    path = stepper().export_html(tmp_path / "page.html")
    offline.goto(path.as_uri())
    offline.wait_for_selector(f"{ROOT}[data-ready=true]")
    assert grey(offline) == 0 and grey(offline, 1) == 255
    watch(offline, ROOT)
    offline.keyboard.press("Tab")  # to the first button
    offline.locator(f"{ROOT} input[type=range]").focus()
    offline.keyboard.press("Space")
    offline.wait_for_selector(f"{ROOT}[data-index='{COUNT - 1}'][data-playing=false]")
    assert offline.evaluate("window.seen") == list(range(1, COUNT))
    assert grey(offline) == 255 and grey(offline, 1) == 0
    assert axe(offline, "html") == []
    if screenshots:
        offline.screenshot(path=screenshots / "exported_page.png")
    assert [url for url in offline.asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert offline.wrong == []


def as_book(*widgets) -> str:
    """The outputs of some cells on one page, as HTML exports and books have them."""
    outputs = [widget._repr_mimebundle_()[0]["text/html"] for widget in widgets]
    return f"<!doctype html><title>book</title>{''.join(outputs)}"


def test_the_outputs_work_inside_a_book(offline, tmp_path):
    """Two widgets on one page without a kernel: each with its own frames, both step."""
    dark = TimestepStepper(-torch.ones(3, 3, 8, 8), caption="dark", lossless=True)
    (tmp_path / "book.html").write_text(as_book(stepper(), dark), encoding="utf-8")
    offline.goto((tmp_path / "book.html").as_uri())
    for name, last in (("Alone on a disk", COUNT - 1), ("dark", 2)):
        one = f"{ROOT}[aria-label='{name}']"
        offline.wait_for_selector(f"{one}[data-ready=true]")
        offline.locator(f"{one} input[type=range]").focus()
        offline.keyboard.press("End")
        offline.wait_for_selector(f"{one}[data-index='{last}']")
    assert grey(offline) == 255 and grey(offline, 2) == 0
    assert offline.locator(ROOT).count() == 2 and offline.locator("img").count() == 0
    assert offline.wrong == []


# A kernel that takes everything and answers nothing.
DEAF = """
const saved = SAVED;
const unpack = (one) => {
    if (Array.isArray(one)) return one.map(unpack);
    if (one === null || typeof one !== "object") return one;
    if (typeof one.base64 === "string")
        return Uint8Array.from(atob(one.base64), (letter) => letter.charCodeAt(0));
    return Object.fromEntries(Object.entries(one).map(([name, part]) => [name, unpack(part)]));
};
window.sent = [];
const model = {
    get: (name) => unpack(saved[name]) ?? "", set() {}, save_changes() {}, on() {}, off() {},
    send: (message) => window.sent.push(message.do),
};
window.courseWidgets = new Map([[saved._key, model]]);
"""


class Nobody:
    """A backend of the studio that is never asked."""


FACE = torch.linspace(-1, 1, 3 * 8 * 8).reshape(3, 8, 8)
HANDS = {
    "stepper": (stepper, lambda page: page.get_by_label("Last frame").click(), "ping"),
    "designer": (
        lambda: ScheduleDesigner(FACE),
        lambda page: page.locator("select").first.select_option("cosine"),
        "ping",
    ),
    "grid": (
        lambda: GuidanceGrid({(4, g, 0): FACE for g in (1.0, 2.0)}),
        lambda page: page.locator("[data-cell='0,0']").click(),
        "ping",
    ),
    "explorer": (
        lambda: AttentionExplorer(FACE, {w: torch.rand(2, 4, 4) for w in ("red", "hat")}),
        lambda page: page.locator("[data-word=hat]").click(),
        "ping",
    ),
    "mask": (
        lambda: MaskPainter(FACE),
        lambda page: page.get_by_role("button", name="Invert").click(),
        "ping",
    ),
    "comparison": (
        lambda: PictureComparison(FACE[None], -FACE[None], answers="none.jsonl"),
        lambda page: page.get_by_role("button", name="Same").click(),
        "answer",
    ),
    **{
        name: (
            lambda: PortraitStudio(prompt="x", backend=Nobody()),
            lambda page, name=name: page.get_by_role("button", name=name).click(),
            wish,
        )
        for name, wish in (("Paint", "paint"), ("Surprise me", "surprise"))
    },
}


@pytest.mark.parametrize("hand", HANDS)
def test_a_kernel_that_does_not_answer_is_named(offline, tmp_path, hand):
    """No front end tells of every kernel's end, so the page itself waits for an answer."""
    make, act, wish = HANDS[hand]
    widget = make()
    state = json.dumps(widget._page_options()["state"])
    offline.add_init_script(DEAF.replace("SAVED", state))
    offline.clock.install()
    (tmp_path / "book.html").write_text(as_book(widget), encoding="utf-8")
    offline.goto((tmp_path / "book.html").as_uri())
    offline.wait_for_selector("[data-ready=true]")
    act(offline)
    offline.clock.run_for(1000)
    assert offline.evaluate("window.sent") == [wish]
    said = offline.get_by_text("The kernel does not answer.")
    assert said.count() == 0
    offline.clock.run_for(8000)
    said.wait_for()
    if hand in ("Paint", "Surprise me"):  # Stop comes after the watchdog, too
        offline.get_by_role("button", name="Paint", exact=True).click()
        offline.get_by_role("button", name="Stop").click()
        offline.clock.run_for(9000)
        said.wait_for()
    assert offline.wrong == []


def test_frames_stream_in_while_the_sampler_runs(lab, chromium, screenshots):
    with open_notebook(lab, chromium, "stream", [CELL_STREAM, CELL_BROKEN]) as page:
        run_all(page)
        page.wait_for_function(
            "document.querySelector('.timestep-stepper[data-streaming=true]')?.dataset.reach >= 4"
        )
        # Step 3 is there while the kernel still works on the others; WebP loses a little.
        page.locator(f"{ROOT} input[type=range]").fill("3")
        page.wait_for_selector(f"{ROOT}[data-streaming=true][data-index='3']")
        assert abs(grey(page) - (1 + 3 / 8) * 127.5) <= 3
        assert page.locator(f"{ROOT} .readout .t b").inner_text() == "400"
        if screenshots:
            page.screenshot(path=screenshots / "streaming.png")
        (lab.root / "go").touch()
        wait_for_all(page)
        page.wait_for_selector(f"{ROOT}:not([data-streaming])[data-ready=true][data-index='8']")
        assert grey(page) == 255  # the result
        # Shown once, though it is also the last line of its cell; a film strip stands beside it.
        outputs = page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets[0]
                .model.outputs.toJSON().map((one) => Object.keys(one.data ?? {}))"""
        )
        assert len(outputs) == 1 and "image/png" in outputs[0]
        assert page.locator(f"{ROOT}[aria-label='Painting a smile']").count() == 1
        assert errors(page) == []

        broken = f"{ROOT}[aria-label='A callback that breaks']"
        page.locator(f"{broken} input[type=range]").focus()
        page.keyboard.press("ArrowRight")
        problem = page.locator(f"{broken} + .course-widget .problem")
        problem.wait_for()
        text = problem.inner_text()
        assert text.startswith("RuntimeError: cannot take 1") and "in broken, line 2" in text
