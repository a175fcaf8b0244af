"""Settings of every test: CPU, no network, no windows, and browser tests only where one is."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket

import matplotlib
import pytest

# Set here, not in a fixture, because the notebooks' kernels inherit the environment. The committed
# numbers are the CPU's; COURSE_DEVICE=cuda pytest runs the same on a GPU.
os.environ.setdefault("COURSE_DEVICE", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Sockets that jupyter_client opens on a machine without a debugger print a warning otherwise.
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
matplotlib.use("Agg")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_MISSING = [
    text
    for text, present in (
        ("pytest-playwright", importlib.util.find_spec("pytest_playwright") is not None),
        ("a Chromium browser on the path", any(map(shutil.which, _BROWSERS))),
    )
    if not present
]
collect_ignore_glob = ["test_browser*.py"] if _MISSING else []


def pytest_report_header() -> str:
    if _MISSING:
        return f"browser tests: left out, for want of {' and '.join(_MISSING)}"
    return "browser tests: included"


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
