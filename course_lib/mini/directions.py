"""A concept as a direction in the U-Net's activations, and the slider that it makes.

The output of the middle block, the h-space of arXiv:2210.10960, has directions that mean the same
in every portrait. Here a direction is the mean difference of two sets of runs, step by step, of the
middle block or of any other layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import count

import torch
from torch import Tensor

from course_lib.errors import check_choice, check_number
from course_lib.mini.probes import recorded
from course_lib.pipelines import paint_steps

LAYER = "add_embedding"  # the pooled prompt, which is added to the timestep embedding


@torch.no_grad()
def concept_direction(
    pipe, with_concept: Sequence[str], without: Sequence[str], *, layer: str = LAYER,
    seed: int = 0, n: int = 1, **options,
) -> Tensor:  # fmt: skip
    """Mean difference of a layer's output, for prompts with and without a concept.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline
    with_concept, without : sequence of str
        Pairs of prompts that differ in the concept alone. Both of a pair start from equal noise.
    layer : str
        Name of a module of the U-Net, such as "mid_block".
    seed, n : int
        First seed, and how many seeds a prompt.
    **options
        What else `paint_steps` takes.

    Returns
    -------
    Tensor, shape (steps, ...)
        Of the pass with the prompt. A slider's strength 1 adds it once.

    Raises
    ------
    ValueError
        If the prompts are no pairs, or the U-Net has no such layer.
    """
    if len(with_concept) != len(without) or not with_concept or isinstance(without, str):
        raise ValueError(
            f"with_concept and without must be pairs of prompts, but there are "
            f"{len(with_concept)} and {len(without)}."
        )
    module, means = _module(pipe, layer), []
    for prompts in (with_concept, without):
        rows = n * len(prompts)
        with recorded(module) as outputs:
            for _ in paint_steps(pipe, list(prompts), seed=seed, n=n, **options):
                pass
        # With guidance the rows of the empty prompt come first
        means.append(torch.stack([x[-rows:].float().mean(dim=0) for x in outputs]))
    return means[0] - means[1]


@contextlib.contextmanager
def shifted(
    pipe, direction: Tensor, strength: float, *, layer: str = LAYER, guided: bool = True
) -> Iterator[None]:
    """Add `strength` times a direction to a layer's output while the block of code runs.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline
        It paints with as many steps as the direction has.
    direction : Tensor, shape (steps, ...)
    strength : float
        From -10 to 10.
    layer : str
        The one that the direction was taken from.
    guided : bool
        Whether the portraits are painted with guidance. The pass with the empty prompt, the first
        half of the rows, then stays as it is.
    """
    strength = check_number("strength", strength, low=-10, high=10)
    calls = count()

    def add(_, __, output: Tensor) -> Tensor:
        step = next(calls) % len(direction)  # a new batch begins at the first step again
        moved = output.clone()
        moved[len(output) // 2 if guided else 0 :] += strength * direction[step].to(output)
        return moved

    handle = _module(pipe, layer).register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _module(pipe, layer: str):
    modules = dict(pipe.unet.named_modules())
    return modules[check_choice("layer", layer, modules)]
