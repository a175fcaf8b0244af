"""Files that appear whole or not at all: a full disk or a killed program loses no earlier file."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

_PARTIAL = re.compile(r"\.\d+-[0-9a-f]{8}\.partial")
_STALE_SECONDS = 3600  # no write takes that long, so an older partial file is of a killed program
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def write_atomically(path: str | Path, content: bytes | Callable[[Path], object]) -> Path:
    """Write a file beside its place, then put it there in one step.

    Parameters
    ----------
    path : path
        The file. Its folder is created; a link is followed.
    content : bytes or callable
        What to write, or a function that writes the file whose path it is given.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written. An earlier file of that name stays,
        and nothing is left beside it. The message says how much was needed and how much is free.
    """
    target = Path(os.path.realpath(path))
    # A short name of its own: the file's may be as long as names can be
    partial = target.with_name(f".{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "the file is read-only")
        remove_stale(target.parent)
        if callable(content):
            content(partial)
        else:
            partial.write_bytes(content)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)  # atomic: a reader sees the old file or the new one
    except OSError as error:
        needed = None if callable(content) else len(content)
        raise OSError(_explained(path, target.parent, error, needed)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return Path(path)


def _explained(path: str | Path, folder: Path, error: OSError, needed: int | None) -> str:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        from tqdm import tqdm

        free = tqdm.format_sizeof(shutil.disk_usage(folder).free, "B")
        wanted = f"it needs {tqdm.format_sizeof(needed, 'B')}, and " if needed else ""
        reason = f"{reason}: {wanted}{free} are free"
    return (
        f"cannot write {path} ({reason}). Free some disk space, or choose another file or folder; "
        "an earlier file of that name is untouched."
    )


def remove_stale(folder: Path) -> None:
    """Remove what killed programs left; a young file may belong to a living one."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if _PARTIAL.fullmatch(entry.name):
                if time.time() - entry.stat().st_mtime > _STALE_SECONDS:
                    os.unlink(entry)
