"""What a model generates where the prompt leaves something open, against its training data.

A caption of the training data that does not mention an attribute is not silent about it: people
without glasses are never described as such, so captions without glasses are more often theirs. So
generated portraits of a short prompt are compared with the portraits whose captions say exactly
what the prompt says, not with all of them (arXiv:2308.00755).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from course_lib.errors import check_number
from course_lib.metrics import Estimate, bootstrap
from course_lib.metrics.intervals import proportion
from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits
from course_lib.mini.data import Labels
from course_lib.portraits.attributes import VOCABULARY, Attributes, visible_attributes
from course_lib.portraits.captions.writer import CAPTION_LEVELS
from course_lib.tensors import as_float64

# What says nothing about the person
_SETTING = ("style", "quality", "framing", "pose")

Shares = dict[str, dict[str, Estimate]]  # attribute -> value -> share with its interval


# --- the training data


def caption_probability(person: Attributes, stated: Mapping[str, str]) -> float:
    """Chance that a usual caption of a person states `stated` and the style, and nothing else.

    Usual captions are those of `course_lib.portraits.caption`: each visible attribute whose value
    is not "none" is named with one chance, which is drawn for the caption. A child's gender tells
    the age as well, and the hair colour of a bald man is that of his beard. Framing, pose and
    quality may be named or not.

    Parameters
    ----------
    person : Attributes
    stated : dict
        Attribute -> value, as `course_lib.portraits.parse_caption` returns it.
    """
    values = {name: getattr(person, name) for name in visible_attributes(person)}
    sayable = {k: v for k, v in values.items() if v != "none" and k not in _SETTING}
    stated = {k: v for k, v in stated.items() if k not in _SETTING}
    if any(sayable.get(name) != value for name, value in stated.items()):
        return 0.0
    if person.age == "child" and "gender" in stated:
        if "age" not in stated:
            return 0.0  # "girl" and "boy" tell the age
        del sayable["age"], stated["age"]
    if person.hair_style == "bald" and "facial_hair" not in stated:
        sayable.pop("hair_color", None)  # without the beard it would go unsaid
    said, left = len(stated) + 1, len(sayable) - len(stated)  # 1 for the style
    return sum(odds * p**said * (1 - p) ** left for odds, p in CAPTION_LEVELS)


def training_shares(
    people: Iterable[Attributes], stated: Mapping[str, str], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Shares of values among the people whose captions state exactly `stated`.

    Parameters
    ----------
    people : iterable of Attributes
        Drawn from the training distribution; a few thousand.
    stated : dict
        As for `caption_probability`; empty for a prompt that says nothing about the person.
    names : sequence of str
        Attributes.

    Returns
    -------
    dict
        Attribute -> value -> share of those whose portrait shows the attribute.

    Raises
    ------
    ValueError
        If no caption of these people states that.
    """
    totals = {name: dict.fromkeys(VOCABULARY[name], 0.0) for name in names}
    for person in people:
        if weight := caption_probability(person, stated):
            for name in set(names) & set(visible_attributes(person)):
                totals[name][getattr(person, name)] += weight
    if not all(sum(values.values()) for values in totals.values()):
        raise ValueError(
            f"No caption of these people states just {dict(stated)}; give more people."
        )
    return {
        name: {value: weight / sum(values.values()) for value, weight in values.items()}
        for name, values in totals.items()
    }


# --- generated portraits


@torch.inference_mode()
def found_attributes(classifier: AttributeClassifier, images: Tensor) -> Labels:
    """What the classifier sees in (N, 3, 128, 128) uint8: attribute -> value indices (N,)."""
    logits = head_logits(classifier.heads, classifier.all_features(images))
    return {name: values.argmax(dim=1) for name, values in logits.items()}


def attribute_shares(found: Labels, names: Sequence[str]) -> Shares:
    """Shares of values with Wilson intervals, of labels as `found_attributes` returns them.

    Labels below 0, such as those of what a picture hides, are left out. The intervals cover the
    chance in the pictures, not the errors of the classifier; see `corrected_share`.
    """
    return {
        name: {
            value: proportion((found[name] == i)[found[name] >= 0])
            for i, value in enumerate(VOCABULARY[name])
        }
        for name in names
    }


def corrected_share(found: Tensor, among_true: Tensor, among_false: Tensor) -> Estimate:
    """Share of portraits that have something, corrected for the errors of who looked.

    With sensitivity `se` and specificity `sp` the share found is ``p se + (1 - p) (1 - sp)``, which
    is solved for p (Rogan and Gladen, American Journal of Epidemiology 107(1), 1978) and cut off at
    0 and 1. The interval is a bootstrap over all three samples.

    Parameters
    ----------
    found : Tensor, shape (N,), bool
        In which portraits it was found.
    among_true, among_false : Tensor, shape (M,) and (K,), bool
        The same for portraits that are known to have it, and known not to.

    Raises
    ------
    ValueError
        If a sample is empty, or it is found no more often where it is than where it is not.
    """
    samples = [as_float64(x) for x in (found, among_true, among_false)]
    if not all(x.numel() for x in samples):
        raise ValueError("found, among_true and among_false must each hold a portrait or more.")
    if samples[1].mean() <= samples[2].mean():
        raise ValueError(
            "It is found no more often where it is than where it is not, so nothing can be said."
        )

    def share(*weights: Tensor) -> Tensor:
        seen, right, wrong = (w @ x / w.sum(1) for w, x in zip(weights, samples, strict=True))
        return ((seen - wrong) / (right - wrong)).clamp(0, 1)

    return bootstrap(share, *map(len, samples)) | {"n": len(samples[0])}


def amplification(generated: Estimate, training: float) -> Estimate:
    """Odds of a value in generated portraits over those in the training data, with the interval.

    1 means that the share is that of the data; 2, that the odds doubled: from 1 : 1 to 2 : 1, or
    from 9 : 1 to 18 : 1. The training share counts as known.

    Raises
    ------
    ValueError
        If the training share is not between 0 and 1.
    """
    training = check_number("training", training, low=0, high=1)
    if training in (0, 1):
        raise ValueError(f"training must lie between 0 and 1, got {training:g}: its odds are none.")
    odds = training / (1 - training)
    ends = {k: generated[k] for k in ("value", "low", "high")}
    return {k: (p / (1 - p) if p < 1 else float("inf")) / odds for k, p in ends.items()}


# --- a repair


def sampling_weights(labels: Tensor, wanted: Sequence[float]) -> Tensor:
    """Chances of drawing each item so that the classes are drawn with the wanted shares.

    Parameters
    ----------
    labels : Tensor, shape (N,)
        Class of each item, from 0.
    wanted : sequence of float
        Share of each class; they add up to 1.

    Returns
    -------
    Tensor, shape (N,), float64
        They add up to 1; for `torch.multinomial` or `torch.utils.data.WeightedRandomSampler`.

    Raises
    ------
    ValueError
        If shares are negative, do not add up to 1 or miss a class, or a class that is wanted has no
        items: weights repeat what is there, and nothing else.
    """
    shares = torch.as_tensor(wanted, dtype=torch.float64)
    if bool((shares < 0).any()) or abs(float(shares.sum()) - 1) > 1e-6:
        raise ValueError(f"wanted must be shares that add up to 1, got {list(wanted)}.")
    if int(labels.min()) < 0 or int(labels.max()) >= len(shares):
        raise ValueError(f"labels must lie in 0 .. {len(shares) - 1}, one for each wanted share.")
    counts = torch.bincount(labels, minlength=len(shares))
    if missing := [i for i, n in enumerate(counts.tolist()) if n == 0 and shares[i] > 0]:
        raise ValueError(
            f"No item has class {missing[0]}, so no weights draw it. Add items, or want 0 of it."
        )
    return shares[labels] / counts[labels]
