"""Wheels for another platform and Python than the ones at hand: choose them and fetch them.

uv chooses, since pip reads the requirements' environment markers for the machine it runs on: a set
for Windows that pip chooses on Linux asks for CUDA and lacks colorama. uv writes its choice as a
lock file (PEP 751), with the address, the size and the SHA-256 of each wheel.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; JupyterLab brings tomli there
    import tomli as tomllib

PLATFORMS = {
    "linux": "x86_64-manylinux_2_28",
    "windows": "x86_64-pc-windows-msvc",
    "macos-arm64": "aarch64-apple-darwin",
}
TITLES = {
    "linux": "Linux on Intel or AMD",
    "windows": "Windows on Intel or AMD",
    "macos-arm64": "macOS on Apple silicon",
}
PARTIAL = ".partial"
PATIENCE = 60  # seconds without a byte after which a download has failed


class BundleError(Exception):
    """Something that the user can mend; its text says how."""


@dataclass(frozen=True)
class Wheel:
    """A chosen wheel: its project and version, its file, and where that is to be had."""

    pin: str
    name: str
    url: str
    sha256: str
    size: int | None


def choose(
    requirements: list[str], platform: str, python: str, sources: list[str]
) -> tuple[Wheel, ...]:
    """The newest wheels that satisfy `requirements` together on `platform` and `python`.

    Parameters
    ----------
    requirements : list of str
        Lines as in requirements.txt.
    platform : str
        A key of `PLATFORMS`.
    python : str
        Such as ``"3.12"``.
    sources : list of str
        Options of uv that say where it looks.

    Raises
    ------
    BundleError
        If there is no such set; it names the requirement that has none by itself, if there is one.
    """
    lock, why = _lock(requirements, platform, python, sources)
    if lock is None:
        if "error sending request" in why or "dns error" in why:
            raise BundleError("the package index cannot be reached. Try again with a network.")
        alone = (r for r in requirements if _lock([r], platform, python, sources)[0] is None)
        culprit = next(alone, None)
        about = f"{culprit} has no wheel for it" if culprit else "the requirements disagree"
        raise BundleError(f"{about}. {why}")
    wheels = []
    for package in tomllib.loads(lock)["packages"]:
        if not package.get("wheels"):
            raise BundleError(f"{package['name']} has no wheel for it.")
        wheels.append(_wheel(package))
    return tuple(wheels)


def _lock(
    requirements: list[str], platform: str, python: str, sources: list[str]
) -> tuple[str | None, str]:
    """The lock file's text, or None and uv's own explanation in one line."""
    if importlib.util.find_spec("uv") is None:
        raise BundleError("uv is needed to choose wheels. Type:  pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        wanted, lock = Path(folder, "wanted.in"), Path(folder, "pylock.toml")
        wanted.write_text("\n".join(requirements), encoding="utf-8")
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--only-binary=:all:",
            "--format=pylock.toml", f"--python-platform={PLATFORMS[platform]}",
            f"--python-version={python}", *sources, "--output-file", str(lock), str(wanted),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode != 0:
            return None, " ".join(re.sub(r"[×╰─▶│]", " ", done.stderr).split())
        return lock.read_text(encoding="utf-8"), ""


def _wheel(package: dict) -> Wheel:
    file = package["wheels"][0]  # of this platform and Python; the best comes first
    url = file.get("url") or Path(file["path"]).resolve().as_uri()
    name = file.get("name") or urllib.parse.unquote(url.rsplit("/", 1)[1])
    pin = f"{package['name']}=={package['version']}"
    return Wheel(pin, name, url, file["hashes"]["sha256"], file.get("size"))


def fetch_all(wheels: Iterable[Wheel], folder: Path) -> Iterator[Wheel]:
    """Fetch what `folder` lacks or holds damaged; yield each wheel when it is there, whole.

    Raises
    ------
    BundleError
        If the disk has no room, the network is gone, or a file is not what the index promised. What
        has arrived stays, and no half file is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing, sizes = [], 0
    for wheel in wheels:
        path = folder / wheel.name
        if path.is_file() and sha256(path) == wheel.sha256:
            yield wheel
            continue
        missing.append(wheel)
        sizes += wheel.size or 0
    free = shutil.disk_usage(folder).free
    if sizes > free:
        raise BundleError(
            f"the wheels still to be fetched need {in_mb(sizes)}, and {in_mb(free)} are free on "
            f"the disk of {folder}. Make room, or choose fewer platforms and Pythons."
        )
    for wheel in missing:
        _fetch(wheel, folder)
        yield wheel


def _fetch(wheel: Wheel, folder: Path) -> None:
    partial, digest = folder / f"{wheel.name}{PARTIAL}", hashlib.sha256()
    try:
        with urllib.request.urlopen(wheel.url, timeout=PATIENCE) as source:
            with open(partial, "wb") as file:
                while block := source.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        if digest.hexdigest() != wheel.sha256:
            raise BundleError(
                f"{wheel.name} arrived damaged: its SHA-256 is not the index's. Try again."
            )
        os.replace(partial, folder / wheel.name)
    except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors, too
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EFBIG):
            reason = f"the disk of {folder} is full ({wheel.name}). Make room"
        else:
            reason = f"{wheel.name} could not be fetched ({error}). Check the network"
        raise BundleError(f"{reason}, then try again: what has arrived stays.") from error
    finally:
        partial.unlink(missing_ok=True)


def unpacked_size(path: Path) -> int:
    """Bytes that a wheel takes on the disk once it is installed."""
    with zipfile.ZipFile(path) as wheel:
        return sum(entry.file_size for entry in wheel.infolist())


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def in_mb(size: float) -> str:
    """``1234567890`` -> ``1,235 MB``."""
    return f"{size / 1e6:,.0f} MB"
