"""Painted portraits on disk, safe against killed writers, full disks and other processes.

The rule is the usual one: write a temporary file beside the final one, then rename it. A rename
either happens or does not, so a reader sees a whole file or none. What a reader finds is checked
by its length and checksum all the same, and painted anew if it is not what was written.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import warnings
import zlib
from collections import OrderedDict
from importlib import metadata
from pathlib import Path

import numpy as np

from course_lib.file_writing import remove_stale, write_atomically
from course_lib.portraits.painter import PAINTER_VERSION

CHUNK = 64  # portraits in a file
_MAGIC = b"PORTRAI1"
_HEADER = struct.Struct("<8sIII")  # magic, checksum, number of portraits, size in pixels
_MEMORY_BYTES = 256 * 2**20


def default_cache_dir() -> Path:
    """Where portraits are kept: ``COURSE_CACHE`` if it is set, else the user's cache folder."""
    if os.environ.get("COURSE_CACHE"):
        return Path(os.environ["COURSE_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(base).expanduser() / "portrait-diffusion"


def painter_version() -> str:
    """What the pixels depend on besides the series: `PAINTER_VERSION` and the SVG renderer's."""
    return f"painter {PAINTER_VERSION}, resvg-py {metadata.version('resvg-py')}"


class ChunkCache:
    """Files of up to `CHUNK` portraits each, for one series.

    Parameters
    ----------
    folder : path
        The cache folder, shared by all series; it is made if need be.
    series : str
        Whatever decides the pixels besides the painter: seed, size, styles.
    size : int
        Width and height in pixels.
    must_write : bool
        Whether a folder that cannot be written to is an error; if not, it is only read.

    Raises
    ------
    ValueError
        If the folder cannot be made or written to, with `must_write`. A disk that fills up later
        is not an error: there is one warning, and portraits are painted each time.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        series: str,
        size: int,
        must_write: bool = True,
    ) -> None:
        digest = hashlib.sha256(f"{painter_version()} {series}".encode()).hexdigest()[:16]
        self.folder = Path(folder).expanduser() / f"portraits-{size}px-{digest}"
        self.size = size
        self.writable = True
        self._memory: OrderedDict[int, np.ndarray] = OrderedDict()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            if not must_write:
                self.writable = False
                return
            raise ValueError(
                f"cache_dir={str(folder)!r} cannot be written to ({error}). Give a folder of your "
                "own as cache_dir, set the environment variable COURSE_CACHE to one, or leave the "
                "cache off."
            ) from error
        remove_stale(self.folder)

    def __getstate__(self) -> dict:
        # A worker process reads the files itself: sending it the pixels would take longer.
        return self.__dict__ | {"_memory": OrderedDict()}

    def path(self, chunk: int) -> Path:
        """The file that holds portraits ``chunk * CHUNK`` and following."""
        return self.folder / f"{chunk:06d}.bin"

    def read(self, chunk: int) -> np.ndarray | None:
        """The portraits of a chunk, (N, size, size, 3) with N <= CHUNK; None if there are none."""
        if chunk in self._memory:
            self._memory.move_to_end(chunk)
            return self._memory[chunk]
        try:
            raw = self.path(chunk).read_bytes()
        except OSError:
            return None
        pixels = self._validated(raw)
        if pixels is not None:
            self._remember(chunk, pixels)
        return pixels

    def write(self, chunk: int, pixels: np.ndarray) -> None:
        """Keep the portraits of a chunk; if that fails, warn once and carry on without."""
        self._remember(chunk, pixels)
        if not self.writable:
            return
        body = pixels.tobytes()
        header = _HEADER.pack(_MAGIC, zlib.crc32(body), len(pixels), self.size)
        try:
            write_atomically(self.path(chunk), header + body)
        except OSError as error:
            self.writable = False
            warnings.warn(
                f"The portrait cache in {self.folder} cannot be written any more ({error}). "
                "Nothing is lost: portraits are painted when they are needed, only slower.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _validated(self, raw: bytes) -> np.ndarray | None:
        if len(raw) < _HEADER.size:
            return None
        magic, checksum, count, size = _HEADER.unpack_from(raw)
        body = memoryview(raw)[_HEADER.size :]
        if magic != _MAGIC or size != self.size or len(body) != count * size * size * 3:
            return None
        if zlib.crc32(body) != checksum:
            return None
        return np.frombuffer(body, np.uint8).reshape(count, size, size, 3)

    def _remember(self, chunk: int, pixels: np.ndarray) -> None:
        self._memory[chunk] = pixels
        self._memory.move_to_end(chunk)
        while len(self._memory) > 1 and len(self._memory) * pixels.nbytes > _MEMORY_BYTES:
            self._memory.popitem(last=False)
