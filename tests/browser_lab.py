"""Tools of the browser tests: a private JupyterLab, a Chromium, and patient questions to a page.

The fixtures `lab` and `chromium` stand in conftest.py and are made once for all test modules:

    def test_it(lab, chromium):
        with open_notebook(lab, chromium, "mine", [CELL, CELL]) as page:
            run_all(page)
            page.wait_for_selector(".my-widget[data-ready=true]")
            assert not errors(page)
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from machine import patience

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
KERNEL_IDLE = (
    "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
)
ALL_THERE = """() => {
    const { content, context } = window.jupyterapp.shell.currentWidget;
    return context.isReady && content.widgets.length === content.model.cells.length;
}"""
# All cells have a number and none is running; or one failed, and JupyterLab leaves out the rest.
ALL_RAN = """() => {
    const cells = window.jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model)
        .filter((model) => model.type === "code" && model.sharedModel.getSource().trim());
    const failed = (model) => model.outputs.toJSON().some((one) => one.output_type === "error");
    const ran = (model) => model.executionState === "idle" && model.executionCount !== null;
    return cells.length > 0 && (cells.every(ran) || cells.some(failed));
}"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address and the folder that it serves."""

    address: str
    root: Path


def find_browser() -> str | None:
    """Path of a Chromium or Chrome; COURSE_BROWSER overrides."""
    found = os.environ.get("COURSE_BROWSER")
    return found or next(filter(None, map(shutil.which, BROWSERS)), None)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> object:
    """Poll `condition` until it returns something true; `seconds` are those of an idle machine."""
    seconds *= patience()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_lab(home: Path) -> Iterator[Lab]:
    """A JupyterLab of its own, with its own settings, on a free port."""
    root, settings = home / "root", home / "settings" / "@jupyterlab" / "apputils-extension"
    for folder in (root, settings, home / "config", home / "workspaces"):
        folder.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    port = _free_port()
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
    lab = Lab(f"http://127.0.0.1:{port}", root)
    with (home / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "jupyter", "lab", *options]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=root)

        def answers() -> bool:
            assert server.poll() is None, (home / "log.txt").read_text()[-2000:]
            try:
                return urllib.request.urlopen(f"{lab.address}/api", timeout=2).status == 200
            except OSError:
                return False

        try:
            wait_until(answers, 90, "JupyterLab to start")
            yield lab
        finally:
            server.terminate()  # it ends its kernels first, which may take long or never end
            try:
                server.wait(20 * patience())
            except subprocess.TimeoutExpired:
                server.kill()  # kernels end when they miss their parent
                server.wait()


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook of code cells without outputs."""
    sheet = [nbformat.v4.new_code_cell(text.strip()) for text in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=sheet, metadata={"kernelspec": KERNEL}), path)


@contextmanager
def open_notebook(lab: Lab, chromium, name: str, cells: Sequence[str] | None = None) -> Iterator:
    """A page with a notebook in JupyterLab, its kernel idle; `cells` None opens one as it is."""
    path = lab.root / f"{name}.ipynb"
    if cells is not None:
        write_notebook(path, cells)
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000 * patience())
    try:
        workspace = f"auto-{name.replace('/', '-')}"
        page.goto(f"{lab.address}/lab/workspaces/{workspace}/tree/{name}.ipynb?reset")
        # Before the kernel is there, "Run All" opens a dialogue that asks for one.
        page.wait_for_function(KERNEL_IDLE)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.wait_for_function(ALL_THERE)  # a long notebook fills up by and by
        yield page
    finally:
        page.close()


def command(page, name: str, **arguments: object) -> None:
    """Start one of JupyterLab's commands without waiting for its end."""
    page.evaluate(
        "([name, args]) => void window.jupyterapp.commands.execute(name, args)", [name, arguments]
    )


def run_all(page) -> None:
    """Run all cells; does not wait."""
    command(page, "notebook:run-all-cells")


def wait_for_all(page, seconds: float = 120) -> None:
    """Wait until every code cell has run; `seconds` are those of an idle machine."""
    page.wait_for_function(ALL_RAN, timeout=1000 * seconds * patience())


def errors(page) -> list[str]:
    """Exceptions and stderr of all cells, and what widgets on the page complain about.

    The cells' models are asked, because JupyterLab draws only the cells near the screen.
    """
    found = page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
            .flatMap((cell) => cell.model.type === "code" ? cell.model.outputs.toJSON() : [])
            .filter((one) => one.output_type === "error" || one.name === "stderr")
            .map((one) => one.evalue ?? String(one.text))"""
    )
    return found + page.locator(".jupyter-widgets.jupyter-error, [data-error]").all_inner_texts()


@contextmanager
def recorded_page(browser, **options: object) -> Iterator:
    """A page of its own that notes what it asks for, `asked`, and what goes wrong, `wrong`."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda text: text.type == "error" and page.wrong.append(text.text))
    yield page
    context.close()


def watch(page, root: str) -> None:
    """Begin to record, at every frame of the screen, what the widget `root` shows.

    ``window.seen``: each change of data-index; ``window.blank``: times that a canvas had no picture
    when the screen was about to be drawn.
    """
    page.evaluate(
        """selector => {
            const root = document.querySelector(selector);
            const canvas = root.querySelector("canvas");
            window.seen = [];
            window.blank = 0;
            window.watching = true;
            window.observer?.disconnect();
            window.observer = new MutationObserver(() =>
                window.seen.push(Number(root.dataset.index)));
            window.observer.observe(root, { attributes: true, attributeFilter: ["data-index"] });
            const look = () => {
                const data = canvas.getContext("2d").getImageData(0, 0, 1, 1).data;
                if (!data[3] || !(data[0] || data[1] || data[2])) window.blank += 1;
                if (window.watching) requestAnimationFrame(look);
            };
            requestAnimationFrame(look);
        }""",
        root,
    )
