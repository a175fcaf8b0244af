"""Steppers beyond the plain case: exported pages offline, streamed frames, broken callbacks."""

from __future__ import annotations

import pytest
import torch
from browser_lab import errors, open_notebook, run_all, wait_for_all, watch

from course_lib.schedules import NoiseSchedule
from course_lib.widgets import TimestepStepper
from course_lib.widgets.export import framed

pytestmark = pytest.mark.browser
ROOT = ".timestep-stepper"
COUNT = 9

# Eight steps of a pipeline that takes its time; the pictures are flat, step k of level k / 8.
CELL_STREAM = """
import time
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from course_lib import pipelines
from course_lib.schedules import NoiseSchedule
from course_lib.widgets import TimestepStepper

def paint_steps(pipe, prompt, **settings):
    for i in range(8):
        time.sleep(0.5)
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
    context = chromium.new_context(offline=True, viewport={"width": 1100, "height": 700})
    page = context.new_page()
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda text: text.type == "error" and page.wrong.append(text.text))
    yield page
    context.close()


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


def test_the_page_works_inside_a_book(offline, tmp_path):
    """The output that books get: a frame that takes the height of the widget."""
    one = stepper()
    book = f"<!doctype html><title>book</title>{framed(one.to_html(), 'in a book', 100)}"
    (tmp_path / "book.html").write_text(book, encoding="utf-8")
    offline.goto((tmp_path / "book.html").as_uri())
    inside = offline.frame_locator("iframe")
    inside.locator(f"{ROOT}[data-ready=true]").wait_for()
    inside.locator(f"{ROOT} input[type=range]").focus()
    offline.keyboard.press("End")
    inside.locator(f"{ROOT}[data-index='{COUNT - 1}']").wait_for()
    offline.wait_for_function(
        """() => {
            const frame = document.querySelector("iframe");
            const needed = frame.contentDocument.documentElement.offsetHeight;
            return needed > 250 && frame.clientHeight >= needed;
        }"""
    )
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
        page.wait_for_selector(f"{broken} .problem:visible")
        text = page.locator(f"{broken} .problem").inner_text()
        assert text.startswith("RuntimeError: cannot take 1") and "in broken, line 2" in text
