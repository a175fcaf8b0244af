"""How much memory this process may use, and what Linux says about its processor.

Read from the system directly, so that the course needs no further package for it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cpuinfo(key: str) -> str:
    """The first value of `key` in Linux's list of processors, or an empty text."""
    lines = read("/proc/cpuinfo").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def read(path: str | Path) -> str:
    """The text of a file, or an empty text where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def system_memory() -> int:
    """Bytes of main memory that this process may use: the machine's, or its container's limit.

    Returns 0 if the system does not tell.
    """
    limits = [_physical_memory(), *_container_limits()]
    return min((limit for limit in limits if limit > 0), default=0)


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _windows_memory() if sys.platform == "win32" else 0


def _windows_memory() -> int:
    """Physical memory by GlobalMemoryStatusEx, whose second field pair is the total."""
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (f"size_{i}", ctypes.c_ulonglong) for i in range(7)
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.size_0)


def _container_limits() -> list[int]:
    """Limits set by control groups (version 2, then 1) and by JupyterHub, which runs Binder."""
    texts = [
        read("/sys/fs/cgroup/memory.max"),
        read("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        os.environ.get("MEM_LIMIT", ""),
    ]
    own = next((s[3:] for s in read("/proc/self/cgroup").split() if s.startswith("0::")), "/")
    for part in [Path(own), *Path(own).parents]:
        texts.append(read(f"/sys/fs/cgroup{part}/memory.max"))
    return [int(text) for text in texts if text.strip().isdigit()]
