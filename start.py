"""Install the course where it does not disturb the system, then start or test it.

    python3 start.py          # Windows: py start.py
    python3 start.py --test

Other arguments go on to ``python -m course_lib start`` or ``pytest``. Packages go into the active
environment, or where none is active into ``.venv`` beside this file; interrupted runs go on.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  (before anything that an older Python cannot read)
    sys.exit(
        "start.py: The course needs Python 3.10 or later, and this is Python "
        f"{sys.version.split()[0]}. Install a newer one from python.org, or use conda: see README."
    )

import hashlib
import http.client
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent
STAMP = Path(sys.prefix) / "portrait-diffusion-installed.txt"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
NEEDED_GB = {"cpu": 2.5, "cuda": 7.0}  # on Linux the ordinary PyTorch brings CUDA
PATIENCE = 15  # seconds without an answer after which a server counts as out of reach


def main(arguments: list[str]) -> int:
    """Install what is missing and hand over; return the exit code of what was started."""
    if hasattr(sys.stdout, "reconfigure"):  # for folders whose names Windows' code page lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.prefix == sys.base_prefix != os.environ.get("CONDA_PREFIX"):  # no environment is active
        python = make_environment(ROOT / ".venv")
        return run([python, __file__, *arguments]) if python else 1
    if not (is_installed() or install()):
        return 1
    test = arguments[:1] == ["--test"]
    command = ["pytest", *arguments[1:]] if test else ["course_lib", "start", *arguments]
    return run([sys.executable, "-m", *command], cwd=ROOT)


def make_environment(folder: Path) -> Path | None:
    """The Python of a virtual environment, made if it is not there; None if that failed."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # An interrupted run, or a Python that was upgraded since, leaves an environment without use
    if python.exists() and run([python, "-c", ""], stderr=subprocess.DEVNULL) == 0:
        return python
    if importlib.util.find_spec("ensurepip") is None:
        return fail(
            "This Python cannot make virtual environments. Type:  sudo apt install python3-venv  "
            "(not on Debian or Ubuntu: the package that has Python's venv), then try again."
        )
    print(f"Making a virtual environment in {folder}", flush=True)
    if run([sys.executable, "-m", "venv", "--clear", folder]) != 0:
        return fail(f"{folder} could not be made{if_full(ROOT)}. The lines above say why.")
    return python


def is_installed() -> bool:
    """Whether these very requirements were installed here and all packages are still there."""
    noted = STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted()
    return noted and all(has_package(re.split(r"[<>=!~ ]", line)[0]) for line in requirements())


def install() -> bool:
    """Install the requirements with pip into the active environment, or say what went wrong."""
    # Environments of uv and interrupted ones have no pip
    if not has_package("pip") and run([sys.executable, "-m", "ensurepip", "--default-pip"]) != 0:
        return fail(f"{sys.prefix} has no pip. Leave this environment, then try again.")
    if not (has_package("torch") and has_package("torchvision")):
        # Then pip has a folder of wheels, of whichever build; the words are those that it knows
        words = ("1", "true", "t", "yes", "y", "on")
        offline = os.environ.get("PIP_NO_INDEX", "").lower() in words
        plain = sys.platform != "linux" or offline or prefers_cpu_builds()
        build = "cpu" if plain else "cuda"
        free = shutil.disk_usage(sys.prefix).free / 1e9
        if free < NEEDED_GB[build]:
            place = f"the disk of {sys.prefix} has {free:.1f} GB free"
            return fail(f"The packages need {NEEDED_GB[build]:g} GB; {place}. Make room first.")
        print(f"Installing the packages into {sys.prefix}; this takes some minutes", flush=True)
        if sys.platform == "linux" and build == "cpu" and not offline:
            torch = [line for line in requirements() if re.match(r"torch(vision)?\b", line)]
            if pip(f"--timeout={PATIENCE}", "--index-url", CPU_BUILDS, *torch) != 0:
                print("No CPU builds of PyTorch can be had: taking the ordinary ones", flush=True)
    if pip("-r", "requirements.txt") != 0:
        return fail(
            f"The packages could not be installed{if_full(sys.prefix, tempfile.gettempdir())}. "
            "The lines above say why; without a network nothing can be fetched. What has arrived "
            "stays: try again."
        )
    STAMP.write_text(wanted(), encoding="utf-8")
    return True


def pip(*arguments: str) -> int:
    """``pip install``; PIP_USER would send the packages out of the environment."""
    options = ["--no-user", "--retries=2", "--disable-pip-version-check"]
    return run([sys.executable, "-m", "pip", "install", *options, *arguments], cwd=ROOT)


def prefers_cpu_builds() -> bool:
    """Whether there is no NVIDIA driver, and PyTorch's builds for CPUs can be reached."""
    if any(map(os.path.exists, ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg"))):  # dxg: WSL
        return False
    return cpu_builds_answer()


def cpu_builds_answer() -> bool:
    """Whether PyTorch's builds for CPUs can be reached."""
    try:
        with urllib.request.urlopen(f"{CPU_BUILDS}/torch/", timeout=PATIENCE):
            return True
    except (OSError, http.client.HTTPException):
        return False


def requirements() -> list[str]:
    """The lines of requirements.txt that name packages."""
    return re.findall(r"^\w.*", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)


def has_package(name: str) -> bool:
    return next(importlib.metadata.distributions(name=name), None) is not None


def wanted() -> str:
    """What `STAMP` says when all is installed: it changes with the lists and with the folder."""
    lists = b"".join((ROOT / name).read_bytes() for name in ("requirements.txt", "pyproject.toml"))
    return f"{ROOT} {hashlib.sha256(lists).hexdigest()}"


def if_full(*folders) -> str:
    """Half a sentence where a disk has next to no room left."""
    full = [str(folder) for folder in folders if shutil.disk_usage(folder).free < 200e6]
    return f", for the disk of {full[0]} is full" if full else ""


def run(command: list, **options) -> int:
    """Run a command to its end; Ctrl-C reaches it as well, so its own answer is waited for."""
    process = subprocess.Popen([str(part) for part in command], **options)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def fail(message: str) -> None:
    print(f"start.py: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
