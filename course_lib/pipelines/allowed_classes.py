"""Which classes a model's folder may name, so that loading it never runs its code.

A diffusers folder names a Python class for the pipeline and for each component. Versions of
diffusers before 0.38 import whatever module is named, or run the file ``NAME.py`` that lies beside
the weights. Here every name is compared with the classes of diffusers and transformers before
anything is loaded, on every version alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.pipelines.files import (
    INDEX,
    UNUSED_COMPONENTS,
    ForeignCode,
    folder_names,
    read_index,
    read_json,
    refuse_programs,
)

_PIPELINES = ("DiffusionPipeline",)
# Library -> base classes of its components. Auto classes are none of them: they read another name.
_COMPONENTS = {
    "diffusers": ("ModelMixin", "SchedulerMixin"),
    "transformers": (
        "PreTrainedModel", "PreTrainedTokenizerBase", "ProcessorMixin", "FeatureExtractionMixin",
        "ImageProcessingMixin",
    ),
}  # fmt: skip
# Where the safety checker of Stable Diffusion lives; it is never loaded.
_UNUSED_LIBRARIES = (*_COMPONENTS, "stable_diffusion")
_CODE_KEYS = ("auto_map", "custom_pipeline", "custom_pipelines")


def check_classes(folder: Path) -> None:
    """Check every class name in a diffusers folder, before anything of it is loaded.

    Parameters
    ----------
    folder : Path
        A diffusers folder, with a ``model_index.json``.

    Raises
    ------
    ForeignCode
        If it holds program files, names a class that is no pipeline, model, scheduler, tokenizer
        or processor of diffusers or transformers, or if its configuration asks for code.
    IncompleteModel
        If one of its JSON files is missing or damaged; the message names it.
    """
    refuse_programs(folder)
    index = read_index(folder)
    name = index.get("_class_name")
    pipeline = _known_class("diffusers", name, _PIPELINES)
    # Such a pipeline would load further repositories, which its README names
    if pipeline is None or getattr(pipeline, "_load_connected_pipes", False):
        raise _refused(folder / INDEX, "diffusers", name, "pipeline")
    for component, value in index.items():
        if not isinstance(value, list) or all(part is None for part in value):
            continue
        library, name = value if len(value) == 2 else (None, value)
        if component in UNUSED_COMPONENTS:
            fine = library in _UNUSED_LIBRARIES
        else:
            fine = _known_class(library, name, _COMPONENTS.get(str(library), ())) is not None
        if not fine:
            raise _refused(folder / INDEX, library, name, component)
    for file in folder_names(folder):
        if file.endswith(".json") and file.split("/")[0] in index:
            _check_configuration(folder / file)


def _known_class(library: Any, name: Any, bases: tuple[str, ...]) -> type | None:
    """The class of that name which `library` itself defines and which has one of the bases."""
    if library not in [*_COMPONENTS] or not isinstance(name, str) or name.startswith("_"):
        return None
    module = importlib.import_module(library)
    try:
        found = getattr(module, name, None)
    except ImportError:  # the class is known, but a package that it needs is not installed
        return None
    kinds = tuple(getattr(module, base) for base in bases)
    if not isinstance(found, type) or not issubclass(found, kinds):
        return None
    return found if found.__module__.split(".")[0] == library else None


def _check_configuration(path: Path) -> None:
    """Look for keys that ask for code in one JSON file of a component."""
    is_configuration = path.name.endswith("config.json")
    content = read_json(path, kind=dict if is_configuration else object)
    if not is_configuration:  # a vocabulary may have any key
        return
    for key, value in _items(content):
        # Transformers takes an attention "owner/name" from a repository of kernels
        kernel = key.endswith("attn_implementation") and "/" in str(value)
        if (key in _CODE_KEYS and value) or kernel:
            raise ForeignCode(
                f"{path} asks for code from elsewhere ({key}), which is never run. Look for a "
                "version of the model without it."
            )
        if key == "_class_name" and not _known_class("diffusers", value, _COMPONENTS["diffusers"]):
            raise _refused(path, "diffusers", value, "class")


def _items(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested JSON, without recursion, since the nesting may be deep."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part.items()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _refused(path: Path, library: Any, name: Any, what: str) -> ForeignCode:
    known = library in [*_COMPONENTS]  # it may be a list, which no dictionary takes
    reason = (
        f"{library} {importlib.import_module(library).__version__} has no such class for it"
        if known
        else f"{library!r} is neither diffusers nor transformers"
    )
    return ForeignCode(
        f"{path} names {name!r} as its {what}, but {reason}. Only their own classes are loaded, so "
        "that a model cannot bring code of its own. A class that is new may need a newer version: "
        "pip install -U diffusers transformers"
    )
