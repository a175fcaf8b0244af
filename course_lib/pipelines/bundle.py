"""Whole models on the disk: find them, and fetch them from the hub.

A model's folder is a plain diffusers folder with a small manifest, ``COURSE_MODEL.json``, which is
written last: a folder without it is unfinished. The same folder is the bundle that a teacher hands
out. Models lie in ``COURSE_MODELS``, or in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from course_lib.file_writing import write_atomically
from course_lib.pipelines import files as layout
from course_lib.pipelines.fetch import Progress, fetch_file, require_space
from course_lib.pipelines.http_requests import HubError
from course_lib.pipelines.hub import WHOLE_HUB, Listing, ModelUnavailable, list_files
from course_lib.pipelines.registry import ModelSpec, Source

MANIFEST = "COURSE_MODEL.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """A model on the disk: its folder (or single file), where it came from, and which commit."""

    path: Path
    source: str
    revision: str | None


def models_folder() -> Path:
    """Where fetched models lie: ``COURSE_MODELS`` if it is set, else the user's cache folder."""
    if os.environ.get("COURSE_MODELS"):
        return layout.expanded(os.environ["COURSE_MODELS"])
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return layout.expanded(base) / "portrait_diffusion" / "models"


def folder_name(spec: ModelSpec) -> str:
    """The model's folder beneath `models_folder`."""
    return spec.name.replace("/", "--")


def find(spec: ModelSpec, revision: str | None = None) -> Found | None:
    """The model on this disk: in our folder, or whole in the hub's own cache."""
    own = models_folder() / folder_name(spec)
    manifest = read_manifest(own)
    if manifest and revision in (None, "main", manifest["commit"]) and not lacking(own, manifest):
        path = own / manifest["file"] if manifest.get("file") else own
        return Found(path, manifest["repo"], manifest["commit"])
    return next(filter(None, (_in_hub_cache(s, revision) for s in spec.sources)), None)


def read_manifest(folder: Path) -> dict | None:
    """The manifest of a finished folder; None if it is missing, or not as `fetch` writes it."""
    try:
        manifest = layout.read_json(folder / MANIFEST)
    except layout.IncompleteModel:
        return None
    files, single = manifest.get("files"), manifest.get("file")
    if not isinstance(files, dict) or not files or not (single is None or single in [*files]):
        return None
    for name, entry in files.items():
        # A name such as ../x would point to a file that belongs to somebody else
        if not layout.stays_inside(name) or not isinstance(entry, dict):
            return None
        if not isinstance(entry.get("size"), int) or not isinstance(entry.get("sha256"), str):
            return None
    named = all(isinstance(manifest.get(key), str) for key in ("repo", "commit"))
    return manifest if named else None


def lacking(folder: Path, manifest: dict) -> list[str]:
    """Files of the manifest that are missing or have another size."""
    lacking = []
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"]:
            lacking.append(name)
    return lacking


def _in_hub_cache(source: Source, revision: str | None) -> Found | None:
    """A whole snapshot that another program left in huggingface_hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    if source.file:
        return None
    try:  # another program's folder may hold anything
        wanted = revision or source.revision
        index = try_to_load_from_cache(source.repo, layout.INDEX, revision=wanted)
        if not isinstance(index, str):  # None, or a mark of a file known to be absent
            return None
        folder = Path(index).parent
        layout.check_folder(folder)
    except (OSError, ValueError):
        return None
    return Found(folder, source.repo, folder.name)  # a snapshot's folder is named by its commit


def fetch(
    spec: ModelSpec,
    *,
    revision: str | None = None,
    to: Path | None = None,
    say: Say = print,
    progress: bool = True,
) -> Found:
    """Fetch a model from the first of its sources that has it.

    Raises
    ------
    ModelUnavailable
        With the reason for each source, and what to do.
    """
    folder = (to or models_folder()) / folder_name(spec)
    attempts = []
    for source in spec.sources:
        try:
            with _alone(folder, say):
                return _fetch_from(source, spec, revision, folder, say, progress)
        except HubError as error:
            attempts.append((str(source), error.kind, str(error)))
        except layout.NeedsSafetensors as error:
            attempts.append((str(source), "pickles", str(error)))
        except layout.IncompleteModel as error:
            attempts.append((str(source), "missing", str(error)))
        except OSError as error:  # of the disk: the network's errors are HubErrors
            attempts.append((str(folder), "disk", str(error)))
        if attempts[-1][1] in (*WHOLE_HUB, "disk"):
            break
    untried = [str(source) for source in spec.sources[len(attempts) :]]
    raise ModelUnavailable(spec.title, attempts, untried)


@contextlib.contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Let one program at a time write into a model's folder; the next one waits its turn."""
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Another program is fetching into {folder}; waiting until it has finished.")
            lock.acquire()
        except NotImplementedError:  # a network folder without locks
            pass
        yield
    finally:
        lock.release()


def fetch_configuration(spec: ModelSpec) -> Path:
    """Fetch a model's configuration and tokenizer only, a few megabytes; return the folder.

    Raises
    ------
    ModelUnavailable
        With the reason for each source.
    """
    folder = models_folder() / f"{folder_name(spec)}--configuration"
    attempts = []
    for source in (s for s in spec.sources if not s.file):
        try:
            with _alone(folder, print):
                listing = list_files(source.repo, source.revision)
                for name in _diffusers_names(listing, folder):
                    file = listing.get(name)
                    if file is not None and not name.endswith(".safetensors"):
                        fetch_file(listing, file, folder / name)
            return folder
        except HubError as error:
            attempts.append((str(source), error.kind, str(error)))
        except (layout.NeedsSafetensors, layout.IncompleteModel) as error:
            attempts.append((str(source), "missing", str(error)))
    raise ModelUnavailable(f"The configuration of {spec.title}", attempts)


def _fetch_from(
    source: Source, spec: ModelSpec, revision: str | None, folder: Path, say: Say, progress: bool
) -> Found:
    listing = list_files(source.repo, revision or source.revision)
    (folder / MANIFEST).unlink(missing_ok=True)  # from now on the folder is unfinished
    by_name = {file.name: file for file in listing.files}
    folder.mkdir(parents=True, exist_ok=True)
    if source.file:
        names = _single_file_names(source, by_name)
    else:
        names = _diffusers_names(listing, folder)
    total = sum(by_name[name].size for name in names)
    say(
        f"Fetching {spec.title} from {source} into {folder}: {total / 1e9:.2f} GB, "
        f"licence {spec.licence}."
    )
    require_space(folder, (by_name[name] for name in names), spec.title)
    with _bar(total, progress) as bar:
        for name in sorted(names, key=lambda n: by_name[n].size):
            fetch_file(listing, by_name[name], folder / name, progress=bar)
    if not source.file:
        _drop_strays(folder, names)
        layout.check_folder(folder)
    _write_manifest(folder, source, spec, listing, names)
    path = folder / source.file if source.file else folder
    return Found(path, source.repo, listing.commit)


def _drop_strays(folder: Path, names: Iterable[str]) -> None:
    """Remove weights that another copy or revision left here, since they would be loaded."""
    for name in set(layout.folder_names(folder)) - set(names):
        if name.endswith((".safetensors", ".partial")):
            (folder / name).unlink()


def _single_file_names(source: Source, by_name: dict) -> list[str]:
    if source.file not in by_name:
        raise HubError("missing", f"{source.file} is not there any more")
    return [source.file]


def _diffusers_names(listing: Listing, folder: Path) -> list[str]:
    """Fetch the index first, since it says which components there are."""
    index = listing.get(layout.INDEX)
    if index is None:
        names = [file.name for file in listing.files]
        if any(name.endswith(layout.PICKLE_ENDINGS) for name in names):
            raise layout.NeedsSafetensors("it has pickled weights only, and no diffusers folder")
        raise layout.IncompleteModel(f"it has no {layout.INDEX}, so it is no diffusers folder")
    fetch_file(listing, index, folder / layout.INDEX)
    content = layout.read_index(folder)
    return layout.needed_files(content, [file.name for file in listing.files])


def _write_manifest(
    folder: Path, source: Source, spec: ModelSpec, listing: Listing, names: Iterable[str]
) -> None:
    files = {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in sorted(names)
    }
    manifest = {
        "model": spec.name, "title": spec.title, "licence": spec.licence, "repo": source.repo,
        "commit": listing.commit, "file": source.file, "files": files,
    }  # fmt: skip
    write_atomically(folder / MANIFEST, f"{json.dumps(manifest, indent=1)}\n".encode())


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _bar(total: int, shown: bool) -> Iterator[Progress]:
    """A progress bar in bytes; what it yields is told how many have arrived."""
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1000, disable=not shown) as bar:
        yield bar.update
