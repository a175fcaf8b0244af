"""Which files of a repository a pipeline needs, and whether a folder on disk has them.

Weights are safetensors only, 16-bit ones where there are any; safety checkers, duplicates in other
formats and demonstration pictures are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

INDEX = "model_index.json"
# Never loaded: the classifier that blanks finished images, and the preprocessing of its input.
UNUSED_COMPONENTS = frozenset({"safety_checker", "feature_extractor"})
PICKLE_ENDINGS = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
_SMALL = (".json", ".txt", ".model", ".jinja")
_WEIGHTS = re.compile(
    r"^(diffusion_pytorch_model|model)(?P<v1>\.fp16)?(?P<shard>-\d+-of-\d+)?(?P<v2>\.fp16)?"
    r"\.safetensors$"
)


class NeedsSafetensors(ValueError):
    """A component has weights, but as pickles only."""


class IncompleteModel(ValueError):
    """A component has no weights at all, or the folder is no diffusers folder."""


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
    for component in components(index):
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
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except OSError:
        raise IncompleteModel(f"{folder} has no {INDEX}, so it is no diffusers folder") from None
    except ValueError:
        raise IncompleteModel(f"{folder / INDEX} is damaged") from None
    if not isinstance(index, dict):
        raise IncompleteModel(f"{folder / INDEX} is damaged")
    return index


def folder_names(folder: Path) -> list[str]:
    """Names of the files of a diffusers folder, one folder deep, with ``/``."""
    paths = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(p.relative_to(folder).as_posix() for p in paths if p.is_file())


def check_folder(folder: Path) -> list[str]:
    """The files that the pipeline in a folder needs.

    Raises
    ------
    IncompleteModel, NeedsSafetensors
        If it cannot be loaded as it is.
    """
    names = needed_files(read_index(folder), folder_names(folder))
    for name in (n for n in names if ".safetensors.index." in n):
        parts = json.loads((folder / name).read_text(encoding="utf-8"))["weight_map"].values()
        here = {PurePosixPath(n).name for n in names if n.startswith(name.split("/")[0] + "/")}
        lost = set(parts) - here
        if lost:
            raise IncompleteModel(f"of {name}, {len(lost)} parts are missing")
    return names


def has_half_files(names: Iterable[str]) -> bool:
    """Whether weights are there as a variant named ``fp16``."""
    return any(".fp16" in PurePosixPath(name).name for name in names)


def folder_bytes(folder: Path) -> int:
    """Bytes of the weights that the pipeline in a folder loads."""
    names = (name for name in check_folder(folder) if name.endswith(".safetensors"))
    return sum((folder / name).stat().st_size for name in names)
