"""Settings of every test: CPU, no network, no windows, and browser tests only where one is."""

from __future__ import annotations

import importlib.util
import os
import socket
from functools import partialmethod
from pathlib import Path

import pytest
from machine import patience, share_processors

# Set here, not in a fixture, because the notebooks' kernels inherit the environment. The committed
# numbers are the CPU's; COURSE_DEVICE=cuda pytest runs the same on a GPU.
os.environ.setdefault("COURSE_DEVICE", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Sockets that jupyter_client opens on a machine without a debugger print a warning otherwise.
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
# A backend of the user's own would keep figures out of the notebooks' outputs; read by matplotlib
# when it is imported, and by kernels when they start
os.environ.pop("MPLBACKEND", None)
share_processors()

import matplotlib  # noqa: E402

matplotlib.use("Agg")

from browser_lab import find_browser, running_lab  # noqa: E402  (after the environment)

_MISSING = [
    text
    for text, present in (
        ("playwright", importlib.util.find_spec("playwright") is not None),
        ("axe-playwright-python", importlib.util.find_spec("axe_playwright_python") is not None),
        ("a Chromium browser on the path", find_browser() is not None),
    )
    if not present
]
# What the book is made with, by the modules' names; see tools/build_book.py
_BOOK = ("sphinx", "myst_nb", "furo", "sphinx-mathjax-offline")
_MISSING_BOOK = [name for name in _BOOK if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_browser*.py"] if _MISSING else []
collect_ignore = ["test_browser_book.py"] if _MISSING_BOOK else []
# What the slides are made with; see tools/build_slides.py
_SLIDES = ("nbconvert", "sphinx_revealjs", "sphinx-mathjax-offline")
if any(importlib.util.find_spec(name) is None for name in _SLIDES):
    collect_ignore.append("test_browser_slides.py")
_NO_UV = importlib.util.find_spec("uv") is None  # chooses the bundle's wheels
collect_ignore += ["test_bundle.py"] if _NO_UV else []


# The longest files first, lest one worker be left with them when the others are done.
_FIRST = ("test_browser", "notebooks/", "test_mini", "test_pipelines", "test_widgets")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers of at most 3 GB each; none for a single file, which one worker would do alone."""
    single = len(config.args) == 1 and Path(config.args[0].partition("::")[0]).is_file()
    return 0 if single else 2


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval wait longer on a busy machine; workers get the options of the main process."""
    if not hasattr(config, "workerinput"):
        for name in ("nbval_cell_timeout", "nbval_kernel_startup_timeout"):
            setattr(config.option, name, float(getattr(config.option, name)) * patience())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files by their length, and let nbval wait longer for a cell's last output as well."""
    places = {item: next((k for k, name in enumerate(_FIRST) if name in item.nodeid), len(_FIRST))
              for item in items}  # fmt: skip
    items.sort(key=places.__getitem__)  # stable: a file's tests keep their order
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout *= patience()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """A notebook's cell fails if it prints to stderr, where warnings go; nbval alone ignores it."""
    yield
    for output in getattr(item, "test_outputs", None) or ():
        assert output.get("name") != "stderr", output["text"]


def pytest_report_header() -> list[str]:
    if _MISSING:
        browser = f"left out, for want of {' and '.join(_MISSING)}"
    else:
        browser = "included"
    if _MISSING_BOOK:
        browser += f"; those of the book left out, for want of {' and '.join(_MISSING_BOOK)}"
    bundle = "left out, for want of uv" if _NO_UV else "included"
    tests = f"browser tests: {browser}; tests of the bundle: {bundle}"
    return [tests, f"time-outs: {patience():g} times the usual"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave this machine, so that no test depends on the network."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("localhost", "127.0.0.1", "::1", ""):
            raise OSError(f"a test tried to reach {host}; tests run without a network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory):
    """A private JupyterLab for all browser tests; see browser_lab.py."""
    with running_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


# Not for the whole session: while playwright runs, its event loop counts as running in this thread,
# which the tests that execute notebooks must not see.
@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium."""
    from browser_lab import FLAGS
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), headless=True, args=FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe():
    """Run the axe accessibility checks on one element; returns a line for each violation."""
    with pytest.MonkeyPatch.context() as patch:  # the package reads its script as the locale says
        patch.setattr(Path, "read_text", partialmethod(Path.read_text, encoding="utf-8"))
        from axe_playwright_python.sync_playwright import Axe

    def check(page, selector: str) -> list[str]:
        found = Axe().run(page, context=selector).response["violations"]
        return [
            f"{one['id']} ({one['impact']}): {one['help']}; {one['nodes'][0]['html'][:160]}"
            for one in found
        ]

    return check


@pytest.fixture(scope="session")
def screenshots() -> Path | None:
    """Where browser tests leave pictures to look at: the folder COURSE_SCREENSHOTS, if set."""
    folder = os.environ.get("COURSE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) if folder else None


@pytest.fixture(scope="session")
def tokenizer():
    """The tokenizer of the tiny models of the mini's tests."""
    from mini_models import CAPTIONS

    from course_lib.mini.config import SMOKE
    from course_lib.mini.tokenizer import train_tokenizer

    return train_tokenizer(CAPTIONS, SMOKE.vocabulary)
