"""An Apple GPU that is not there: tensors that call themselves "mps" and refuse float64.

PyTorch's MPS device has no float64, so ``x.double().cpu()`` fails on it and ``x.cpu().double()``
works. Inside `fake_mps()` tensors that are moved to "mps" stay on the CPU, but carry the name, and
whatever would make a float64 tensor of them raises the error of the real device.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

MPS = torch.device("mps")


class MPSTensor(torch.Tensor):
    """A CPU tensor that counts as one on "mps"."""

    # The mode sees every call first; without it, a leak shows as this class outside of it
    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: MPS)


class _FakeMPS(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = tree_flatten((args, kwargs or {}))[0]
        on_mps = any(isinstance(one, MPSTensor) for one in given)
        asked = [one for one in given if isinstance(one, (str, torch.device)) and _is_device(one)]
        args, kwargs = tree_map(_plain, (args, kwargs or {}))
        result = func(*args, **kwargs)
        to_cpu = func is torch.Tensor.cpu or (asked and not any(map(_is_mps, asked)))
        if to_cpu or not (on_mps or asked):
            return result
        return tree_map(_moved, result)


def _is_device(one) -> bool:
    return str(one).split(":")[0] in ("cpu", "mps")


def _is_mps(one) -> bool:
    return str(one).startswith("mps")


def _plain(one):
    if isinstance(one, MPSTensor):
        return one.as_subclass(torch.Tensor)
    return "cpu" if isinstance(one, (str, torch.device)) and _is_mps(one) else one


def _moved(one):
    if not isinstance(one, torch.Tensor):
        return one
    if one.dtype == torch.float64:
        raise TypeError(
            "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support "
            "float64. Please use float32 instead."
        )
    return one.as_subclass(MPSTensor)


@contextmanager
def fake_mps():
    """Within it, ``x.to("mps")`` gives a tensor of a device without float64."""
    with _FakeMPS():
        yield MPS
