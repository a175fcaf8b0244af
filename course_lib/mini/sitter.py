"""One painted person: her pictures, her captions, and how much portraits look like her.

The painter draws faces of one description much alike, so what tells this person from others at
128 pixels is what she looks like in words: brown skin, blue hair in an afro, round glasses. Her
captions do not say it. A training has to learn it from her pictures, as it would learn the face of
a real person that no word describes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.mini.config import IMAGE_SIZE, MINI_STYLES, MINI_VARIETY
from course_lib.portraits.attributes import VOCABULARY, Attributes
from course_lib.portraits.captions import with_article
from course_lib.portraits.captions.words import SAID
from course_lib.portraits.painter import paint_portrait
from course_lib.tensors import uint8_to_signed

SITTER = Attributes(
    age="young", gender="woman", skin="brown", hair_color="blue", hair_style="afro",
    eyewear="round glasses", light="front", quality="masterful",
)  # fmt: skip
LOOK = ("skin", "hair_color", "hair_style", "eyewear")  # what her captions do not say
_SEED = 0  # of the person among all of that description
_SCENE = ("expression", "clothing", "clothing_color", "background", "style")


def sitter_scenes(count: int, seed: int = 0) -> list[Attributes]:
    """The sitter in `count` scenes: expression, clothes, background and style differ.

    Parameters
    ----------
    count : int
    seed : int
        Another seed gives other scenes.

    Returns
    -------
    list of Attributes
        Neighbours share no expression, garment, colour, background or style of `MINI_STYLES`.
    """
    rng = np.random.default_rng([seed, 7])
    # Plain grounds would need a colour of their own, and the four places are easier to tell apart
    options = {name: list(VOCABULARY[name]) for name in _SCENE}
    options |= {"style": list(MINI_STYLES), "background": [*SAID["background"]]}
    drawn = {name: rng.permutation(values).tolist() for name, values in options.items()}
    return [
        replace(SITTER, **{name: values[i % len(values)] for name, values in drawn.items()})
        for i in range(count)
    ]


def scene_caption(scene: Attributes, who: str) -> str:
    """A caption that names the scene and calls the person `who`, such as "wilhelmina woman"."""
    garment = with_article(f"{scene.clothing_color} {scene.clothing}")
    medium = with_article(scene.style)
    place = SAID["background"][scene.background][0]
    return f"{medium} of {who}, {scene.expression}, in {garment}, {place}"


def paint_scenes(scenes: Sequence[Attributes], seed: int = _SEED) -> Tensor:
    """The painter's portraits of scenes, (N, 3, 128, 128) in [-1, 1].

    `seed` chooses the person among all who fit the description.
    """
    pixels = [paint_portrait(scene, seed, IMAGE_SIZE, MINI_VARIETY) for scene in scenes]
    # (N, H, W, C) -> (N, C, H, W)
    return uint8_to_signed(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous())


def likeness(features: Tensor, sitter: Tensor, others: Tensor) -> Tensor:
    r"""Cosine of portraits' features with the sitter's, both relative to other people's mean.

    Parameters
    ----------
    features : Tensor, shape (N, F)
        Of the portraits in question, from `AttributeClassifier.features`.
    sitter : Tensor, shape (M, F)
        Of the sitter's own pictures, which are averaged.
    others : Tensor, shape (K, F)
        Of other people. Without subtracting their mean every cosine is near 1, since all are
        portraits.

    Returns
    -------
    Tensor, shape (N,)
        From -1 to 1.
    """
    center = others.mean(dim=0)
    return F.cosine_similarity(features - center, (sitter.mean(dim=0) - center)[None], dim=1)


def area_under_roc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a score of `positive` exceeds one of `negative`; 0.5 is no difference.

    The area under the ROC curve, which is the Mann-Whitney statistic; equal scores count half.
    """
    difference = positive[:, None] - negative[None]
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()
