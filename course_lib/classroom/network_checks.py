"""Pre-flight checks of the network: who answers, and how much a class would download.

Nothing about the user is sent: no token, no name, no model's files. pip asks its index for the
versions of one package, as it does before every installation.
"""

from __future__ import annotations

import email.utils
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from course_lib.classroom.findings import Finding

# The sum of the wheels: 0.2 GB without PyTorch, which has 0.2 for a CPU and 3 with CUDA. The clone
# has 0.06.
DOWNLOAD_GB = {"cpu": 0.5, "cuda": 3.3}
_SLOW_MBIT = 50.0  # what a classroom's network gives all together, to say how long it takes
_ASKED = "peft"  # a small package that the course requires
_MODEL = "/api/models/openai/clip-vit-large-patch14"  # any public model
_PATIENCE = 15


def check_network(students: int) -> Iterator[Finding]:
    """What it means for the class, the package index, and the model hub."""
    yield download(students)  # first: an odd answer of the others must not cost this row
    yield _index()
    yield _hub()


def download(students: int) -> Finding:
    """How much all computers would fetch, beside a bundle that is fetched once."""
    low, high = (students * size for size in DOWNLOAD_GB.values())
    hours = low * 8000 / _SLOW_MBIT / 3600
    found = (
        f"{students} x {DOWNLOAD_GB['cpu']:g} GB = {low:g} GB ({high:g} GB on Linux with NVIDIA); "
        f"at {_SLOW_MBIT:g} Mbit/s {hours:.1f} hours"
    )
    if hours <= 0.5:
        return Finding("download", found)
    advice = "Install before the day, or hand out a bundle: python tools/bundle.py"
    return Finding("download", found, "warn", advice)


def _index() -> Finding:
    """Whether pip reaches the index that it is set up for."""
    command = [sys.executable, "-m", "pip", "index", "versions", _ASKED, "--retries=0",
               f"--timeout={_PATIENCE}", "--disable-pip-version-check", "--no-input"]  # fmt: skip
    advice = "Install from a bundle: python tools/bundle.py --to FOLDER"
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=2 * _PATIENCE, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return Finding("package index", "no answer", "warn", advice)
    if answer.returncode == 0 and _ASKED in answer.stdout:
        return Finding("package index", "answers")
    if "No module named pip" in answer.stderr:
        return Finding("package index", "unknown: there is no pip here", "warn", advice)
    return Finding("package index", "cannot be reached", "warn", advice)


def _hub() -> Finding:
    """Whether the model hub answers with what a hub answers, and what its clock says."""
    from course_lib.pipelines.http_requests import HubError, bounded, endpoint, is_offline

    if is_offline():
        return Finding("model hub", "switched off by HF_HUB_OFFLINE; the lessons need none")
    try:
        start, date = bounded(lambda: _first_bytes(endpoint() + _MODEL), _PATIENCE)
    except (HubError, OSError) as error:
        return Finding("model hub", str(error), "warn",
                       "The lessons need none. Large models: prefetch before the day.")  # fmt: skip
    if not start.lstrip().startswith(b"{"):
        return Finding("model hub", "another page answers, such as a log-in page of the network",
                       "warn", "Open a browser and log in to the network.")  # fmt: skip
    seconds = abs(time.time() - date.timestamp()) if date else 0.0
    if seconds > 300:
        return Finding("model hub", f"answers; its clock and ours differ by {seconds / 60:.0f} min",
                       "warn", "Set this machine's clock.")  # fmt: skip
    return Finding("model hub", "answers")


def _first_bytes(url: str):
    """The beginning of an answer and its date; neither token nor the system's name is sent."""
    request = urllib.request.Request(url, headers={"User-Agent": "portrait-diffusion"})
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        date = answer.headers.get("Date")
        return answer.read(64), email.utils.parsedate_to_datetime(date) if date else None
