"""Stability and diversity of the mini: the same prompts over seeds, samplers, steps and guidance.

Each prompt states a few attributes and leaves the others open. What real portraits of such a
description have in common, and how much they differ, is known: the painter paints them. Images are
bytes, (P, S, 3, H, W), of P prompts and S seeds. Prompts are a sample of what could be asked for,
and the images of one prompt resemble each other, so intervals are a bootstrap over prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.errors import check_whole
from course_lib.metrics import Estimate, bootstrap, inside, kid_of_resamples, ratio
from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits
from course_lib.mini.config import MINI_PORTRAITS, MINI_VARIETY, TrainingData
from course_lib.mini.data import HELD_OUT_SEED, Labels, mini_series, value_indices
from course_lib.pipelines import paint
from course_lib.pipelines.registry import MINI_GUIDANCE, MINI_SCHEDULER, MINI_STEPS, SHIPPED
from course_lib.portraits import caption, parse_caption
from course_lib.tensors import as_float64

STATED = 6  # attributes that each prompt states
# Stated or not, these are the same in all of the mini's portraits, or cannot be seen
_NOT_COUNTED = ("framing", "pose", "quality")
_SERIES = HELD_OUT_SEED + 100  # the first seed of the series of people that are painted here
_DRAWS = 1000  # attempts at a caption that states so many attributes; about one in five does


@dataclass(frozen=True)
class Setting:
    """How to generate: what the registry recommends for the mini, unless told otherwise."""

    scheduler: str = MINI_SCHEDULER
    steps: int = MINI_STEPS
    guidance: float = MINI_GUIDANCE

    @property
    def unet_passes(self) -> int:
        """How many latents the U-Net gets for one portrait."""
        # Heun's method evaluates twice in every step but the last
        calls = 2 * self.steps - 1 if self.scheduler == "heun" else self.steps
        return calls * (2 if self.guidance > 1 else 1)


class Descriptions:
    """Prompts of held-out people, and real portraits of each description.

    Parameters
    ----------
    prompts : int
        How many.
    each : int
        Portraits of each description in `painted`, and as many other ones in `reference`.
    classifier : AttributeClassifier, optional
        What names attributes and embeds images. Default: the mini's.

    Attributes
    ----------
    prompts : list of str
        Captions that state `STATED` attributes.
    stated : dict
        Attribute -> value indices (P,), -1 where the prompt leaves it open.
    painted, reference : Tensor, shape (P, each, 3, H, W), uint8
        Portraits that have the stated attributes; the others are drawn anew for each.
    """

    def __init__(self, prompts: int, each: int = 4, classifier: AttributeClassifier | None = None):
        count, each = check_whole("prompts", prompts, low=2), check_whole("each", each, low=2)
        self.classifier = classifier or AttributeClassifier.load(SHIPPED / "mini")
        self.prompts = [_prompt(i) for i in range(count)]
        said = [parse_caption(text) for text in self.prompts]
        self.stated: Labels = value_indices([_counted(one) for one in said])
        real = torch.stack([_portraits(one, i, 2 * each) for i, one in enumerate(said)])
        self.painted, self.reference = real[:, :each], real[:, each:]
        self.reference_features = self.features(self.reference).flatten(0, 1)
        # The unit of distances: two real portraits of one description
        self.real_distances = pair_distances(self.features(self.painted))

    def features(self, images: Tensor) -> Tensor:
        """(P, S, 3, H, W) uint8 -> features of the classifier, (P, S, F)."""
        return self.classifier.all_features(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    @torch.inference_mode()
    def hits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Which stated attributes the classifier finds, (P, S, A), and which are stated, (P, A)."""
        logits = head_logits(self.classifier.heads, features)
        names = list(self.stated)
        found = torch.stack([logits[name].argmax(dim=-1) for name in names], dim=-1)
        said = torch.stack([self.stated[name] for name in names], dim=-1)
        return found == said[:, None], said >= 0


def _prompt(number: int) -> str:
    """A caption of held-out person `number` that states `STATED` attributes, style among them."""
    person = mini_series(number + 1, seed=_SERIES).attributes(number)
    rng = np.random.default_rng([_SERIES, number])
    for _ in range(_DRAWS):
        text = caption(person, rng)
        said = _counted(parse_caption(text))
        if len(said) == STATED and "style" in said:
            return text
    raise RuntimeError(f"no caption of person {number} states {STATED} attributes.")


def _counted(said: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in said.items() if name not in _NOT_COUNTED}


def _portraits(said: Mapping[str, str], number: int, count: int) -> Tensor:
    """`count` portraits of a description, (count, 3, H, W), uint8."""
    only = {**MINI_PORTRAITS, **{name: (value,) for name, value in said.items()}}
    data = TrainingData(only, MINI_VARIETY)
    series = mini_series(count, seed=_SERIES + 1 + number, data=data)
    return torch.from_numpy(series.pixels()).permute(0, 3, 1, 2).contiguous()  # channels first


def generate(
    pipe, prompts: Sequence[str], setting: Setting, *, each: int = 4, seed: int = 0
) -> Tensor:
    """Images of each prompt, (P, each, 3, H, W), uint8; column k has seed + k for all prompts."""
    images = paint(
        list(prompts), pipe, seed=seed, n=each, scheduler=setting.scheduler, steps=setting.steps,
        guidance=setting.guidance,
    )  # fmt: skip
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return pixels.permute(0, 3, 1, 2).unflatten(0, (len(prompts), each)).contiguous()


# --- numbers of one setting


def measure(descriptions: Descriptions, features: Tensor) -> dict[str, Estimate]:
    """Fidelity and diversity of the images of one setting.

    Parameters
    ----------
    features : Tensor, shape (P, S, F)
        Of `Descriptions.features`.

    Returns
    -------
    dict
        ``adherence``: share of the stated attributes that the classifier finds. ``failed``: share
        of images in which it misses at least one. ``diversity``: mean distance of two images of
        one prompt, divided by that of two real ones. ``KID``: to `reference`. ``precision`` and
        ``recall``: `course_lib.metrics.precision_recall` against `reference`.
    """
    count, seeds = features.shape[:2]
    hits, asked = descriptions.hits(features)
    right = (hits & asked[:, None]).sum(dim=(1, 2))
    failed = failures(descriptions, features).double().mean(dim=1)
    flat, real = features.flatten(0, 1), descriptions.reference_features

    def kid(weights: Tensor) -> Tensor:
        per_image = [weights.repeat_interleave(len(x) // count, dim=1) for x in (flat, real)]
        return kid_of_resamples(flat, real, *per_image)

    return {
        "adherence": bootstrap(ratio(right, asked.sum(dim=1) * seeds), count),
        "failed": over_prompts(failed),
        "diversity": bootstrap(
            ratio(pair_distances(features), descriptions.real_distances), count
        ),
        "KID": bootstrap(kid, count),
        "precision": over_prompts(_share(inside(real, flat), count)),
        "recall": over_prompts(_share(inside(flat, real), count)),
    }  # fmt: skip


def failures(descriptions: Descriptions, features: Tensor) -> Tensor:
    """Which images lack at least one stated attribute, by the classifier: (P, S), bool."""
    hits, asked = descriptions.hits(features)
    return (~hits & asked[:, None]).any(dim=2)


def missed_attributes(descriptions: Descriptions, features: Tensor) -> dict[str, tuple[int, int]]:
    """For each stated attribute how many images lack it, and of how many it was asked."""
    hits, asked = descriptions.hits(features)
    wanted = asked[:, None].expand_as(hits)
    missed, total = ((x & wanted).sum(dim=(0, 1)).tolist() for x in (~hits, wanted))
    rows = zip(descriptions.stated, missed, total, strict=True)
    return {name: (lost, of) for name, lost, of in rows if of}


def distances(
    descriptions: Descriptions, images: Tensor, features: Tensor, reference: tuple[Tensor, Tensor]
) -> dict[str, Estimate]:
    """How far images are from those of a long run from the same noise.

    Parameters
    ----------
    images, features : Tensor, shape (P, S, 3, H, W), uint8, and (P, S, F)
    reference : tuple of Tensor
        Images and features of the long run.

    Returns
    -------
    dict
        ``pixels``: root mean squared error of values in [-1, 1], mean over images. ``features``:
        mean distance, divided by that of two real portraits of one description.
    """
    error = (images.float() - reference[0].float()) / 127.5
    apart = (features - reference[1]).norm(dim=2).mean(dim=1)
    return {
        "pixels": over_prompts(error.square().mean(dim=(2, 3, 4)).sqrt().mean(dim=1)),
        "features": bootstrap(ratio(apart, descriptions.real_distances), len(features)),
    }


# --- what changes a portrait most


def one_factor_distances(
    descriptions: Descriptions, features: Tensor, others: Mapping[str, Tensor]
) -> dict[str, Estimate]:
    """Root mean squared distance of two portraits that differ in one factor and agree in the rest.

    Half of its square is the variance that this factor alone causes, the other factors being held
    (the numerator of Sobol's total-effect index). In units of the root mean squared distance of
    two real portraits of one description.

    Parameters
    ----------
    features : Tensor, shape (P, S, F)
        Of the usual setting: two seeds of one prompt, and two prompts of one seed.
    others : dict
        Name of a factor -> features (L, P, S, F) at its L levels, from the same noise.
    """
    count = len(features)
    real = descriptions.features(descriptions.painted)
    unit = _squares(real).mean().sqrt().item()
    squares = {"seed": _squares(features)}
    for name, levels in others.items():  # (L, P, S, F) -> (P, S, L, F)
        squares[name] = _squares(levels.permute(1, 2, 0, 3)).mean(dim=1)
    between = torch.stack([_matrix(column) for column in features.unbind(dim=1)]).mean(dim=0)

    def prompts(weights: Tensor) -> Tensor:
        # A prompt drawn twice is no pair of two prompts; the diagonal of `between` is 0
        pairs = weights.sum(dim=1).square() - weights.square().sum(dim=1)
        return ((weights @ between) * weights).sum(dim=1) / pairs

    statistics: dict[str, Callable[[Tensor], Tensor]] = {"prompt": prompts}
    for name, values in squares.items():
        statistics[name] = ratio(values, torch.ones(count))
    return {
        name: bootstrap(lambda w, f=f: f(w).sqrt() / unit, count) for name, f in statistics.items()
    }


def pair_distances(features: Tensor) -> Tensor:
    """Mean distance of two images of one prompt: (P, S, F) -> (P,)."""
    return torch.stack([F.pdist(as_float64(group)).mean() for group in features])


def over_prompts(values: Tensor) -> Estimate:
    """Mean of one number for each prompt, (P,), with its bootstrap interval."""
    return bootstrap(ratio(values, torch.ones(len(values))), len(values))


def _share(hits: Tensor, count: int) -> Tensor:
    """(P S,) bool -> the share of each prompt's images, (P,)."""
    return hits.double().unflatten(0, (count, -1)).mean(dim=1)


def _squares(groups: Tensor) -> Tensor:
    """Mean squared distance of two different rows: (..., L, F) -> (...)."""
    return 2 * as_float64(groups).var(dim=-2).sum(dim=-1)


def _matrix(rows: Tensor) -> Tensor:
    """Squared distances of rows, (P, F) -> (P, P)."""
    rows = as_float64(rows)
    return torch.cdist(rows, rows).square()
