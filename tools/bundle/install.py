"""Install the course from the folder that holds this file, without a network.

install.sh and install.ps1 find a Python that suits and run this with it. Nothing that is there is
overwritten; an interrupted installation goes on when it is run again. ``--suits`` only says with
its exit code whether this Python will do. Every Python from 3.6 on can read this file, so that one
that is too old says so.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

STICK = Path(__file__).resolve().parent
ORIGIN = ".from_bundle"  # names the commit that the files of a course came from
POWERSHELL = "powershell -ExecutionPolicy Bypass -File install.ps1"
COMMAND = POWERSHELL if os.name == "nt" else "sh install.sh"


class InstallError(Exception):
    """Something that the user can mend; its text says how."""


def main(arguments=None):
    """Install, or say in one sentence why not; return the exit code."""
    if hasattr(sys.stdout, "reconfigure"):  # for folders whose names Windows' code page lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="install", description="Install the course.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path.home() / "portrait_diffusion")
    parser.add_argument("--suits", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        bundle = json.loads((STICK / "bundle.json").read_text(encoding="utf-8"))
        target = bundle["targets"].get(own_name())
        if options.suits:
            return int(target is None)
        if target is None:
            raise InstallError(unsuited(sorted(bundle["targets"])))
        return install(bundle, target, options.folder.expanduser().absolute())
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
    except (OSError, ValueError, KeyError) as error:
        print(f"install: {error}. Nothing of yours was changed.", file=sys.stderr)
    except KeyboardInterrupt:
        print("install: stopped. Run it again, and it goes on.", file=sys.stderr)
    return 1


def own_name():
    """This Python as the bundle names it: ``linux-3.12``, or free-threaded ``linux-3.13t``."""
    # What the Python was built for: on a 64-bit Windows that may be 32-bit
    name = sysconfig.get_platform()
    if sys.platform == "darwin":  # a universal build is what the machine is
        name = f"macos-{platform.machine()}"
    elif sys.maxsize > 2**32:
        name = {"linux-x86_64": "linux", "win-amd64": "windows"}.get(name, name)
    else:
        name = f"32-bit {name}"
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return "{}-{}.{}".format(name, *sys.version_info) + threads


def unsuited(targets):
    """One sentence: this Python is too old, too new, or built for what the bundle lacks."""
    mine, version = own_name().rsplit("-", 1)
    pythons = [name.rsplit("-", 1)[1] for name in targets if name.rsplit("-", 1)[0] == mine]
    if not pythons:
        return "this Python is built for {}, and the folder has wheels for {} only.".format(
            mine, ", ".join(targets) or "nothing"
        )
    order = [tuple(map(int, text.split("."))) for text in pythons]
    age = "not among them"
    if not min(order) <= sys.version_info[:2] <= max(order):
        age = "too old" if sys.version_info[:2] < min(order) else "too new"
    return (
        "the folder has wheels for Python {}, and Python {} is {}. Install one of those from "
        "python.org, then run this again.".format(", ".join(pythons), version, age)
    )


def install(bundle, target, folder):
    """Check, copy, install and try the course; return the exit code of its check."""
    origin = folder / ORIGIN
    if folder.is_dir() and any(folder.iterdir()):
        if not origin.is_file() or origin.read_text(encoding="utf-8") != bundle["commit"]:
            raise InstallError(
                f"{folder} holds other files, or another version of the course. Nothing there was "
                f"changed; name a new folder:  {COMMAND} FOLDER"
            )
    print("Checking the files of the bundle", flush=True)
    sums = read_sums()
    wanted = [name for name in sums if name.startswith(("course/", "models/"))]
    wanted += ["wheels/" + name for name in target["wheels"]]
    check(wanted, sums)
    require_space(folder, target["installed_bytes"] + size_of(sums, "course/"))
    print(f"Copying the course to {folder}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    origin.write_text(bundle["commit"], encoding="utf-8")
    kept = copy_missing(sums, "course/", folder)
    if kept:
        print(f"{len(kept)} files were changed there and stay as they are: {short(kept)}")
    python, code = set_up(target, folder)
    if code == 0:
        copy_models(sums, python, folder)
        print(
            "\nThe course is installed. To begin, with or without a network:\n\n"
            # Not python3: that may be an older one, as on macOS
            f'    cd "{folder}"\n    {python.relative_to(folder)} start.py'
        )
    return code


def read_sums():
    """The paths in the bundle and their SHA-256."""
    file = STICK / "SHA256SUMS"
    if not file.is_file():
        raise InstallError(f"the bundle is unfinished: {file} is missing. Copy it again.")
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.partition("  ")[2]: line.partition("  ")[0] for line in lines}


def check(names, sums):
    """Raise InstallError if a file of the bundle is missing or cut short."""
    for name in names:
        path = STICK / name
        if not path.is_file() or sha256(path) != sums.get(name):
            raise InstallError(
                f"{name} in the bundle is missing, damaged or cut short. Copy the bundle again; "
                "nothing was installed."
            )


def sha256(path):
    digest = hashlib.sha256()
    with open(str(path), "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def size_of(sums, part):
    return sum((STICK / name).stat().st_size for name in sums if name.startswith(part))


def require_space(folder, needed):
    """Raise InstallError unless `needed` bytes are free where `folder` is or will be."""
    if (folder / ".venv").exists():  # a part of it is there already
        return
    place = next(parent for parent in [folder, *folder.parents] if parent.exists())
    free = shutil.disk_usage(str(place)).free
    if free < needed:
        raise InstallError(
            f"{needed / 1e9:.1f} GB are needed, and the disk of {place} has {free / 1e9:.1f} GB "
            f"free. Make room, or name a folder elsewhere:  {COMMAND} FOLDER"
        )


def copy_missing(sums, part, folder):
    """Copy the files of one part that `folder` lacks; return those that are there and differ."""
    kept = []
    for name in (name for name in sums if name.startswith(part)):
        copy = folder / name[len(part) :]
        if copy.exists():
            if sha256(copy) != sums[name]:
                kept.append(name[len(part) :])
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial = copy.with_name(copy.name + ".partial")
        try:
            shutil.copyfile(str(STICK / name), str(partial))
            os.replace(str(partial), str(copy))
        finally:
            if partial.exists():
                partial.unlink()
    return kept


def set_up(target, folder):
    """Make the virtual environment, install into it and check; its Python, and the exit code."""
    sys.path.insert(0, str(folder))
    import start  # the course's own: it notes what is installed, so that it needs no network later

    python = start.make_environment(folder / ".venv")
    if python is None:
        return None, 1
    with tempfile.TemporaryDirectory() as temporary:
        pins = Path(temporary, "pins.txt")
        pins.write_text("\n".join(target["pins"]), encoding="utf-8")
        # Addresses, since pip splits these variables at spaces
        environment = dict(
            os.environ, PIP_NO_INDEX="1", PIP_FIND_LINKS=(STICK / "wheels").as_uri(),
            PIP_CONSTRAINT=pins.as_uri(), PIP_CONFIG_FILE=os.devnull,
        )  # fmt: skip
        command = [str(python), str(folder / "start.py"), "--check"]
        return python, subprocess.call(command, env=environment, cwd=str(folder))


def copy_models(sums, python, folder):
    """Copy large models, where the bundle has some, to where the course looks for them."""
    if not any(name.startswith("models/") for name in sums):
        return
    ask = "from course_lib.pipelines.bundle import models_folder; print(models_folder())"
    try:
        answer = subprocess.check_output([str(python), "-c", ask], cwd=str(folder))
    except subprocess.CalledProcessError:
        raise InstallError(
            "the course is installed, but not its models: the lines above say why. Run this again."
        ) from None
    place = Path(os.fsdecode(answer).strip())
    require_space(place, size_of(sums, "models/"))
    print(f"Copying the models to {place}", flush=True)
    copy_missing(sums, "models/", place)


def short(names):
    more = ", ..." if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


if __name__ == "__main__":
    sys.exit(main())
