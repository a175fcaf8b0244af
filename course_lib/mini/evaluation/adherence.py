"""How well pictures follow their prompts: attributes found, and cosines of picture and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits
from course_lib.mini.data import value_indices
from course_lib.mini.evaluation.evaluators import ADHERENCE
from course_lib.mini.tokenizer import token_ids
from course_lib.portraits import parse_caption


@torch.no_grad()
def prompt_adherence(
    classifier: AttributeClassifier, features: Tensor, prompts: Sequence[str]
) -> Tensor:
    """For each picture the share of the attributes stated by its prompt that the classifier finds.

    Parameters
    ----------
    classifier : AttributeClassifier
    features : Tensor, shape (N, F)
        Of the pictures, as ``classifier.all_features`` returns them.
    prompts : sequence of str
        One for each picture.

    Returns
    -------
    Tensor, shape (N,)
        From 0 to 1, over the nine attributes of `ADHERENCE`; NaN for a prompt that states none.
    """
    said = value_indices([parse_caption(text) for text in prompts])
    logits = head_logits(classifier.heads, features)
    stated = torch.stack([said[name] >= 0 for name in ADHERENCE])  # (9, N)
    right = torch.stack([logits[name].argmax(dim=1) == said[name] for name in ADHERENCE])
    return (right & stated).sum(dim=0) / stated.sum(dim=0)


@torch.no_grad()
def clip_scores(
    classifier: AttributeClassifier, pipe: Any, features: Tensor, prompts: Sequence[str]
) -> Tensor:
    """For each picture the cosine of its embedding and its prompt's (arXiv:2104.08718), (N,).

    CLIPScore itself multiplies by 2.5 and cuts off negative values. Arguments as for
    `prompt_adherence`; `pipe` is a pipeline of the mini, whose text encoder was trained together
    with the classifier.
    """
    ids = token_ids(pipe.tokenizer, prompts).to(pipe.device)
    text = classifier.text_embedding(pipe.text_encoder(ids).pooler_output.cpu().float())
    return (classifier.image_embedding(features) * text).sum(dim=1)
