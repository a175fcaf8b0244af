"""Pre-flight checks of this machine: packages, memory, processors, disk, ports, models, clock."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib.classroom.findings import Finding
from course_lib.classroom.lessons import course_lessons, lessons_folder

USER_GB = 3.0  # memory for one user of a hub: a lesson's peak of 1.8, the server, a second notebook
HOME_GB = 0.5  # disk for one user: a copy of the course, 0.06, its caches, 0.15, own pictures
_PORT = 8888  # JupyterLab's first choice; it tries four more in a row, then random ones
_DAY = 86_400


def check_packages() -> Iterator[Finding]:
    """Python, the packages, the kernel's Python and the device, as ``doctor`` sees them."""
    from course_lib import doctor
    from course_lib.device import device_report

    versions = ", ".join(
        f"{name} {version}"
        for name, _, version in doctor.requirements()
        if name in ("torch", "diffusers", "transformers", "jupyterlab")
    )
    found = f"Python {platform.python_version()}, {versions}"
    problems = doctor.check_packages()
    if problems:
        yield Finding("versions", " ".join(problems), "stop", doctor.REINSTALL)
    else:
        yield Finding("versions", found)
    report = device_report()
    found = f"{report.kind}: {report.name}"
    if trouble := " ".join(report.warnings):
        yield Finding("device", f"{found}. {trouble}", "warn", "Run with COURSE_DEVICE=cpu.")
    else:
        yield Finding("device", found)
    yield _kernel()


def _kernel() -> Finding:
    """Jupyter's kernel python3; one that another installation left starts another Python."""
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    same = Path(command).name == command or Path(command).parent == Path(sys.executable).parent
    if same:
        return Finding("kernel", "the kernel python3 is this Python")
    return Finding(
        "kernel", f"the kernel python3 starts {command}", "warn",
        "Run: python -m ipykernel install --sys-prefix",
    )  # fmt: skip


def check_memory(students: int) -> Iterator[Finding]:
    """Main memory for one learner here, and for all of them on one hub."""
    from course_lib.memory import system_memory

    total = system_memory() / 2**30
    if not total:
        yield Finding(
            "memory", "unknown", "warn", f"A learner needs {USER_GB:g} GB; look yourself."
        )
        return
    largest = max(lesson.gigabytes for lesson in course_lessons())
    found = f"{total:.1f} GB; the largest lesson takes {largest:g} GB"
    if total < largest + 0.2:
        yield Finding("memory", found, "stop", "Use another machine, Binder or Colab.")
    elif total < USER_GB:
        yield Finding(
            "memory", found, "warn", "One notebook at a time; shut down its kernel after."
        )
    else:
        yield Finding("memory", found)
    if students > 1:
        needed = students * USER_GB
        room = int(total // USER_GB)
        found = f"{students} x {USER_GB:g} GB = {needed:g} GB; this machine has room for {room}"
        yield _for_a_hub("memory of a hub", found, room >= students)


def _for_a_hub(what: str, found: str, enough: bool) -> Finding:
    """A finding that counts only if this machine is to serve all students."""
    if enough:
        return Finding(what, found)
    advice = "Only if this machine is the hub: take a larger one, or several (docs/classroom.md)."
    return Finding(what, found, "warn", advice)


def check_processors(students: int) -> Finding:
    """Cores that this process may use, beside the threads that PyTorch takes."""
    import torch

    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    threads = torch.get_num_threads()
    setting = os.environ.get("OMP_NUM_THREADS", "not set")
    found = f"{cores} cores, {threads} threads (OMP_NUM_THREADS {setting})"
    if quota := _cpu_quota():
        found += f", a quota of {quota:g} processors"
    wanted = max(1, round(min(quota or cores, cores)))
    if threads > wanted:
        return Finding("processors", found, "warn", f"Set OMP_NUM_THREADS={wanted}.")
    if students > 1 and setting == "not set":
        advice = "On a shared hub set OMP_NUM_THREADS to each user's quota."
        return Finding("processors", found, "ok", advice)
    return Finding("processors", found)


def _cpu_quota() -> float:
    """Processors that a container may use, by Linux's control groups; 0 where there is no limit."""
    from course_lib.memory import read

    limit, _, period = read("/sys/fs/cgroup/cpu.max").partition(" ")
    return int(limit) / int(period) if limit.isdigit() and int(period or 0) else 0.0


def check_disk(students: int) -> Iterator[Finding]:
    """Free disk where the course works, and for all homes of a hub."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    found = f"{free:.1f} GB free here; a learner needs {HOME_GB:g} GB beside the packages"
    if free < HOME_GB / 2:
        yield Finding("disk", found, "stop", "Make room, or work in another folder.")
    else:
        low = free < 2 * HOME_GB
        yield Finding("disk", found, "warn" if low else "ok", "Make room." if low else "")
    if students > 1:
        needed = students * HOME_GB
        text = f"{students} x {HOME_GB:g} GB = {needed:g} GB for homes; the packages once"
        yield _for_a_hub("disk of a hub", text, free >= needed)


def check_folders() -> Iterator[Finding]:
    """Folders that have to be written to, and the two caches that the first run fills."""
    from jupyter_core.paths import jupyter_runtime_dir

    from course_lib.portraits.cache import default_cache_dir

    cache = default_cache_dir()
    painted = sum(path.stat().st_size for path in cache.rglob("*.bin")) / 1e6
    places = {"this folder": Path.cwd(), "the portrait cache": cache,
              "temporary files": Path(tempfile.gettempdir()),
              "Jupyter": Path(jupyter_runtime_dir())}  # fmt: skip
    if painted and not _can_write(cache):  # a hub's: lessons read what an instructor painted
        del places["the portrait cache"]
    blocked = [f"{name}, {place}" for name, place in places.items() if not _can_write(place)]
    if blocked:
        advice = "Mend the rights, or set COURSE_CACHE, TMPDIR, JUPYTER_RUNTIME_DIR."
        yield Finding("folders", f"cannot be written: {'; '.join(blocked)}", "stop", advice)
    else:
        yield Finding("folders", f"{', '.join(places)}: all can be written")
    import matplotlib

    fonts = any(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))
    found = f"portraits: {painted:.0f} MB; list of fonts: {'there' if fonts else 'not yet'}"
    if fonts and painted >= 1:
        yield Finding("caches", found)
    else:
        yield Finding(
            "caches", found, "warn", "Run lesson 00 once, or: python tools/warm_caches.py"
        )


def _can_write(folder: Path) -> bool:
    """Whether a file can be made in a folder, or in the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_ports() -> Finding:
    """Whether JupyterLab would get the port that it tries first."""
    with socket.socket() as probe:
        if os.name == "posix":  # as JupyterLab does: a server just stopped holds no port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError:
            return Finding("port", f"{_PORT} is in use; JupyterLab will take another", "ok",
                           "Read the address that JupyterLab prints.")  # fmt: skip
    return Finding("port", f"{_PORT} is free")


def check_models() -> Iterator[Finding]:
    """The shipped model by its checksums, the lessons themselves, and fetched models."""
    from course_lib.pipelines.registry import model_spec
    from course_lib.pipelines.shelf import model_states, verify_shipped

    try:
        verify_shipped(model_spec("mini"))
        yield Finding("the mini", "whole, by its checksums")
    except (ValueError, OSError) as error:
        yield Finding(
            "the mini",
            str(error),
            "stop",
            "Get it again: git checkout -- data/models, or a new copy of the course",
        )
    yield _lessons()
    fetched = [one.spec.name for one in model_states() if one.path and not one.spec.shipped]
    found = f"here: {', '.join(fetched) or 'none'}; the lessons need none"
    advice = "" if fetched else "To show one: python -m course_lib prefetch sd15"
    yield Finding("large models", found, "ok", advice)


def _lessons() -> Finding:
    """Whether all notebooks are there and can be read."""
    folder, broken = lessons_folder(), []
    for lesson in course_lessons():
        try:
            json.loads((folder / lesson.file).read_bytes())
        except (OSError, ValueError):
            broken.append(lesson.file)
    if broken:  # these alone: learners may have worked in the others
        names = " ".join(f"notebooks/{name}" for name in broken)
        advice = f"Get them again: git checkout -- {names}, or a new copy of the course"
        return Finding("lessons", f"missing or damaged: {', '.join(broken)}", "stop", advice)
    return Finding("lessons", "all are here")


def check_clock() -> Finding:
    """A clock that is behind the course's own files breaks downloads and signatures."""
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    now = time.strftime("%Y-%m-%d %H:%M", time.localtime())
    if time.time() < newest - _DAY:
        return Finding("clock", f"{now}, earlier than the course's files", "warn", "Set the clock.")
    return Finding("clock", now)
