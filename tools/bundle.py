"""Make a folder, for a USB stick, from which the course installs without a network.

    python tools/bundle.py --to STICK/portrait_diffusion_bundle
    python tools/bundle.py --to FOLDER --platforms linux windows --python 3.12 --models sd15
    python tools/bundle.py --to FOLDER --check

It needs a network, a git clone without uncommitted changes, and uv (pip install uv). The default
is all platforms and Python 3.11 to 3.13. An interrupted run goes on when it is run again, and a
further run can add platforms. Linux gets PyTorch's builds for CPUs where they can be reached, and
else the ordinary ones with CUDA.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import string
import subprocess
import sys
import tarfile
from pathlib import Path

from bundle_commit import clean_commit, git, lists_of, requirements_of
from bundle_wheels import (
    PARTIAL,
    PLATFORMS,
    TITLES,
    BundleError,
    Wheel,
    choose,
    fetch_all,
    in_mb,
    sha256,
    unpacked_size,
)

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
INFO, SUMS = "bundle.json", "SHA256SUMS"


def main(arguments: list[str] | None = None) -> int:
    """Make or check a bundle; the exit code is 0 if all that was asked for is there."""
    if hasattr(sys.stdout, "reconfigure"):  # for names that Windows' code page lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _options(arguments)
    try:
        return check(options.to.expanduser()) if options.check else make(options)
    except BundleError as error:
        print(f"bundle: {error}", file=sys.stderr)
    except OSError as error:
        print(f"bundle: {error}. What was written before stays; try again.", file=sys.stderr)
    except KeyboardInterrupt:
        print("bundle: stopped. Run it again, and it goes on.", file=sys.stderr)
    return 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="new, or a bundle")
    parser.add_argument("--platforms", nargs="+", choices=PLATFORMS, default=[*PLATFORMS])
    parser.add_argument("--python", nargs="+", default=[*PYTHONS], type=_version, metavar="3.N")
    parser.add_argument("--models", nargs="+", default=[], help="names as for prefetch: sd15 ...")
    parser.add_argument("--check", action="store_true", help="only verify a bundle that is there")
    parser.add_argument("--allow-dirty", action="store_true", help="leave out what is uncommitted")
    parser.add_argument(
        "--find-links", type=Path, metavar="FOLDER", help="take wheels from here, not from an index"
    )
    return parser.parse_args(arguments)


def _version(text: str) -> str:
    if not re.fullmatch(r"3\.\d+", text):
        raise argparse.ArgumentTypeError(f"a version of Python such as 3.12, not {text!r}")
    return text


def make(options: argparse.Namespace) -> int:
    """Make the bundle, or go on with one; return 1 if a part of it is missing."""
    folder = options.to.expanduser().absolute()
    commit = clean_commit(options.allow_dirty)
    info = _open_bundle(folder, commit)
    (folder / SUMS).unlink(missing_ok=True)  # from now on the bundle is unfinished
    _write(folder / INFO, json.dumps(info))
    _write_course(folder, commit)
    failed = 0
    for platform in options.platforms:
        sources = _sources(platform, options.find_links)
        for python in options.python:
            name = f"{platform}-{python}"
            print(f"Wheels for {name}", flush=True)
            try:
                wheels = choose(requirements_of(commit), platform, python, sources)
                info["targets"][name] = _target(wheels, folder / "wheels")
            except BundleError as error:
                failed += 1
                print(f"bundle: {platform}, Python {python}: {error}", file=sys.stderr)
    if not failed:
        _drop_unneeded(folder / "wheels", info["targets"])
    failed += sum(not _fetch_model(model, folder) for model in options.models)
    _finish(folder, info)
    return int(failed > 0)


def _open_bundle(folder: Path, commit: str) -> dict:
    """What `folder` says of itself; refuse one that holds anything but a bundle."""
    if ROOT in [folder.resolve(), *folder.resolve().parents]:
        raise BundleError(f"{folder} lies in the course's own folder; name one outside of it.")
    lists = hashlib.sha256(b"".join(lists_of(commit))).hexdigest()
    now = {"commit": commit, "lists": lists, "targets": {}}
    if (folder / INFO).is_file():
        there = {path.name for path in (folder / "wheels").glob("*.whl")}
        try:
            before = json.loads((folder / INFO).read_text(encoding="utf-8"))
            whole = {k: v for k, v in before["targets"].items() if there.issuperset(v["wheels"])}
            # With the same lists, what other runs fetched stays good
            return now | {"targets": whole} if before["lists"] == lists else now
        except (ValueError, LookupError, TypeError, AttributeError):
            raise BundleError(
                f"{folder / INFO} is no bundle's. Name a new or an empty folder."
            ) from None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f"{folder} holds something else. Name a new or an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return now


def _write_course(folder: Path, commit: str) -> None:
    """The commit's files in ``course/``, and the installers beside it, from the same commit."""
    unfinished = folder / f"course{PARTIAL}"
    shutil.rmtree(unfinished, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit))) as tar:
        tar.extractall(unfinished, filter="data")
    shutil.rmtree(folder / "course", ignore_errors=True)
    os.replace(unfinished, folder / "course")
    for name in ("install.py", "install.sh", "install.ps1"):
        shutil.copyfile(folder / "course" / "tools" / "bundle" / name, folder / name)


def _sources(platform: str, find_links: Path | None) -> list[str]:
    """Options of uv that say where it looks for wheels."""
    if find_links is not None:
        if not find_links.is_dir():
            raise BundleError(f"--find-links: there is no folder {find_links}.")
        return ["--no-index", f"--find-links={find_links.absolute()}"]
    if platform != "linux":
        return []
    sys.path.insert(0, str(ROOT))
    import start

    if start.cpu_builds_answer():
        return ["--torch-backend=cpu"]
    print("No CPU builds of PyTorch can be had: Linux gets the ordinary ones, with CUDA")
    return []


def _target(wheels: tuple[Wheel, ...], folder: Path) -> dict:
    """Fetch the wheels of one platform and Python; what the installer has to know of them."""
    for count, wheel in enumerate(fetch_all(wheels, folder), start=1):
        print(f"  {count} of {len(wheels)}: {wheel.name}", flush=True)
    return {
        "pins": [wheel.pin for wheel in wheels],
        "wheels": [wheel.name for wheel in wheels],
        "installed_bytes": sum(unpacked_size(folder / wheel.name) for wheel in wheels),
    }


def _drop_unneeded(folder: Path, targets: dict) -> None:
    """Remove wheels of earlier runs that no platform needs any more."""
    needed = {name for target in targets.values() for name in target["wheels"]}
    unneeded = [path for path in folder.glob("*") if path.name not in needed]
    for path in unneeded:
        path.unlink()
    if unneeded:
        print(f"Removed: {len(unneeded)} files in {folder} that no platform needs any more")


def _fetch_model(name: str, folder: Path) -> bool:
    """Fetch a model into the bundle with the course's own command; whether that worked."""
    command = [sys.executable, "-m", "course_lib", "prefetch", name, "--to", folder / "models"]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def _finish(folder: Path, info: dict) -> None:
    """Write the README and, last, the checksums of everything; print the sizes."""
    numbers = _numbers(folder, info["targets"])
    pythons: dict[str, list[str]] = {}
    for name in sorted(info["targets"]):
        platform, _, version = name.rpartition("-")
        pythons.setdefault(platform, []).append(version)
    listed = [f"    {TITLES[name]}: Python {', '.join(those)}" for name, those in pythons.items()]
    sizes = [target["installed_bytes"] for target in info["targets"].values()]
    text = (folder / "course" / "tools" / "bundle" / "README.txt").read_text(encoding="utf-8")
    readme = string.Template(text).substitute(
        targets="\n".join(listed) or "    nothing yet",
        installed=in_mb(max(sizes, default=0) + _size(folder / "course")),
        commit=info["commit"][:12], numbers=numbers,
    )  # fmt: skip
    _write(folder / "README.txt", readme)
    _write(folder / INFO, json.dumps(info, indent=1))
    print("Computing the checksums", flush=True)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}" for path in _files(folder)]
    _write(folder / SUMS, "\n".join(lines) + "\n")
    print(numbers)


def _numbers(folder: Path, targets: dict) -> str:
    """A table of the sizes, part by part."""
    rows = [("the course", _size(folder / "course"), "")]
    wheels = {path.name: path.stat().st_size for path in _files(folder / "wheels")}
    rows.append(("wheels, those of several platforms once", sum(wheels.values()), ""))
    for name, target in sorted(targets.items()):
        size = sum(wheels[wheel] for wheel in target["wheels"])
        installed = f"  {len(target['wheels'])} wheels; installed: "
        rows.append((f"  of these for {name}", size, installed + in_mb(target["installed_bytes"])))
    rows.append(("models", _size(folder / "models"), ""))
    rows.append(("in all", _size(folder), ""))
    return "\n".join(f"{name:<42}{in_mb(size):>10}{rest}" for name, size, rest in rows)


def _files(folder: Path) -> list[Path]:
    """The bundle's files, but the list of checksums and files of downloads that go on."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [p for p in found if p != folder / SUMS and p.suffix != PARTIAL]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)


def check(folder: Path) -> int:
    """Compare every file with ``SHA256SUMS``; print those that differ."""
    if not (folder / INFO).is_file():
        raise BundleError(f"{folder} holds no bundle.")
    if not (folder / SUMS).is_file():
        raise BundleError(f"{folder} is unfinished: it has no {SUMS}. Make it again.")
    wrong = 0
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    for line in lines:
        wanted, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or sha256(path) != wanted:
            wrong += 1
            what = "damaged or cut short" if path.is_file() else "missing"
            print(f"bundle: {name} is {what}.", file=sys.stderr)
    if wrong:
        raise BundleError(f"{wrong} of {len(lines)} files are wrong. Make the bundle again.")
    print(f"{len(lines)} files are whole.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
