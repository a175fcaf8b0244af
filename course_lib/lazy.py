"""Names that load on first use, so that importing a package stays light."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]], submodules: Sequence[str] = ()
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """What a package's ``__init__`` needs to load its names on first use (PEP 562).

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    modules : mapping of str to sequence of str
        Module of the package -> the names that it defines.
    submodules : sequence of str
        Modules and packages that are reached by their own name.

    Returns
    -------
    tuple
        ``__all__``, ``__getattr__`` and ``__dir__``, to be assigned in the package.
    """
    homes = {name: module for module, names in modules.items() for name in names}
    everything = [*homes, *submodules]

    def load(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        elif name in submodules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        vars(sys.modules[package])[name] = value  # the next access does not come here
        return value

    def listing() -> list[str]:
        return sorted({*vars(sys.modules[package]), *everything})

    return everything, load, listing
