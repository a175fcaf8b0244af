"""The parts of the evaluation that look at pictures of held-out prompts, singly and as a whole.

Each takes what it needs from an `Exam` and returns a dictionary of plain numbers.
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from course_lib.metrics import psnr, ssim
from course_lib.mini import measures
from course_lib.mini.config import MINI_STYLES
from course_lib.mini.data import HELD_OUT_SEED, mini_series, value_indices
from course_lib.mini.easel import Easel, Jury, long_prompt
from course_lib.portraits import PortraitDataset, parse_caption
from course_lib.portraits.attributes import VOCABULARY, visible_attributes
from course_lib.tensors import uint8_to_signed

# The nine attributes that the quality bars are about
BARRED = (
    "style", "hair_color", "hair_style", "eyewear", "headwear", "facial_hair", "expression",
    "skin", "background",
)  # fmt: skip
ACCESSORIES = ("eyewear", "facial_hair", "headwear")  # a full caption without them means none


class Exam:
    """The held-out people, their prompts and paintings, and the pictures made of them.

    Parameters
    ----------
    options : Namespace
        As `course_lib.mini.evaluate` reads them from the command line.
    """

    def __init__(self, options: Namespace):
        self.options = options
        self.jury = Jury(
            options.judge or options.model / "attribute_classifier" / "model.safetensors"
        )
        self.series = mini_series(2 * options.prompts, seed=HELD_OUT_SEED, cache=options.cache)

    @cached_property
    def easel(self) -> Easel:
        o = self.options
        return Easel(
            o.model, steps=o.steps, guidance=o.guidance, scheduler=o.scheduler, batch=o.batch
        )

    @cached_property
    def people(self) -> list:
        return [self.series.attributes(i) for i in range(self.options.prompts)]

    @cached_property
    def prompts(self) -> list[str]:
        return [long_prompt(p, i, HELD_OUT_SEED) for i, p in enumerate(self.people)]

    @cached_property
    def said(self) -> dict[str, Tensor]:
        """What the prompts state: for each attribute, value numbers (N,), -1 for nothing."""
        return value_indices([parse_caption(text) for text in self.prompts])

    @cached_property
    def paintings(self) -> Tensor:
        """The people of the prompts, painted: (N, 3, 128, 128), uint8."""
        return painted_pixels(self.series, range(self.options.prompts))

    @cached_property
    def painted(self) -> Tensor:
        return self.jury.features(self.paintings)

    @cached_property
    def others(self) -> Tensor:
        """Features of paintings of as many other people."""
        count = self.options.prompts
        return self.jury.features(painted_pixels(self.series, range(count, 2 * count)))

    @cached_property
    def pictures(self) -> Tensor:
        """What the model makes of the prompts: (N, 3, 128, 128), uint8."""
        seeds = range(self.options.seed, self.options.seed + self.options.prompts)
        return self.easel.paint(self.prompts, seeds, "held-out prompts")

    @cached_property
    def made(self) -> Tensor:
        return self.jury.features(self.pictures)


def ceiling(exam: Exam) -> dict:
    """How often the judge is right about paintings: more cannot be asked of generated pictures.

    ``accuracy`` counts what the prompts state, ``visible`` all that can be seen, absences included.
    """
    found = exam.jury.names(exam.painted)
    seen = [{k: getattr(p, k) for k in visible_attributes(p)} for p in exam.people]
    return {
        "accuracy": accuracies(exam.said, found),
        "visible": accuracies(value_indices(seen), found),
        "confusions": _confusions(exam.said, found),
    }


def attributes(exam: Exam) -> dict:
    """How often the judge finds what the prompt states, in generated pictures and in paintings."""
    names = exam.jury.names(exam.made)
    full = torch.arange(len(exam.prompts)) % 2 == 0
    unasked = {}
    for name in ACCESSORIES:
        silent = full & (exam.said[name] < 0)
        if name == "facial_hair":  # only where the painter might have given some
            silent &= torch.tensor([p.gender == "man" and p.age != "child" for p in exam.people])
        none = VOCABULARY[name].index("none")
        unasked[name] = share((names[name] == none)[silent])
    return {
        "generated": accuracies(exam.said, names),
        "painted": ceiling(exam)["accuracy"],
        "absent_when_unasked": unasked,
        "by_style": _by_style(exam, names),
        "confusions": _confusions(exam.said, names),
    }


def autoencoder(exam: Exam) -> dict:
    """Held-out paintings through the autoencoder and back, in all and for each style."""
    count = min(500, len(exam.people))
    x = exam.paintings[:count]
    rebuilt = exam.easel.rebuild(x)
    decibels, similarity = psnr(rebuilt, uint8_to_signed(x), reduction="none"), []
    for a, b in zip(rebuilt.split(64), uint8_to_signed(x).split(64), strict=True):
        similarity.append(ssim(a, b, reduction="none"))
    similarity = torch.cat(similarity)
    styles = np.array([person.style for person in exam.people[:count]])
    rows = {"all": torch.ones(count, dtype=torch.bool)}
    rows |= {style: torch.from_numpy(styles == style) for style in MINI_STYLES}
    return {
        name: {
            "n": int(mask.sum()),
            "psnr": decibels[mask].mean().item(),
            "ssim": similarity[mask].mean().item(),
        }
        for name, mask in rows.items()
        if mask.any()
    }


def kernel(exam: Exam) -> dict:
    """KID of generated pictures against other people's paintings; the floor is paintings' own."""
    generator = torch.Generator().manual_seed(0)
    half = max(2, len(exam.people) // 2)
    floors, values = [], []
    for _ in range(10):  # the same halves for both, to see how much chance is in them
        some = torch.randperm(len(exam.people), generator=generator)[:half]
        rest = torch.randperm(len(exam.people), generator=generator)[:half]
        floors.append(measures.kid(exam.painted[some], exam.others[rest]))
        values.append(measures.kid(exam.made[some], exam.others[rest]))
    return {
        "kid": measures.kid(exam.made, exam.others),
        "floor": measures.kid(exam.painted, exam.others),
        "kid_of_halves": _mean_and_deviation(values),
        "floor_of_halves": _mean_and_deviation(floors),
    }


def clip_score(exam: Exam) -> dict:
    """100 x cosine of picture and prompt: generated, painted, and painted with a wrong prompt."""
    wrong = exam.prompts[1:] + exam.prompts[:1]
    rows = {
        "generated": exam.jury.matches(exam.made, exam.prompts),
        "painted": exam.jury.matches(exam.painted, exam.prompts),
        "wrong prompt": exam.jury.matches(exam.painted, wrong),
    }
    return {
        name: dict(zip(("mean", "interval"), measures.mean_interval(100 * row), strict=True))
        for name, row in rows.items()
    }


def painted_pixels(series: PortraitDataset, which: range) -> Tensor:
    """Some portraits of a series by the painter's own hand, (N, 3, H, W), uint8."""
    pixels = torch.from_numpy(series.pixels(which, workers=2))
    return pixels.permute(0, 3, 1, 2).contiguous()


def accuracies(said: dict[str, Tensor], found: dict[str, Tensor]) -> dict:
    return {name: share((found[name] == said[name])[said[name] >= 0]) for name in VOCABULARY}


def share(hits: Tensor) -> dict:
    return share_of_counts(int(hits.sum()), hits.numel())


def share_of_counts(hits: int, total: int) -> dict:
    low, high = measures.wilson(hits, total)
    return {"n": total, "share": hits / total if total else float("nan"), "low": low, "high": high}


def _by_style(exam: Exam, found: dict[str, Tensor]) -> dict:
    """How much of what is prompted is found, the nine attributes together, in each art style."""
    styles = torch.tensor([VOCABULARY["style"].index(p.style) for p in exam.people])
    hits = torch.stack([(found[name] == exam.said[name]) for name in BARRED])
    asked = torch.stack([exam.said[name] >= 0 for name in BARRED])
    return {
        style: share((hits & (styles == i))[asked & (styles == i)])
        for i, style in enumerate(VOCABULARY["style"])
        if style in MINI_STYLES
    }


def _confusions(said: dict[str, Tensor], found: dict[str, Tensor]) -> list[dict]:
    """What was prompted and seen as something else, the most frequent first."""
    counts: Counter = Counter()
    for name in BARRED:
        wrong = (said[name] >= 0) & (found[name] != said[name])
        pairs = zip(said[name][wrong].tolist(), found[name][wrong].tolist(), strict=True)
        counts.update((name, VOCABULARY[name][a], VOCABULARY[name][b]) for a, b in pairs)
    keys = ("attribute", "prompted", "seen")
    return [
        dict(zip(keys, which, strict=True)) | {"count": n} for which, n in counts.most_common(12)
    ]


def _mean_and_deviation(values: Sequence[float]) -> dict:
    return {"mean": float(np.mean(values)), "deviation": float(np.std(values))}
