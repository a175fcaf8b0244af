"""Check a JupyterHub for a class, from the instructor's computer.

    python tools/check_hub.py https://hub.example.org

The token of the hub's page /hub/token is read from the variable JUPYTERHUB_API_TOKEN, which keeps
it out of the shell's history, unless --token gives it. The check starts the server of the token's
owner (with a service's token: of --user), runs the set-up cell of lesson 00 there, asks the kernel
for its memory, threads, models and packages, and stops the server, unless it ran before. Exit
code 0: a learner can begin; 1: a line says what to mend.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hub_client import Hub, Problem

LESSON = Path(__file__).resolve().parent.parent / "notebooks" / "00_start_here.ipynb"
LEAST_GB = 2.0  # the largest lesson stays below it; docs/classroom.md has the table
MARK = "check_hub: "
# What the kernel is asked; it prints one line, since the set-up cell may print as well
PROBE = f"""
import json, os, platform
import course_lib, torch
from course_lib.doctor import check_packages
from course_lib.memory import system_memory
from course_lib.pipelines.shelf import model_states
print({MARK!r} + json.dumps({{
    "memory": system_memory(), "threads": torch.get_num_threads(),
    "quota": os.environ.get("CPU_LIMIT"), "cores": os.cpu_count(),
    "models": [state.spec.name for state in model_states() if state.path],
    "models_folder": os.environ.get("COURSE_MODELS"), "cache": os.environ.get("COURSE_CACHE"),
    "python": platform.python_version(), "torch": torch.__version__,
    "course": course_lib.__version__, "problems": check_packages(),
}}))
"""


def set_up_cell() -> str:
    """The code of lesson 00's set-up cell."""
    cells = json.loads(LESSON.read_text(encoding="utf-8"))["cells"]
    return next("".join(c["source"]) for c in cells if "setup" in c["metadata"].get("tags", []))


def check(hub: Hub, user: str | None) -> Iterator[tuple[bool, str, str]]:
    """One row after the other: whether it is well, what was checked, what was found."""
    yield True, "hub", f"JupyterHub {hub.api('GET', '')['version']}"
    owner = hub.api("GET", "/user")
    if not user and owner.get("kind") != "user":
        raise Problem(f"the token is the {owner.get('kind')}'s: say with --user whose server.")
    user = user or owner["name"]
    yield True, "token", f"of {owner['name']}; the server is that of {user}"
    with hub.server(user) as (path, seconds):
        took = "ran before, and stays" if seconds is None else f"started in {seconds:.0f} s"
        yield True, "server", took
        begun = time.monotonic()
        *_, printed = hub.run(path, [set_up_cell(), PROBE])
        yield (
            True,
            "lesson 00",
            f"the set-up cell ran; kernel and cell {time.monotonic() - begun:.0f} s",
        )
        line = re.search(f"{MARK}(.*)", printed)
        if not line:
            raise Problem(
                "the kernel ran the cells, but nothing that it printed came back. Try again."
            )
        yield from kernel_rows(json.loads(line[1]))


def kernel_rows(found: dict) -> Iterator[tuple[bool, str, str]]:
    """Rows on what the kernel said of itself."""
    gigabytes = found["memory"] / 2**30
    enough = gigabytes >= LEAST_GB
    advice = "" if enough else f"; the lessons need {LEAST_GB:g} GB, better 3"
    yield enough, "memory", f"{gigabytes:.1f} GB{advice}"
    yield _threads_row(found["threads"], found["quota"], found["cores"])
    mini = "mini" in found["models"]
    where = found["models_folder"] or "COURSE_MODELS is not set"
    yield mini, "models", f"{', '.join(found['models']) or 'none'} ({where})"
    cache = found["cache"] or "COURSE_CACHE is not set: lessons paint for themselves"
    yield True, "portraits", cache
    versions = f"course {found['course']}, Python {found['python']}, torch {found['torch']}"
    yield not found["problems"], "packages", " ".join([versions, *found["problems"]])


def _threads_row(threads: int, quota: str | None, cores: int | None) -> tuple[bool, str, str]:
    try:
        limit = float(quota or cores or 1)
        fits = threads <= max(1, math.ceil(limit))
    except (ValueError, OverflowError):
        return False, "threads", f"CPU_LIMIT is {quota!r}; set it to a number of cores, such as 2"
    of = f"a quota of {limit:g}" if quota else f"{limit:g} cores; CPU_LIMIT is not set"
    advice = "" if fits else f"; set OMP_NUM_THREADS={max(1, int(limit))}"
    return fits, "threads", f"{threads} for {of}{advice}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="the hub's, such as https://hub.example.org")
    parser.add_argument("--token", help="default: the variable JUPYTERHUB_API_TOKEN")
    parser.add_argument("--user", help="whose server to start; default: that of the token's owner")
    parser.add_argument(
        "--patience", type=float, default=300, metavar="SECONDS",
        help="how long the server may take to start, and a cell to run (default: 300)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    token = options.token or os.environ.get("JUPYTERHUB_API_TOKEN")
    well = True
    try:
        if not token:
            raise Problem(
                "set JUPYTERHUB_API_TOKEN, or give --token: the hub's page /hub/token makes one."
            )
        for good, label, text in check(Hub(options.address, token, options.patience), options.user):
            well = well and good
            print(f"{'ok' if good else 'WRONG':<7}{label:<11}{text}", flush=True)
    except Problem as error:
        print(f"check_hub: {error}", file=sys.stderr)
        return 1
    print("A learner can begin." if well else "Mend the lines that begin with WRONG.")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
