"""The stepper in a real JupyterLab in a real Chromium: what a learner's hands do, and pixels.

It needs a Chromium (or Chrome) and the package playwright. Where either is missing the module is
skipped and says what to install.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    pytest.skip("needs playwright: pip install playwright", allow_module_level=True)

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
KERNEL_IDLE = (
    "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
)
COUNT, SIZE = 12, 16

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
stepper = TimestepStepper(
    {{"x_t": x_t, "eps": ramp}}, timesteps=range({COUNT}), schedule=NoiseSchedule.cosine({COUNT}),
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


def find_browser(playwright) -> str:
    """Path of a Chromium; skips the module where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("COURSE_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    found = found or playwright.chromium.executable_path
    if not Path(found).exists():
        pytest.skip(
            "needs a Chromium: install it (apt install chromium, or playwright install chromium) "
            "or set COURSE_BROWSER to the program's path"
        )
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds: float, what: str):
    """Poll `condition` until it returns something true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A private JupyterLab server; yields its address and its root folder."""
    home = tmp_path_factory.mktemp("lab")
    root = home / "root"
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    for folder in (root, settings, home / "config", home / "workspaces"):
        folder.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    port = free_port()
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    options = [
        "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={root}",
        "--expose-app-in-browser", "--LabApp.extension_manager=readonly", "--allow-root",
    ]  # fmt: skip
    with (home / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "jupyter", "lab", *options]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=root)
        try:
            address = f"http://127.0.0.1:{port}"

            def answers():
                assert server.poll() is None, (home / "log.txt").read_text()[-2000:]
                try:
                    return urllib.request.urlopen(f"{address}/api", timeout=2).status == 200
                except OSError:
                    return False

            wait_until(answers, 60, "JupyterLab to start")
            yield address, root
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="module")
def page(lab):
    """The notebook open in JupyterLab, all cells run, the stepper ready."""
    address, root = lab
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in (CELL_STEPPER, CELL_ECHO)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, root / "stepper.ipynb")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(playwright), headless=True, args=FLAGS
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(30_000)
        page.goto(f"{address}/lab/workspaces/auto-t/tree/stepper.ipynb?reset")
        # Before the kernel is there, "Run All" opens a dialogue that asks for one.
        page.wait_for_function(KERNEL_IDLE, timeout=60_000)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_selector(".timestep-stepper[data-ready=true]", timeout=60_000)
        page.wait_for_selector(".echo")
        yield page
        browser.close()


def at(page, index: int) -> None:
    """Wait until the stepper shows frame `index`."""
    page.wait_for_selector(f".timestep-stepper[data-index='{index}']")


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


def test_it_runs_without_error(page):
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
    assert page.locator(".timestep-stepper").get_attribute("data-count") == str(COUNT)
    assert page.locator(".timestep-stepper canvas").count() == 2
    assert page.locator(".timestep-stepper svg.chart").count() == 1


def test_keys_move_and_stay_in_the_widget(page):
    cells = page.locator(".jp-Cell").count()
    page.locator(".timestep-stepper input[type=range]").focus()
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
    """Lossless frames arrive to the rounding of one byte level."""
    for index in (0, 5, COUNT - 1):
        page.locator(".timestep-stepper input[type=range]").fill(str(index))
        at(page, index)
        level = (2 * index / (COUNT - 1)) * 127.5
        for red, green, blue in pixels(page, "x_t"):
            assert abs(red - level) <= 1 and abs(green - (255 - level)) <= 1
            assert abs(blue - level) <= 1
        for x, rgb in enumerate(pixels(page, "eps")):  # -3 ... 3 is shown as 0 ... 255
            assert all(abs(one - 255 * x / (SIZE - 1)) <= 1 for one in rgb)


def test_dragging_the_slider(page):
    slider = page.locator(".timestep-stepper input[type=range]")
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    at(page, 0)
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=4)
    page.mouse.move(box["x"] + box["width"] - 8, middle, steps=4)
    page.mouse.up()
    at(page, COUNT - 1)


def test_buttons_and_play(page):
    page.get_by_role("button", name="First frame").click()
    at(page, 0)
    page.get_by_role("button", name="One frame on").click()
    at(page, 1)
    # Every index that is painted is recorded: a play must show each frame once, in order.
    page.evaluate(
        """() => {
            const root = document.querySelector(".timestep-stepper");
            window.seen = [];
            window.watch = new MutationObserver(() => window.seen.push(Number(root.dataset.index)));
            window.watch.observe(root, { attributes: true, attributeFilter: ["data-index"] });
        }"""
    )
    page.locator(".timestep-stepper input[type=range]").focus()
    page.keyboard.press("Space")
    at(page, COUNT - 1)
    page.wait_for_selector(".timestep-stepper[data-playing=false]")
    page.evaluate("window.watch.disconnect()")
    assert page.evaluate("window.seen") == list(range(2, COUNT))


def test_value_goes_to_python_and_back(page):
    echo = page.locator(".echo")
    page.locator(".timestep-stepper input[type=range]").focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    at(page, 1)
    page.wait_for_function("document.querySelector('.echo').textContent === '1'")
    page.get_by_role("button", name="python", exact=True).click()
    at(page, 3)
    page.wait_for_function("document.querySelector('.echo').textContent === '3'")
    assert echo.count() == 1


def test_reading_it_aloud(page):
    root = page.locator(".timestep-stepper")
    assert root.get_attribute("aria-label") == "Noising a portrait"
    slider = page.locator(".timestep-stepper input[type=range]")
    slider.fill("4")
    at(page, 4)
    assert slider.get_attribute("aria-valuetext") == f"frame 4 of 0 to {COUNT - 1}, t = 4"
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll(
            ".timestep-stepper :is(button, input, select, canvas, svg.chart)")]
            .filter(e => !e.ariaLabel && !e.labels?.[0]?.textContent).length"""
    )
    assert unnamed == 0
