"""Download one file: resume where the last run stopped, and keep it only if its checksum is right.

The bytes that have arrived are kept in ``NAME.<hash>.partial`` in the same folder, and the next run
resumes from them. The file gets its own name only after its checksum was compared. The table in
`course_lib.pipelines.hub` says why huggingface_hub does not do this part.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from course_lib.pipelines.http_requests import (
    HubError,
    bounded,
    network_error,
    open_url,
    patience,
)
from course_lib.pipelines.hub import Listing, RemoteFile, file_url

Progress = Callable[[int], None]
_TRIES = 4  # connections for one file, as long as each brings something
_SLOWEST = 4096  # bytes per second below which a download counts as standing still
_BLOCK = 1 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_whole(path: Path, file: RemoteFile) -> bool:
    """Whether `path` holds exactly what the hub says that `file` is."""
    try:
        if path.stat().st_size != file.size:
            return False
    except OSError:
        return False
    digest = _new_digest(file)
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == _wanted(file)


def _wanted(file: RemoteFile) -> str:
    wanted = file.sha256 or file.git_sha1
    if not wanted:
        raise HubError("server", f"the hub gives no checksum for {file.name}")
    return wanted


def _new_digest(file: RemoteFile):
    if file.sha256:
        return hashlib.sha256()
    # Git's name for a small file: SHA-1 over a header and the content
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def fetch_file(
    listing: Listing, file: RemoteFile, path: Path, *, progress: Progress | None = None
) -> bool:
    """Fetch one file of a repository, unless it is there already.

    Parameters
    ----------
    listing : Listing
        Repository and commit.
    file : RemoteFile
        Name, size and checksum.
    path : Path
        Path of the file. Its folder is created.
    progress : callable, optional
        Called with each number of bytes that arrives, or that was there already; negative where
        bytes are discarded.

    Returns
    -------
    bool
        Whether anything was fetched.

    Raises
    ------
    HubError
        If it cannot be fetched. What has arrived is kept for the next run, unless it is damaged.
    """
    progress = progress or (lambda count: None)
    if is_whole(path, file):
        progress(file.size)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path, file)
    resumed = _size(partial)
    progress(resumed)
    try:
        _download(file_url(listing.repo, listing.commit, file.name), partial, file, progress)
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise _disk_full(file.name, file.size - _size(partial), path.parent) from None
    if not is_whole(partial, file):
        partial.unlink()
        if not resumed:
            raise HubError("damaged", f"{file.name} arrived with a wrong checksum")
        progress(-file.size)  # the part from an earlier run may be at fault: once from the start
        return fetch_file(listing, file, path, progress=progress)
    os.replace(partial, path)
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _partial(path: Path, file: RemoteFile) -> Path:
    """Where the bytes of `file` wait until all have arrived."""
    return path.with_name(f"{path.name}.{_wanted(file)[:8]}.partial")


def require_space(folder: Path, files: Iterable[RemoteFile], what: str) -> None:
    """Raise a `HubError` if the disk has no room for what is still missing of `files`."""
    needed = 0
    for file in files:
        path = folder / file.name
        if _size(path) != file.size:
            needed += max(0, file.size - _size(_partial(path, file)))
    if needed > shutil.disk_usage(folder).free:
        raise _disk_full(what, needed, folder)


def _disk_full(what: str, needed: int, folder: Path) -> HubError:
    from tqdm import tqdm

    free = shutil.disk_usage(folder).free
    needed_text, free_text = (tqdm.format_sizeof(count, "B") for count in (needed, free))
    return HubError(
        "disk", f"{what} needs {needed_text} more in {folder}, where {free_text} are free"
    )


def _download(url: str, partial: Path, file: RemoteFile, progress: Progress) -> None:
    """Fill `partial` up to the file's size, with several connections if need be."""
    for _ in range(_TRIES):
        before = _size(partial)
        if before > file.size:  # no part of this file: start again
            partial.unlink()
            progress(-before)
            before = 0
        if before == file.size:
            return
        _one_connection(url, partial, file, progress)
        if _size(partial) <= before:
            break
    if _size(partial) < file.size:
        raise HubError(
            "broken",
            f"the connection breaks: {_size(partial):,} of {file.size:,} bytes of {file.name} came",
        )


def _one_connection(url: str, partial: Path, file: RemoteFile, progress: Progress) -> None:
    """Append what one connection brings; raise only if it stalls, since a break is retried."""
    start = _size(partial)
    with bounded(lambda: open_url(url, start=start)) as response:
        if start and response.status != 206:  # the server ignores Range and sends everything
            progress(-start)
            start = 0
        with open(partial, "ab" if start else "wb") as stream:
            since, window = time.monotonic(), 0
            while start < file.size:
                block = _read_some(response, file.size - start)
                if not block:
                    return
                stream.write(block)
                start += len(block)
                window += len(block)
                progress(len(block))
                waited = time.monotonic() - since
                if waited > 2 * patience():
                    if window < _SLOWEST * waited:
                        raise HubError("stalled", f"{file.name} hardly arrives any more")
                    since, window = time.monotonic(), 0


def _read_some(response, most: int) -> bytes:
    """The bytes that have arrived, at most `most`; b"" if the connection broke."""
    try:
        return response.read1(min(most, _BLOCK))
    except Exception as error:  # an incomplete body is reported by several classes
        if network_error(error).kind == "slow":
            raise HubError("stalled", f"nothing more came for {patience():g} s") from None
        return b""
