"""Does an erased concept come back? Textual inversion against an edited model (arXiv:2308.01508).

Only the embedding of one new token is trained; the edited weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from course_lib.errors import check_whole
from course_lib.pipelines.personalisation.examples import encode_images
from course_lib.pipelines.personalisation.methods import frozen, textual_inversion
from course_lib.pipelines.personalisation.settings import Recipe

# Timesteps at which the prompt decides what is painted: later the face is already visible, and
# earlier nearly all is noise
TIMES = (300, 900)


@contextmanager
def recovered_token(
    pipe: Any,
    images: Tensor,
    captions: Sequence[str],
    token: str = "<s>",
    *,
    start_word: str,
    steps: int = 30,
    batch_size: int = 2,
    lr: float = 0.02,
    seed: int = 0,
) -> Iterator[list[float]]:
    """Learn a token from pictures, and let the pipeline read it inside the block.

    Parameters
    ----------
    pipe : StableDiffusionPipeline
        Usually inside `course_lib.safety.concept_edit`.
    images : Tensor, shape (N, 3, H, W)
        Pictures that show the concept, in [-1, 1].
    captions : sequence of str
        One for each; the token stands where the concept's word would.
    start_word : str
        A word that the model knows, whose embedding the token starts from.
    steps, batch_size : int
    lr : float
        Of Adam, falling linearly to 0.
    seed : int
        Of the batches, timesteps and noise.

    Yields
    ------
    list of float
        The loss of each step.

    Raises
    ------
    ValueError
        If there is no picture, or a caption lacks the token.
    """
    steps = check_whole("steps", steps)
    if not len(captions) == len(images) > 0 or any(token not in text for text in captions):
        raise ValueError(
            f"give at least one picture, and for each a caption that holds {token!r}: there are "
            f"{len(images)} pictures and {sum(token in text for text in captions)} such captions."
        )
    recipe = Recipe(steps, lr, batch_size, rank=1)
    latents = encode_images(pipe, images)
    with frozen(pipe), textual_inversion(pipe, recipe, token, start_word) as trained:
        conditions = trained.conditions(list(captions))
        optimizer = torch.optim.Adam(trained.weights.parameters(), lr=lr)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / steps, total_iters=steps)
        generator, losses = torch.Generator().manual_seed(seed), []
        for _ in range(steps):
            i = torch.randint(len(images), (batch_size,), generator=generator)
            t = torch.randint(*TIMES, (batch_size,), generator=generator)
            noise = torch.randn(latents[i].shape, generator=generator)
            own = {name: rows[i] for name, rows in conditions.items()}
            loss = trained.loss(latents[i], noise, t, own)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
            losses.append(loss.item())
        yield losses
