"""What ``python -m course_lib doctor`` says of this machine and installation."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from course_lib.device import device_report
from course_lib.memory import system_memory
from course_lib.pipelines import commands, shelf
from course_lib.pipelines.registry import model_spec

DISTRIBUTION = "portrait-diffusion"
REINSTALL = "Run in the course's folder:  pip install -r requirements.txt"
# The name to import, where it is not the package's name with underscores.
_IMPORT_NAMES = {"pillow": "PIL"}

Answer = TypeVar("Answer")


def run_doctor(*options: object) -> int:
    """Print what somebody who helps would ask first; exit code 1 if something is wrong."""
    problems: list[str] = []

    def ask(what: str, question: Callable[[], Answer], otherwise: Answer) -> Answer:
        # On a broken machine anything may be raised, and every other line still counts
        try:
            return question()
        except Exception as error:
            problems.append(f"{what}: {error or type(error).__name__}")
            return otherwise

    report = ask("the device", device_report, None)
    print(report or "Device: unknown", end="\n\n")
    print(f"{'System:':<15}{platform.platform()}, Python {platform.python_version()}")
    memory = ask("the main memory", system_memory, 0)
    print(f"{'Main memory:':<15}{memory / 2**30:.1f} GB")
    free = ask("the disk", lambda: shutil.disk_usage(Path.cwd()).free, 0)
    print(f"{'Free disk:':<15}{free / 2**30:.1f} GB")
    hub = ask("the model hub", commands.describe_hub, "unknown.")
    print(f"{'Model hub:':<15}{hub} The lessons here need no network.")
    print("Models:", *ask("the models", commands.describe_models, ["  unknown"]), sep="\n")
    ask("the mini", lambda: shelf.verify_shipped(model_spec("mini")), Path())
    print("Packages:")
    for name, _, version in ask("the packages", requirements, []):
        print(f"  {name:<14}{version or 'missing'}")
    packages = ask("the packages", check_packages, [REINSTALL])
    problems += packages
    for problem in dict.fromkeys(problems):
        print(f"Problem: {problem}")
    print(REINSTALL if packages else "All packages load.")
    return int(bool(problems or report.warnings))


def requirements() -> list[tuple[str, str, str | None]]:
    """What the course requires: (name, version bounds, installed version or None).

    Raises
    ------
    ValueError
        If the course itself is not installed.
    """
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"the course is not installed. {REINSTALL}") from None
    found = []
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except (importlib.metadata.PackageNotFoundError, KeyError, OSError):
            version = None  # not there, or its own metadata are damaged
        found.append((requirement.name, str(requirement.specifier), version))
    return found


def check_packages() -> list[str]:
    """Import everything that the course requires; return one sentence for each problem."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion

    problems = []
    for name, bounds, version in requirements():
        if version is None:
            problems.append(f"{name} is not installed.")
            continue
        try:
            fits = SpecifierSet(bounds).contains(version, prereleases=True)
        except InvalidVersion:
            fits = False
        if not fits:
            problems.append(f"{name} {version} is installed, but the course needs {bounds}.")
            continue
        try:
            importlib.import_module(_IMPORT_NAMES.get(name, name.replace("-", "_")))
        except (Exception, SystemExit) as error:  # a broken package may raise anything
            problems.append(f"{name} {version} does not load: {error or type(error).__name__}")
    return problems
