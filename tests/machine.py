"""What tests know of the machine: how many threads a worker may use, and how long to wait.

Time-outs here end what hangs; none of them measures speed. On a busy machine all of them grow by
the factor `patience`, which is 1 on an idle one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable


def share_processors() -> None:
    """Give each of pytest-xdist's workers its part of the processors; call it before torch loads.

    Two pools of OpenMP threads on the same processors wait for each other for most of the time.
    Notebooks' kernels and JupyterLab inherit the environment.
    """
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    if workers:  # not set in the main process, whose environment the workers inherit
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))


def patience() -> float:
    """Factor of all time-outs: ``COURSE_TEST_PATIENCE``, else from the load when the tests began.

    With n processors and a load of L, a new process gets about n / (n + L) of what it would get
    alone. The value is kept in the environment, so that workers and kernels have the same.
    """
    if "COURSE_TEST_PATIENCE" not in os.environ:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        os.environ["COURSE_TEST_PATIENCE"] = f"{1 + load / (os.cpu_count() or 1):.1f}"
    return float(os.environ["COURSE_TEST_PATIENCE"])


def growth(read: Callable[[str], object], text: str, times: int = 8) -> float:
    """How much more processor time `read` takes for `times` the text, above what is linear.

    About 1 where the time is in proportion to the length, and `times` where it is to its square.
    A tenth of a second is added to both, so that reading nothing much is not compared with noise.
    """

    def cost(text: str) -> float:
        started = time.process_time()
        with contextlib.suppress(ValueError):  # refused is fine, too
            read(text)
        return time.process_time() - started

    short = min(cost(text) for _ in range(3))
    return (cost(text * times) + 0.1) / (times * short + 0.1)
