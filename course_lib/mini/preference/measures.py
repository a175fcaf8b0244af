"""What a tuned model's pictures are like besides their reward, and a simulated viewer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.device import make_generator
from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits
from course_lib.mini.data import value_indices
from course_lib.mini.preference import ddpo
from course_lib.mini.preference.rewards import attribute_reward, brightness
from course_lib.mini.preference.settings import CLASSIFIER, PROMPTS, TRAINING
from course_lib.mini.preference.smile_classifier import SmileClassifier
from course_lib.pipelines.registry import SHIPPED
from course_lib.pipelines.sampling import decode_latents
from course_lib.portraits import parse_caption

_SEED = 99  # of the noise that measurements sample from; no training uses it


class Measures:
    """The same pictures, measured again and again while a pipeline's U-Net is tuned.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline
    classifier : AttributeClassifier
    second : SmileClassifier, optional
        Default: the shipped one.
    each : int
        Pictures of each prompt.
    """

    def __init__(
        self, pipe, classifier: AttributeClassifier, second: SmileClassifier | None = None,
        *, each: int = 4,
    ):  # fmt: skip
        self.pipe, self.classifier, self.each = pipe, classifier, each
        path = SHIPPED / CLASSIFIER / "model.safetensors"
        self.second = second or SmileClassifier.load(path)
        self.smile = attribute_reward(classifier)
        self.texts = [prompt for prompt in PROMPTS for _ in range(each)]
        self.stated = value_indices([parse_caption(text) for text in self.texts])

    def sample(self) -> Tensor:
        """Pictures of all prompts from the same noise, (P each, 3, H, W) in [-1, 1]."""
        found = ddpo.sample(self.pipe, self.texts, make_generator(_SEED), steps=TRAINING["steps"])
        return decode_latents(self.pipe, found.latents[-1])

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, float]:
        """Numbers of pictures that `sample` made.

        Returns
        -------
        dict
            ``log_odds`` and ``smile``: mean log-odds and probability of a smile by the attribute
            classifier. ``second``: mean probability of a smile by the second classifier.
            ``brightness``. ``adherence``: share of the attributes stated by the prompts that the
            attribute classifier finds. ``diversity``: root mean square difference of two pictures
            of one prompt, in pixel values of 0 to 1.
        """
        odds = self.smile(images, self.texts)
        logits = head_logits(self.classifier.heads, self.classifier.features(images))
        found = torch.stack([logits[k].argmax(dim=1) == v for k, v in self.stated.items()])
        asked = torch.stack([v >= 0 for v in self.stated.values()])
        flat = ((images + 1) / 2).flatten(1).unflatten(0, (-1, self.each))
        apart = torch.stack([F.pdist(x).mean() for x in flat]).mean() / flat.shape[-1] ** 0.5
        numbers = {
            "log_odds": odds.mean(), "smile": odds.sigmoid().mean(),
            "second": self.second.probability(images).mean(),
            "brightness": brightness(images, self.texts).mean(),
            "adherence": found[asked].float().mean(), "diversity": apart,
        }  # fmt: skip
        return {name: round(float(value), 4) for name, value in numbers.items()}


def brightness_answers(sets: Mapping[str, Tensor]) -> list[dict[str, str]]:
    """Answers of a simulated viewer who prefers the brighter of two pictures.

    Parameters
    ----------
    sets : dict
        Two names -> pictures (N, 3, H, W); the viewer compares those of one number.

    Returns
    -------
    list of dict
        In the form of `course_lib.widgets.PictureComparison`; "same" where the mean pixel values
        differ by less than 0.02.
    """
    (first, a), (second, b) = sets.items()
    difference = brightness(a, ()) - brightness(b, ())
    return [
        {
            "a": f"{first}/{i}", "b": f"{second}/{i}",
            "winner": "same" if abs(gap) < 0.02 else "a" if gap > 0 else "b",
        }
        for i, gap in enumerate(difference.tolist())
    ]  # fmt: skip
