"""What the licences of the registry's models allow, in facts that a program can compare.

A summary by the authors of this course, read on 2026-11-28 at the addresses below. It is no legal
advice, and the licence's own text decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from course_lib.pipelines.registry import model_spec


@dataclass(frozen=True)
class Licence:
    """Facts about one licence.

    Attributes
    ----------
    name : str
        As in `ModelSpec.licence`.
    commercial : bool
        Whether it allows commercial use at all.
    restricts : bool
        Whether it forbids a list of uses. Whoever shares such a model passes the list on.
    source : str
        Where the licence, or its authors' summary, can be read.
    revenue_limit : float
        The yearly revenue in US dollars up to which commercial use is free.
    """

    name: str
    commercial: bool
    restricts: bool
    source: str
    revenue_limit: float = math.inf


_LICENCES = (
    Licence("CC BY 4.0", True, False, "https://creativecommons.org/licenses/by/4.0/"),
    Licence("Apache 2.0", True, False, "https://www.apache.org/licenses/LICENSE-2.0"),
    Licence(
        "CreativeML OpenRAIL-M", True, True,
        "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    ),
    Licence(
        "CreativeML OpenRAIL++-M", True, True,
        "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
    ),
    Licence(
        "Stability AI Community Licence", True, True, "https://stability.ai/news/license-update",
        revenue_limit=1e6,
    ),
    Licence(
        "Stability AI Non-Commercial Research Community License", False, True,
        "https://huggingface.co/stabilityai/sdxl-turbo/blob/main/LICENSE.md",
    ),
)  # fmt: skip
LICENCES: dict[str, Licence] = {licence.name: licence for licence in _LICENCES}

# Model -> the training data that its own card names. What is not here, we found no card to name.
TRAINING_DATA: dict[str, str] = {
    "mini": "portraits that this course paints",
    "sd15": "LAION-2B (en) and subsets",
}


def licence_of(model: str) -> Licence:
    """The facts about the licence of a model of the registry.

    Raises
    ------
    ValueError
        If the registry does not know the model.
    """
    return LICENCES[model_spec(model).licence]
