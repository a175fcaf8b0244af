"""Check the numbers that a figure is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def check_mapping(values: Any, name: str, example: str) -> None:
    """Raise unless `values` is a dict with at least one entry; `example` shows one."""
    if not isinstance(values, Mapping) or not values:
        raise ValueError(
            f"{name} must be a dict such as {example} with at least one entry, "
            f"not {type(values).__name__ if not isinstance(values, Mapping) else 'an empty one'}."
        )


def check_numbers(values: Any, name: str) -> list[float]:
    """A flat list of finite floats, or an error that names the series."""
    numbers = [float(value) for value in values]
    if not numbers:
        raise ValueError(f"{name} is empty; there is nothing to draw.")
    if not all(math.isfinite(value) for value in numbers):
        raise ValueError(f"{name} contains NaN or infinity; did the run diverge?")
    return numbers
