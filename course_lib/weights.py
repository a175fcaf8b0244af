"""Tensors on disk: safetensors only, with a checksum inside, written so that no crash loses a file.

A pickle can run code when it is opened; a safetensors file cannot. The SHA-256 over all tensors is
kept in the file's own metadata, so a truncated or altered file is refused instead of half loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> Path:
    """Write tensors and a JSON-able `info`; the file appears whole or not at all.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written. An earlier file of that name stays.
    """
    from safetensors.torch import save_file

    path = Path(path)
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"info": json.dumps(info), "sha256": _checksum(flat)}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(flat, partial, metadata=metadata)
        partial.chmod(0o644)  # safetensors writes for the owner alone; weights are to be shared
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)  # atomic: a reader sees the old file or the new one
    except Exception as error:  # safetensors reports a full disk by an error class of its own
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OSError(
            f"Could not write {path}: {error}. Free some disk space or choose a folder that can "
            "be written; an earlier file of that name is untouched."
        ) from error
    return path


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
    if metadata.get("sha256") != _checksum(tensors):
        raise ValueError(
            f"The checksum of {path} does not match its content: the file is damaged or was "
            "changed. Fetch or save it again."
        )
    return tensors, json.loads(metadata["info"])


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # Viewed as bytes, since numpy has no bfloat16
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
