"""Locks for what all threads of a process share: loading, and each model's own state.

While a model loads, diffusers and transformers replace functions of PyTorch and its default number
format, for the whole process; and two threads that import them for the first time at once can see
a half-imported module. A pipeline has state as well: attention processors, hooks that move weights,
the VAE's number format, and the scheduler of the pipeline's own call.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

LOADING = threading.RLock()
_model_locks: dict[int, threading.RLock] = {}


def model_lock(pipe: Any) -> threading.RLock:
    """The lock of a pipeline's network; pipelines that share a network share its lock."""
    network = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None) or pipe
    with LOADING:
        if id(network) not in _model_locks:
            _model_locks[id(network)] = threading.RLock()
            weakref.finalize(network, _model_locks.pop, id(network), None)
        return _model_locks[id(network)]


def one_thread(function: Function) -> Function:
    """Let one thread at a time run functions whose first argument is the same pipeline."""

    @functools.wraps(function)
    def locked(pipe: Any, *arguments: Any, **options: Any) -> Any:
        with model_lock(pipe):
            return function(pipe, *arguments, **options)

    return locked  # type: ignore[return-value]
