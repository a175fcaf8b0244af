"""Fresh kernels: to run code of others for a limited time, and to measure a whole lesson."""

from __future__ import annotations

import os
import queue
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_SECRETS = ("_TOKEN", "_KEY", "_SECRET")  # the instructor's, such as HF_TOKEN
# No question to the network, and widgets as pictures
_SETTINGS = {"HF_HUB_OFFLINE": "1", "COURSE_WIDGETS": "picture"}


@dataclass(frozen=True)
class Outcome:
    """What a cell did: the value of its last line, as outputs, and what went wrong, or ""."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


class FreshKernel:
    """A kernel that works in `folder` for at most `seconds`, as a context manager.

    A cell gets half of the time that is left, so that one which never ends leaves some to others.
    """

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds

    def __enter__(self) -> FreshKernel:
        from jupyter_client.manager import start_new_kernel

        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        kept = {k: v for k, v in os.environ.items() if not k.upper().endswith(_SECRETS)}
        environment = kept | _SETTINGS | {"PYTHONPATH": os.pathsep.join(paths)}
        self._manager, self._client = start_new_kernel(
            kernel_name="python3", cwd=str(self._folder), env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._end = time.monotonic() + self._seconds
        return self

    def __exit__(self, *details: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, code: str) -> Outcome:
        """Run a cell; what it prints or displays on its way is dropped."""
        started = time.monotonic()
        limit = started + (self._end - started) / 2
        # stop_on_error: an interrupted cell would take those after it along
        request = self._client.execute(
            code, store_history=False, allow_stdin=False, stop_on_error=False
        )
        outputs: list[dict[str, Any]] = []
        problem = ""
        while time.monotonic() < limit:
            if not self._manager.is_alive():
                return Outcome(problem="the kernel died")
            try:
                message = self._client.get_iopub_msg(timeout=min(1, limit - started))
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            content, kind = message["content"], message["msg_type"]
            if kind == "execute_result":
                outputs.append(content)
            elif kind == "error":
                problem = f"{content['ename']}: {content['evalue']}".splitlines()[0]
            elif kind == "status" and content["execution_state"] == "idle":
                return Outcome(outputs, problem)
        self._manager.interrupt_kernel()
        return Outcome(problem="the time limit was reached")
