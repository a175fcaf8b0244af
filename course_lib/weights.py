"""Tensors on disk: safetensors only, with a checksum inside, written so that no crash loses a file.

A pickle can run code when it is opened; a safetensors file cannot. The SHA-256 over all tensors is
kept in the file's own metadata, so a truncated or altered file is refused instead of half loaded.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib.file_writing import write_atomically


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    info: Mapping[str, Any],
    *,
    header: Mapping[str, str] | None = None,
) -> Path:
    """Write tensors and a JSON-able `info`; the file appears whole or not at all.

    `header` holds further entries of the file's metadata, such as other programs look for.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written. An earlier file of that name stays.
    """
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = dict(header or {}) | {"info": as_json(info), "sha256": checksum(flat)}
    return write_atomically(path, lambda partial: _write(partial, flat, metadata))


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # its class for a full disk as well
        raise OSError(str(error)) from error
    path.chmod(0o644)  # safetensors writes for the owner alone; weights are to be shared


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote: the tensors (on the CPU) and the info.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a safetensors file of ours, or its checksum does not match.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}. Check the path, or train the model first.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}). It may be cut short, or be a "
            "pickle, which is never loaded. Fetch or save it again."
        ) from error
    if metadata.get("sha256") != checksum(tensors):
        raise ValueError(
            f"The checksum of {path} does not match its content: the file is damaged or was "
            "changed. Fetch or save it again."
        )
    return tensors, json.loads(metadata["info"])


def as_json(info: Mapping[str, Any]) -> str:
    """Write `info` as JSON; numbers and arrays of numpy become Python's."""
    return json.dumps(dict(info), default=operator.methodcaller("tolist"))


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of CPU tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # Viewed as bytes, since numpy has no bfloat16
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
