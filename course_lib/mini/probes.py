"""What the U-Net's activations say about the finished portrait, while it is still being denoised.

A linear probe (arXiv:1610.01644) is fitted to activations of many runs and the attributes that the
finished portraits have. Its accuracy on other runs says how early an attribute can be read off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import check_choice, check_whole
from course_lib.metrics import Estimate, linear_probe, proportion
from course_lib.pipelines import paint_steps

LAYERS = ("x_t", "mid_block", "up_blocks.2")  # of the mini: 16 x 16 noisy, 4 x 4, 16 x 16
GRID = 4  # activations are averaged to so many rows and columns; the middle block has no more
PENALTIES = (1.0, 10.0, 100.0)  # there are more features than rows
_AT_ONCE = 16


@contextlib.contextmanager
def recorded(module: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what a module returns, call after call, for as long as the block runs."""
    outputs: list[Tensor] = []

    def keep(_, __, output):
        outputs.append((output[0] if isinstance(output, tuple) else output).detach())

    handle = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


def denoising_features(
    pipe,
    prompt: str,
    seeds: Sequence[int],
    *,
    steps: int = 8,
    layers: Sequence[str] = LAYERS,
    until: int | None = None,
) -> tuple[list[float], dict[str, Tensor], Tensor]:
    """Paint without guidance, and keep activations of every step.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline
    prompt : str
        One for all portraits; what it leaves open is what there is to be decided.
    seeds : sequence of int
        Consecutive ones, one a portrait.
    steps : int
    layers : sequence of str
        "x_t" for the noisy latents themselves, or names of the U-Net's modules.
    until : int, optional
        Stop after so many of the steps.

    Returns
    -------
    tuple
        The timesteps; for each layer activations (steps, N, F), averaged to `GRID` x
        `GRID` cells; the last step's latents, (N, C, h, w).

    Raises
    ------
    ValueError
        If the U-Net has no such layer, or the seeds are not consecutive.
    """
    modules = dict(pipe.unet.named_modules())
    for name in layers:
        check_choice("layer", name, ["x_t", *modules])
    check_whole("steps", steps)
    if list(seeds) != list(range(seeds[0], seeds[0] + len(seeds))):
        raise ValueError("seeds must be consecutive numbers, such as range(100).")
    times, latents, kept = [], [], {name: [] for name in layers}
    for first in range(0, len(seeds), _AT_ONCE):
        part = seeds[first : first + _AT_ONCE]
        with contextlib.ExitStack() as stack:
            watched = [name for name in layers if name != "x_t"]
            outputs = {name: stack.enter_context(recorded(modules[name])) for name in watched}
            options = {"seed": part[0], "n": len(part), "steps": steps, "guidance": 1.0}
            walk = list(islice(paint_steps(pipe, prompt, **options), until))
        outputs["x_t"] = [step.latents for step in walk]
        for name in layers:
            kept[name].append(torch.stack([pooled(x) for x in outputs[name]]))
        times = [step.t for step in walk]
        latents.append(walk[-1].latents_next)
    return times, {name: torch.cat(rows, dim=1) for name, rows in kept.items()}, torch.cat(latents)


def pooled(x: Tensor) -> Tensor:
    """Activations (N, C, h, w), averaged over cells: (N, C * GRID * GRID)."""
    return F.adaptive_avg_pool2d(x.float(), GRID).flatten(1)


def probe_accuracy(
    features: Tensor, labels: Tensor, fitted: int, *, penalties: Sequence[float] = PENALTIES
) -> Estimate:
    """Accuracy of a linear probe on the rows that it was not fitted to, with its interval.

    Parameters
    ----------
    features, labels : Tensor, shape (N, F) and (N,)
    fitted : int
        The probe is fitted to the first so many rows.
    penalties : sequence of float
        As for `course_lib.metrics.linear_probe`. A fit to three quarters of the fitted rows chooses
        the one with which most of the last quarter are right.
    """
    inner = fitted * 3 // 4

    def right(first: int, last: int, penalty: float) -> Tensor:
        probe = linear_probe(features[:first], labels[:first], penalty=penalty)
        return probe(features[first:last]) == labels[first:last]

    best = max(penalties, key=lambda penalty: right(inner, fitted, penalty).sum().item())
    return proportion(right(fitted, len(labels), best))


def majority_share(labels: Tensor, fitted: int) -> Estimate:
    """What one reaches without looking: the share of the fitted rows' most frequent label."""
    return proportion(labels[fitted:] == labels[:fitted].mode().values)
