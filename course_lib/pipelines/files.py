"""Which files of a repository a pipeline needs, and whether a folder on disk has them.

Weights are safetensors only, 16-bit ones where there are any; safety checkers, duplicates in other
formats and demonstration pictures are left out.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

INDEX = "model_index.json"
# Never loaded: the classifier that blanks finished images, and the preprocessing of its input.
UNUSED_COMPONENTS = frozenset({"safety_checker", "feature_extractor"})
PICKLE_ENDINGS = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
_PROGRAMS = (".py", ".pyc", ".pyd", ".so", ".dll")
_SMALL = (".json", ".txt", ".model", ".jinja")
_LARGEST_HEADER = 100 * 2**20  # bytes; the limit of the safetensors format itself
_WEIGHTS = re.compile(
    r"^(diffusion_pytorch_model|model)(?P<v1>\.fp16)?(?P<shard>-\d+-of-\d+)?(?P<v2>\.fp16)?"
    r"\.safetensors$"
)


class NeedsSafetensors(ValueError):
    """A component has weights, but as pickles only."""


class IncompleteModel(ValueError):
    """A component has no weights at all, or the folder is no diffusers folder."""


class ForeignCode(ValueError):
    """A model's folder brings program files, or names classes that are not those of a library."""


def expanded(path: str | Path) -> Path:
    """The path with ``~`` replaced by the home folder, or as it is where there is none."""
    return Path(os.path.expanduser(path))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that somebody else wrote.

    Raises
    ------
    ValueError
        If it is no JSON, or nested so deeply that Python's parser gives up.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, *, kind: type = dict) -> Any:
    """Read a JSON file whose outermost value must be of `kind`.

    Raises
    ------
    IncompleteModel
        If it cannot be read, is no JSON, or holds something else; the message names the file.
    """
    try:
        content = parse_json(path.read_bytes())
    except OSError as error:
        raise IncompleteModel(f"{path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise IncompleteModel(f"{path} is damaged: it holds no valid JSON") from None
    if not isinstance(content, kind):
        raise IncompleteModel(f"{path} is damaged: its JSON is no {kind.__name__}")
    return content


def stays_inside(name: Any) -> bool:
    """Whether `name` is a relative path with ``/`` that cannot leave the folder it is put into."""
    if not isinstance(name, str) or not name.isprintable() or re.search(r"[\\:]", name):
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """The tensors that a safetensors file declares: name -> dtype, shape and data_offsets.

    The format: 8 bytes with the length n of the header, n bytes of JSON, then the numbers.

    Raises
    ------
    ValueError
        If it is no safetensors file, or cut short.
    """
    size = path.stat().st_size
    try:
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size, _LARGEST_HEADER):
                raise ValueError("no header")
            tensors = parse_json(stream.read(length))
        tensors.pop("__metadata__", None)
        for entry in tensors.values():
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= size - 8 - length:
                raise ValueError("cut short")
            # The smallest numbers have 4 bits; a count that the bytes cannot hold is made up
            edges = [int(edge) for edge in entry["shape"]]
            if min(edges, default=0) < 0 or prod(edges) > 2 * (end - begin):
                raise ValueError("no shape")
    except (struct.error, ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(
            f"{path} is no whole safetensors file: it is cut short, or it is a pickle under that "
            "name, which is never loaded. Get the file again."
        ) from None
    return tensors


def components(index: Mapping[str, Any]) -> list[str]:
    """Names of the components that a ``model_index.json`` lists and that the course loads."""
    found = []
    for name, value in index.items():
        listed = isinstance(value, list) and len(value) == 2 and value[0] is not None
        if listed and name not in UNUSED_COMPONENTS:
            found.append(name)
    return found


def needed_files(index: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Choose among the file names of a repository those that its pipeline needs.

    Parameters
    ----------
    index : mapping
        The content of ``model_index.json``.
    names : iterable of str
        Every file of the repository, with ``/`` between folders.

    Raises
    ------
    NeedsSafetensors
        If a component has its weights as pickles only.
    IncompleteModel
        If a component is not there at all.
    """
    names = list(names)
    chosen = [name for name in names if name == INDEX or _is_notice(name)]
    listed = components(index)
    if not listed:
        raise IncompleteModel(f"its {INDEX} lists no components")
    for component in listed:
        inside = [n for n in names if PurePosixPath(n).parent.as_posix() == component]
        if not inside:
            raise IncompleteModel(f"its component {component} is missing")
        files = {PurePosixPath(name).name: name for name in inside}
        small = [name for file, name in files.items() if file.endswith(_SMALL)]
        weights = _weights(files)
        has_pickle = any(file.endswith(PICKLE_ENDINGS) for file in files)
        if not weights and has_pickle:
            raise NeedsSafetensors(f"its component {component} has pickled weights only")
        if not weights and _wants_weights(component):
            raise IncompleteModel(f"its component {component} has no weights in safetensors")
        half = has_half_files(weights)
        chosen += weights
        # The index of a model in parts comes in two versions as well
        chosen += [n for n in small if ".index." not in n or has_half_files([n]) == half]
    return sorted(set(chosen))


def _is_notice(name: str) -> bool:
    """Licence and model card travel with the weights."""
    return "/" not in name and name.upper().startswith(("LICENSE", "LICENCE", "README.MD"))


def _wants_weights(component: str) -> bool:
    return not component.startswith(("tokenizer", "scheduler", "processor", "image_processor"))


def _weights(files: Mapping[str, str]) -> list[str]:
    """The 16-bit files if there are any, else the full ones."""
    half, full = [], []
    for file, name in files.items():
        match = _WEIGHTS.match(file)
        if match:
            (half if match["v1"] or match["v2"] else full).append(name)
    return half or full


def read_index(folder: Path) -> dict[str, Any]:
    """The ``model_index.json`` of a diffusers folder.

    Raises
    ------
    IncompleteModel
        If it is not there or no JSON.
    """
    if not (folder / INDEX).is_file():
        raise IncompleteModel(f"{folder} has no {INDEX}, so it is no diffusers folder")
    return read_json(folder / INDEX)


def folder_names(folder: Path) -> list[str]:
    """Names of the files of a diffusers folder, one folder deep, with ``/``."""
    paths = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(p.relative_to(folder).as_posix() for p in paths if p.is_file())


def refuse_programs(folder: Path) -> None:
    """Raise `ForeignCode` if there is code in a folder, beside the weights or the index."""
    programs = [name for name in folder_names(folder) if name.endswith(_PROGRAMS)]
    if programs:
        raise ForeignCode(
            f"{folder} holds program files ({', '.join(programs[:3])}), which a model does not "
            "need and some versions of diffusers would run. Remove them to load the model."
        )


def check_folder(folder: Path) -> list[str]:
    """The files that the pipeline in a folder needs.

    Raises
    ------
    IncompleteModel, NeedsSafetensors, ForeignCode
        If it cannot be loaded as it is.
    """
    refuse_programs(folder)
    names = needed_files(read_index(folder), folder_names(folder))
    for name in (n for n in names if ".safetensors.index." in n):
        parts = read_json(folder / name).get("weight_map")
        if not isinstance(parts, dict) or not parts:
            raise IncompleteModel(f"{folder / name} is damaged: it has no weight_map")
        here = [PurePosixPath(n).name for n in names if n.startswith(name.split("/")[0] + "/")]
        lost = [part for part in parts.values() if part not in here]
        if lost:
            raise IncompleteModel(f"of {name}, {len(set(map(str, lost)))} parts are missing")
    return names


def has_half_files(names: Iterable[str]) -> bool:
    """Whether weights are there as a variant named ``fp16``."""
    return any(".fp16" in PurePosixPath(name).name for name in names)


def folder_bytes(folder: Path) -> int:
    """Bytes of the weights that the pipeline in a folder loads."""
    names = (name for name in check_folder(folder) if name.endswith(".safetensors"))
    return sum((folder / name).stat().st_size for name in names)
