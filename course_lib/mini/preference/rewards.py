"""Rewards: functions from pictures and their prompts to one number a picture, higher is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits
from course_lib.portraits.attributes import VOCABULARY

Reward = Callable[[Tensor, Sequence[str]], Tensor]
SMILES = ("smiling", "laughing")


def brightness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Mean of all pixels and channels, (B,), from 0 for black to 1 for white."""
    return (images.mean(dim=(1, 2, 3)) + 1) / 2


def attribute_reward(
    classifier: AttributeClassifier, attribute: str = "expression", values: Sequence[str] = SMILES
) -> Reward:
    """The log-odds that a classifier gives to some values of an attribute.

    Log-odds, because a probability near 0 or 1 hardly differs between pictures.

    Parameters
    ----------
    classifier : AttributeClassifier
    attribute : str
        A key of `course_lib.portraits.VOCABULARY`.
    values : sequence of str
        Values of that attribute whose probabilities are added up.

    Returns
    -------
    callable
        Images (B, 3, 128, 128) in [-1, 1] and B prompts -> log-odds (B,).

    Raises
    ------
    ValueError
        For an unknown attribute or value.
    """
    allowed = VOCABULARY[check_choice("attribute", attribute, VOCABULARY)]
    chosen = [allowed.index(check_choice(attribute, value, allowed)) for value in values]

    @torch.no_grad()
    def reward(images: Tensor, prompts: Sequence[str]) -> Tensor:
        device = classifier.log_scale.device
        logits = head_logits(classifier.heads, classifier.features(images.to(device)))[attribute]
        rest = [i for i in range(len(allowed)) if i not in chosen]
        odds = logits[:, chosen].logsumexp(dim=1) - logits[:, rest].logsumexp(dim=1)
        return odds.float().cpu()

    reward.__name__ = f"log-odds of {' or '.join(values)}"
    return reward


def checked_reward(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Ask for the reward of pictures, and refuse what cannot be learned from.

    Parameters
    ----------
    reward : callable
        Images (B, 3, H, W) in [-1, 1] and B prompts -> B finite numbers.

    Returns
    -------
    Tensor, shape (B,)
        float32, without gradient.

    Raises
    ------
    ValueError
        If it is not one finite number for each picture; the message names reward and picture.
    """
    name = getattr(reward, "__name__", type(reward).__name__)
    given = torch.as_tensor(reward(images, prompts)).detach().float().cpu()
    if given.shape != (len(images),):
        raise ValueError(
            f"The reward {name!r} gave numbers of shape {tuple(given.shape)} for {len(images)} "
            f"pictures; it must give one number for each, shape ({len(images)},)."
        )
    bad = (~given.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"The reward {name!r} of picture {bad[0]} ({prompts[bad[0]]!r}) is {given[bad[0]]}; "
            "every reward must be a finite number."
        )
    return given
