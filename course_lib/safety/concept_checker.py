"""A concept checker as in Stable Diffusion: cosines of a picture with concepts, and thresholds.

The decision rule is that of diffusers' ``StableDiffusionSafetyChecker``. Its embeddings are CLIP's,
and of its concepts only the embeddings are published (arXiv:2210.04610); here the attribute
classifier's shared space of pictures and captions takes CLIP's place, and the concepts are words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import check_number
from course_lib.mini.attribute_classifier import AttributeClassifier
from course_lib.mini.tokenizer import token_ids
from course_lib.pipelines.vocabulary import model_vocabulary
from course_lib.portraits.captions.words import FUNCTION_WORDS, caption_words

# Where a picture shows a special-care concept, all thresholds are lower by so much (diffusers)
ADJUSTMENT = 0.01
_DIGITS = 3  # diffusers rounds what exceeds a threshold, so less than 0.0005 does not count


def check_concepts(
    image_embeds: Tensor,
    concept_embeds: Tensor,
    thresholds: Tensor | Sequence[float],
    *,
    special_embeds: Tensor | None = None,
    special_thresholds: Tensor | Sequence[float] = (),
) -> tuple[Tensor, Tensor]:
    """Which pictures show a listed concept, by diffusers' rule.

    Parameters
    ----------
    image_embeds : Tensor, shape (B, E)
    concept_embeds : Tensor, shape (K, E)
    thresholds : sequence of K floats
        Cosines, from -1 to 1.
    special_embeds : Tensor, shape (S, E), optional
        Concepts that flag nothing themselves. Where one exceeds its threshold, the thresholds of
        the listed concepts are lower by `ADJUSTMENT`.
    special_thresholds : sequence of S floats

    Returns
    -------
    flagged : Tensor of bool, shape (B,)
    scores : Tensor, shape (B, K)
        Cosine minus threshold, rounded to three digits; a positive one flags.

    Raises
    ------
    ValueError
        If a threshold is no cosine, or their number is not that of the concepts.
    """
    scores = _excess(image_embeds, concept_embeds, thresholds, "thresholds")
    if special_embeds is not None:
        special = _excess(image_embeds, special_embeds, special_thresholds, "special_thresholds")
        care = (_rounded(special) > 0).any(dim=1, keepdim=True)  # (B, 1)
        scores = scores + ADJUSTMENT * care
    scores = _rounded(scores)
    return (scores > 0).any(dim=1), scores


def _excess(image_embeds: Tensor, concepts: Tensor, thresholds: Any, name: str) -> Tensor:
    given = [check_number(f"each of {name}", value, low=-1, high=1) for value in thresholds]
    if len(given) != len(concepts):
        raise ValueError(
            f"{name} has {len(given)} numbers for {len(concepts)} concepts: give one for each."
        )
    cosines = F.normalize(image_embeds, dim=1) @ F.normalize(concepts, dim=1).T
    return cosines.double() - torch.tensor(given, dtype=torch.float64, device=cosines.device)


def _rounded(scores: Tensor) -> Tensor:
    return scores.round(decimals=_DIGITS)


def threshold_at(negatives: Tensor, false_alarms: float = 0.05) -> float:
    """The lowest threshold that flags at most a share of calibration pictures without the concept.

    Parameters
    ----------
    negatives : Tensor, shape (N,)
        Cosines of pictures that do not show the concept.
    false_alarms : float
        The share that may be flagged, from 0 to 1.

    Returns
    -------
    float
        One of the cosines; a picture is flagged if its own is greater.

    Raises
    ------
    ValueError
        If the pictures are too few for such a share, or the share is out of range.
    """
    share = check_number("false_alarms", false_alarms, low=0, high=1)
    least = 1 if share == 0 else math.ceil(round(1 / share, 6))
    if negatives.ndim != 1 or len(negatives) < least:
        raise ValueError(
            f"a false-alarm rate of {share:g} needs the cosines of at least {least} calibration "
            f"pictures without the concept, (N,), but the given shape is {tuple(negatives.shape)}: "
            "add pictures, or allow more."
        )
    allowed = math.floor(share * len(negatives) + 1e-9)
    ordered = negatives.double().sort(descending=True).values
    return ordered[min(allowed, len(ordered) - 1)].item()


@torch.no_grad()
def image_embeddings(classifier: AttributeClassifier, pixels: Tensor) -> Tensor:
    """Pictures (N, 3, 128, 128), uint8, to embeddings (N, E) of length 1 on the CPU."""
    features = classifier.all_features(pixels).to(classifier.log_scale.device)
    return classifier.image_embedding(features).cpu()


@torch.no_grad()
def concept_embeddings(
    classifier: AttributeClassifier, pipe: Any, concepts: Sequence[str]
) -> Tensor:
    """Phrases such as "a person with a crown" to embeddings (K, E) of length 1 on the CPU.

    Raises
    ------
    ValueError
        If a phrase holds a word that the model's captions never did: its embedding means nothing.
    """
    known = model_vocabulary(pipe)
    words = [word for word in caption_words(" , ".join(concepts)) if word != ","]
    unknown = [word for word in words if known and word not in known["words"] | FUNCTION_WORDS]
    if unknown:
        raise ValueError(
            f"the model's captions never held the word {unknown[0]!r}, so its embedding means "
            "nothing: name the concept in words that the model knows."
        )
    ids = token_ids(pipe.tokenizer, concepts).to(pipe.text_encoder.device)
    pooled = pipe.text_encoder(ids).pooler_output.float().to(classifier.log_scale.device)
    return classifier.text_embedding(pooled).cpu()
