"""Models for the day without a network: fetch them now, verify them, see which are here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from course_lib.pipelines.bundle import (
    MANIFEST,
    Say,
    fetch,
    find,
    folder_name,
    lacking,
    models_folder,
    read_manifest,
    sha256,
)
from course_lib.pipelines.files import expanded
from course_lib.pipelines.registry import REGISTRY, SHIPPED, ModelSpec, spec_for


@dataclass(frozen=True)
class ModelState:
    """Whether a model of the registry is on this machine; `path` is None if it is not."""

    spec: ModelSpec
    path: Path | None
    note: str


def verify(folder: Path) -> list[str]:
    """Compare every file of a fetched folder with its manifest; return what does not match."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST} is missing or damaged, so the folder counts as unfinished"]
    wrong = lacking(folder, manifest)
    for name, entry in manifest["files"].items():
        if name not in wrong and sha256(folder / name) != entry["sha256"]:
            wrong.append(name)
    return wrong


def verify_shipped(spec: ModelSpec) -> Path:
    """Compare a model that ships with the course with its ``SHA256SUMS``; return its folder.

    Raises
    ------
    FileNotFoundError
        If the model, or its list of checksums, is not there.
    ValueError
        If a file differs.
    """
    return verify_sums(SHIPPED / str(spec.folder), spec.title)


def verify_sums(folder: Path, title: str) -> Path:
    """Compare the files of a folder with its ``SHA256SUMS``; return the folder.

    `title` says in messages what the folder holds. Errors are those of `verify_shipped`.
    """
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise FileNotFoundError(
            f"{title} is not part of this installation: {sums} is missing. Run the commands "
            "in the course's folder, installed with  pip install -e .  or get the data again:  "
            "git checkout -- data/models"
        )
    for line in sums.read_text(encoding="utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        path = folder / name.strip()
        if not path.is_file() or sha256(path) != wanted:
            raise ValueError(
                f"{path} is damaged: its SHA-256 is not the one in {sums.name}. Get the file "
                "again:  git checkout -- data/models"
            )
    return folder


def prefetch(
    name: str,
    *,
    to: str | Path | None = None,
    revision: str | None = None,
    say: Say = print,
    progress: bool = True,
) -> Path:
    """Fetch a model now, so that it is there when the network is not; return its folder.

    Parameters
    ----------
    name : str
        A name of the registry, or an id of the hub such as ``"owner/model"``.
    to : path, optional
        Folder for an offline bundle, to hand out in a classroom; default: `models_folder`.
    revision : str, optional
        Another commit than the pinned one.

    Notes
    -----
    Run it again after an interruption: finished files are kept, and the one that was under way goes
    on where it stopped. Every file is compared with the hub's checksum.
    """
    spec = spec_for(name)
    if spec.shipped:
        say(f"{spec.title} ships with the course; it needs no fetching.")
        return verify_shipped(spec)
    folder = expanded(to) if to else models_folder()
    target = folder / folder_name(spec)
    manifest = read_manifest(target)
    if manifest and revision in (None, manifest["commit"]) and not verify(target):
        say(f"{spec.title} is in {target}, whole and verified.")
        return target
    fetch(spec, revision=revision, to=folder, say=say, progress=progress)
    say(f"{spec.title} is in {target}. Use it offline by its path, or with COURSE_MODELS={folder}")
    return target


def model_states() -> list[ModelState]:
    """Which models of the registry are on this machine, without asking the network."""
    states = []
    for spec in REGISTRY.values():
        if spec.shipped:
            folder = SHIPPED / str(spec.folder)
            present = (folder / "SHA256SUMS").is_file()
            note = "ships with the course" if present else f"missing: it should be in {folder}"
            states.append(ModelState(spec, folder if present else None, note))
            continue
        found = find(spec)
        begun = (models_folder() / folder_name(spec)).is_dir()
        absent = "begun; prefetch goes on" if begun else f"not here ({spec.download_gb:g} GB)"
        path = found.path if found else None
        states.append(ModelState(spec, path, str(found.path) if found else absent))
    return states
