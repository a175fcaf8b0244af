"""The course on Colab, Kaggle and their like: what the folded cell of a published lesson runs.

Such a host starts with packages of its own and without the course. `tools/publish.py` writes the
cell; it clones the course and calls `prepare`. Only the standard library is imported above, since
nothing else need be there yet.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = ("torch", "torchvision", "numpy")  # built for the host's GPU and for each other
# A notebook that is already on a server, and the tests, are not among what a lesson runs
NOT_FOR_LESSONS = {"jupyterlab", "pytest", "pytest-xdist", "nbval", "nbclient", "nbformat"}
LOADED = {"numpy": "numpy", "pillow": "PIL", "matplotlib": "matplotlib"}  # package: its module


class SetupStopped(RuntimeError):
    """Why the lesson cannot go on. A notebook shows the sentence and no traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"Set-up stopped: {self}"]


def prepare(folder: Path) -> None:
    """Install what the lessons need and lack, then change into the folder of the lessons.

    Parameters
    ----------
    folder : Path
        The course's folder. It goes onto the import path of this process and of those that it
        starts. The course is not installed into the environment: after a restart the cell has to
        run again, because a new process begins in another folder.

    Raises
    ------
    SetupStopped
        If packages cannot be installed, or the session has to be restarted first.
    """
    try:
        check_loaded()
        missing = missing_requirements(folder / "requirements.txt")
        if missing:
            print(f"Installing {', '.join(missing)} ...", flush=True)
            install(missing)
            check_loaded()
    except BaseException:  # interrupted, too
        forget(folder)
        raise
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), inherited]))
    os.chdir(folder / "notebooks")
    from course_lib.device import get_device

    kind = get_device().type
    print("Ready. The lessons compute on the " + ("CPU." if kind == "cpu" else f"GPU ({kind})."))


def forget(folder: Path) -> None:
    """Take the course off the import path: the cell, run again, must not find it installed."""
    while str(folder) in sys.path:
        sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "course_lib"]:
        del sys.modules[name]


def missing_requirements(path: Path) -> list[str]:
    """The lines of a requirements file that lessons need and this environment does not meet.

    Raises
    ------
    SetupStopped
        If one of `KEPT` is there but too old: replacing it would break what was built for it.
    """
    from packaging.requirements import Requirement

    missing = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith(("#", "-")):
            continue
        requirement = Requirement(line)
        there = installed(requirement.name)
        if requirement.name in NOT_FOR_LESSONS:
            continue
        if there and requirement.specifier.contains(there, prereleases=True):
            continue
        if there and requirement.name in KEPT:
            raise SetupStopped(
                f"{requirement.name} {there} is here, and the course needs {requirement}; choose a "
                "newer runtime or image, because the set-up does not replace it."
            )
        missing.append(str(requirement))
    return missing


def install(requirements: list[str]) -> None:
    """``pip install`` with the versions of `KEPT` that are there as constraints."""
    kept = [f"{name}=={version}\n" for name in KEPT if (version := installed(name))]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("".join(kept), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", constraints]
        pip = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if pip.returncode:
        lines = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
        raise SetupStopped(
            f"pip could not install {', '.join(requirements)}: "
            f"{(lines or pip.stderr.splitlines() or ['no reason given'])[-1]}"
        )
    importlib.invalidate_caches()  # modules that are new since the process started


def check_loaded() -> None:
    """Raise SetupStopped if a package that is loaded is not the one that is installed."""
    for package, module in LOADED.items():
        loaded = getattr(sys.modules.get(module), "__version__", None)
        there = installed(package)
        if loaded and there and loaded != there:
            raise SetupStopped(
                f"{package} {loaded} is loaded and {package} {there} is installed; restart the "
                "session (in Colab: Runtime > Restart session), then run this cell again."
            )


def installed(package: str) -> str | None:
    """The version of an installed package, None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
