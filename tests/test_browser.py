"""The stepper in a real JupyterLab in a real Chromium: what a learner's hands do, and pixels.

It needs a Chromium (or Chrome) and the packages playwright and axe-playwright-python. Where one is
missing, pytest's header says that the browser tests are left out and why.
"""

from __future__ import annotations

import nbformat
import pytest
from browser_lab import KERNEL_IDLE, command, errors, open_notebook, run_all, watch

pytestmark = pytest.mark.browser
COUNT, SIZE = 12, 16
ROOT, SLIDER = ".timestep-stepper", ".timestep-stepper input[type=range]"

# Frame k is one flat colour in row x_t, so that each canvas can be compared with a number; row
# eps is a gradient, so that a transposed or shifted picture would be seen as well.
CELL_STEPPER = f"""
import torch
from course_lib.schedules import NoiseSchedule
from course_lib.widgets import TimestepStepper

levels = torch.linspace(-1, 1, {COUNT})
x_t = levels.view(-1, 1, 1, 1).repeat(1, 3, {SIZE}, {SIZE})
x_t[:, 1] *= -1
ramp = torch.linspace(-3, 3, {SIZE}).view(1, 1, 1, -1).repeat({COUNT}, 1, {SIZE}, 1)
maps = torch.linspace(0, 1, {COUNT}).view(-1, 1, 1).repeat(1, 2, 2)
stepper = TimestepStepper(
    {{"x_t": x_t, "eps": ramp}}, timesteps=range({COUNT}), schedule=NoiseSchedule.cosine({COUNT}),
    attention={{"hair": maps, "smile": 1 - maps}}, target=x_t[0],
    lossless=True, fps=30, caption="Noising a portrait",
)
stepper
"""
CELL_ECHO = """
import ipywidgets
echo = ipywidgets.HTML("<span class='echo'>-</span>")
back = ipywidgets.Button(description="python")
stepper.observe(lambda c: setattr(echo, "value", f"<span class='echo'>{c['new']}</span>"), "value")
back.on_click(lambda _: setattr(stepper, "value", 3))
ipywidgets.HBox([echo, back])
"""


@pytest.fixture(scope="module")
def page(lab, chromium, screenshots):
    """The notebook open in JupyterLab, all cells run, the stepper ready."""
    with open_notebook(lab, chromium, "stepper", [CELL_STEPPER, CELL_ECHO]) as page:
        run_all(page)
        page.wait_for_selector(f"{ROOT}[data-ready=true]")
        page.wait_for_selector(".echo")
        if screenshots:
            page.screenshot(path=screenshots / "stepper_in_lab.png")
        yield page


def at(page, index: int, root: str = ROOT) -> None:
    """Wait until the stepper shows frame `index`."""
    page.wait_for_selector(f"{root}[data-index='{index}']")


def pixels(page, row: str) -> list[list[int]]:
    """RGB along the middle line of a canvas."""
    return page.evaluate(
        """row => {
            const canvas = document.querySelector(`.timestep-stepper canvas[data-row="${row}"]`);
            const y = Math.floor(canvas.height / 2);
            const data = canvas.getContext("2d").getImageData(0, y, canvas.width, 1).data;
            return Array.from({length: canvas.width}, (_, x) => [...data.slice(4 * x, 4 * x + 3)]);
        }""",
        row,
    )


def check_pixels(page) -> None:
    """Lossless frames arrive to the rounding of one byte level."""
    for index in (0, 5, COUNT - 1):
        page.locator(SLIDER).fill(str(index))
        at(page, index)
        level = (2 * index / (COUNT - 1)) * 127.5
        for red, green, blue in pixels(page, "x_t"):
            assert abs(red - level) <= 1 and abs(green - (255 - level)) <= 1
            assert abs(blue - level) <= 1
        for x, rgb in enumerate(pixels(page, "eps")):  # -3 ... 3 is shown as 0 ... 255
            assert all(abs(one - 255 * x / (SIZE - 1)) <= 1 for one in rgb)


def test_it_runs_without_error(page):
    assert errors(page) == []
    assert page.locator(ROOT).get_attribute("data-count") == str(COUNT)
    assert page.locator(f"{ROOT} canvas:not(.lens)").count() == 3
    assert page.locator(f"{ROOT} svg.chart").count() == 1
    assert page.locator(f"{ROOT} svg.histogram").count() == 2


def test_keys_move_and_stay_in_the_widget(page):
    cells = page.locator(".jp-Cell").count()
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    at(page, 0)
    page.keyboard.press("ArrowRight")
    at(page, 1)
    page.keyboard.press("End")
    at(page, COUNT - 1)
    page.keyboard.press("ArrowRight")  # there is no frame after the last
    page.keyboard.press("ArrowLeft")
    at(page, COUNT - 2)
    page.keyboard.press("a")  # JupyterLab's key for a new cell
    page.keyboard.press("Home")
    at(page, 0)
    assert page.locator(".jp-Cell").count() == cells
    assert page.evaluate("document.activeElement.closest('.timestep-stepper') !== null")


def test_canvas_equals_the_frame(page):
    check_pixels(page)


def test_numbers_follow_the_frame(page):
    page.locator(SLIDER).fill("0")
    at(page, 0)
    note = page.locator(f"{ROOT} figure > .note").first
    assert note.inner_text() == "MSE to x_0 = 0"
    page.locator(SLIDER).fill(str(COUNT - 1))
    at(page, COUNT - 1)
    assert note.inner_text() == "MSE to x_0 = 4"  # from -1 to 1
    assert page.locator(f"{ROOT} .readout .t b").inner_text() == str(COUNT - 1)
    # Every pixel is 1 or -1, so the mean of the three channels is 1/3.
    under = page.locator(f"{ROOT} .under .note").first
    assert under.inner_text() == "mean 0.33, std 0.94"
    page.get_by_role("checkbox", name="histogram").uncheck()
    assert not under.is_visible()
    page.get_by_role("checkbox", name="histogram").check()


def test_dragging_the_slider(page):
    slider = page.locator(SLIDER)
    slider.hover()  # waits until the notebook has laid itself out and the slider stands still
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    at(page, 0)
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=4)
    page.mouse.move(box["x"] + box["width"] - 8, middle, steps=4)
    page.mouse.up()
    at(page, COUNT - 1)


def test_the_lens_shows_the_same_place_in_every_picture(page):
    canvas = page.locator(f"{ROOT} canvas[data-row=eps]")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 15.5 / 16, "y": box["height"] * 4.5 / 16})
    assert page.locator(f"{ROOT} canvas.lens:visible").count() == 3
    notes = page.locator(f"{ROOT} figure > .note")
    assert notes.nth(1).inner_text() == "(15, 4) 3.00 3.00 3.00"  # the end of the ramp
    assert notes.nth(0).inner_text().startswith("(15, 4) ")
    page.mouse.move(2, 2)
    assert page.locator(f"{ROOT} canvas.lens:visible").count() == 0


def test_choosing_a_word_changes_the_map(page):
    page.locator(SLIDER).fill("0")
    at(page, 0)
    dark = pixels(page, "attention hair")[0]
    page.get_by_label("attention of which word").select_option("smile")
    bright = pixels(page, "attention smile")[0]
    assert sum(bright) > sum(dark) + 150  # 0 and 1 of the colour map
    page.get_by_label("attention of which word").select_option("hair")


@pytest.mark.parametrize("fps", [30, 60])
def test_play_drops_nothing_and_never_blanks(page, fps):
    page.get_by_label("speed, frames per second").select_option(str(fps))
    page.get_by_role("button", name="First frame").click()
    at(page, 0)
    page.get_by_role("button", name="One frame on").click()
    at(page, 1)
    watch(page, ROOT)
    page.locator(SLIDER).focus()
    page.keyboard.press("Space")
    at(page, COUNT - 1)
    page.wait_for_selector(f"{ROOT}[data-playing=false]")
    page.evaluate("window.watching = false")
    assert page.evaluate("window.seen") == list(range(2, COUNT))
    assert page.evaluate("window.blank") == 0


def test_reduced_motion_slows_the_play(page):
    page.emulate_media(reduced_motion="reduce")
    page.locator(SLIDER).fill(str(COUNT - 3))
    at(page, COUNT - 3)
    took = page.evaluate(
        """() => new Promise((done) => {
            const root = document.querySelector(".timestep-stepper");
            const start = performance.now();
            new MutationObserver(() => done(performance.now() - start))
                .observe(root, { attributes: true, attributeFilter: ["data-index"] });
            root.querySelector("button.play").click();
        })"""
    )
    page.emulate_media(reduced_motion="no-preference")
    page.get_by_role("button", name="Last frame").click()
    assert took > 240  # 4 frames a second at most, though 60 were asked for


def test_value_goes_to_python_and_back(page):
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    at(page, 1)
    page.wait_for_function("document.querySelector('.echo').textContent === '1'")
    page.get_by_role("button", name="python", exact=True).click()
    at(page, 3)
    page.wait_for_function("document.querySelector('.echo').textContent === '3'")


def test_reading_it_aloud(page, axe):
    assert page.locator(ROOT).get_attribute("aria-label") == "Noising a portrait"
    slider = page.locator(SLIDER)
    slider.fill("4")
    at(page, 4)
    assert slider.get_attribute("aria-valuetext") == f"frame 4 of 0 to {COUNT - 1}, t = 4"
    assert axe(page, ROOT) == []
    order = page.evaluate(
        """() => [...document.querySelectorAll(
            ".timestep-stepper :is(button, input, select)")].map((e) => e.type)"""
    )
    assert order == ["select-one", *["button"] * 5, "range", "select-one", *["checkbox"] * 2]


def test_a_finger_steps_through_time(lab, chromium, page):
    """A swipe over a picture by half its width goes through half of the frames."""
    page.locator(SLIDER).fill("2")
    at(page, 2)
    page.evaluate(
        """() => {
            const frame = document.querySelector(".timestep-stepper .frame");
            const box = frame.getBoundingClientRect();
            const y = box.top + 20;
            const send = (name, share) => frame.dispatchEvent(new PointerEvent(name, {
                pointerType: "touch", clientX: box.left + box.width * share, clientY: y,
                bubbles: true, buttons: 1,
            }));
            send("pointerdown", 0.2);
            send("pointermove", 0.5);
            send("pointermove", 0.7);
            send("pointerup", 0.7);
        }"""
    )
    at(page, 2 + round(0.5 * (COUNT - 1)))


def test_restart_and_reopen(lab, chromium, page):
    """After a restart the cells run again; a page opened anew finds the widget in the kernel."""
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.wait_for_function(f"!({KERNEL_IDLE})")
    page.wait_for_function(KERNEL_IDLE)
    run_all(page)
    page.wait_for_function("document.querySelector('.echo')?.textContent === '-'")
    page.wait_for_selector(f"{ROOT}[data-ready=true]")
    check_pixels(page)
    assert errors(page) == []
    command(page, "docmanager:save")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    with open_notebook(lab, chromium, "stepper") as again:
        again.wait_for_selector(f"{ROOT}[data-ready=true]")
        check_pixels(again)
        assert errors(again) == []
    # The next day the kernel is gone: the saved notebook goes on stepping.
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    with open_notebook(lab, chromium, "stepper") as next_day:
        next_day.wait_for_selector(f"{ROOT}[data-ready=true]")
        check_pixels(next_day)
        assert "not found" not in next_day.locator(".jp-Cell").first.inner_text()
    # Readers of the saved file who run no scripts get a film strip with its text.
    output = nbformat.read(lab.root / "stepper.ipynb", as_version=4).cells[0].outputs[0]
    assert output.data["image/png"]
    assert output.metadata["image/png"]["alt"] == "Noising a portrait"
