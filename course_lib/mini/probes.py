"""The parts of the evaluation that ask for more pictures: variety, copies, and people's own words.

Each takes what it needs from an `Exam` and returns a dictionary of plain numbers. Distances of
pixels are in units of [-1, 1].
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.mini import measures
from course_lib.mini.config import IMAGE_SIZE, MINI_PORTRAITS, MINI_VARIETY
from course_lib.mini.data import TRAINING_SEED, mini_series, value_indices
from course_lib.mini.exam import Exam, accuracies, painted_pixels, share_of_counts
from course_lib.mini.paraphrases import PARAPHRASES, stated
from course_lib.portraits import full_caption, paint_portrait
from course_lib.tensors import uint8_to_signed

_CHUNK = 2048  # training portraits in memory at a time


def diversity(exam: Exam) -> dict:
    """How far pictures of one prompt lie apart over seeds, beside paintings of one description."""
    chosen, seeds = exam.people[: exam.options.diversity], range(exam.options.seeds)
    prompts = [full_caption(p) for p in chosen for _ in seeds]
    starts = [exam.options.seed + s for _ in chosen for s in seeds]
    pictures = exam.easel.paint(prompts, starts, "same prompt, other seeds")
    look = {"size": IMAGE_SIZE, "variety": MINI_VARIETY}
    painted = np.stack([paint_portrait(p, s, **look) for p in chosen for s in seeds])
    painted = torch.from_numpy(painted).permute(0, 3, 1, 2).contiguous()
    result = {}
    for name, pixels in (("generated", pictures), ("painted", painted)):
        rows = {
            "features": exam.jury.features(pixels),
            "pixels": uint8_to_signed(pixels).flatten(1),
        }
        result[name] = {
            space: float(np.mean([measures.mean_pairwise(x) for x in rows_.split(len(seeds))]))
            / (1.0 if space == "features" else rows_.shape[1] ** 0.5)
            for space, rows_ in rows.items()
        }
    result["ratio"] = {k: result["generated"][k] / v for k, v in result["painted"].items()}
    return result


def memory(exam: Exam) -> dict:
    """The training painting nearest to each picture; held-out paintings show what is usual.

    A copy would be far nearer than any held-out painting is: here, nearer than half the smallest
    distance among them, both in the judge's features and in small pixels.
    """
    spaces = {
        "features": (exam.made, exam.painted, exam.jury.features),
        "pixels": (
            measures.low_resolution(exam.pictures),
            measures.low_resolution(exam.paintings),
            measures.low_resolution,
        ),
    }
    searches = {k: measures.Nearest(torch.cat(v[:2])) for k, v in spaces.items()}
    for pixels in _training_pictures(exam.options):
        for name, (_, _, describe) in spaces.items():
            searches[name].offer(describe(pixels))
    count, result, copied = len(exam.people), {}, torch.ones(len(exam.people), dtype=torch.bool)
    for name, search in searches.items():
        scale = 1.0 if name == "features" else search.queries.shape[1] ** 0.5
        made, held_out = (search.distance / scale).split(count)
        copied &= made < held_out.min() / 2
        closest = made.argsort()[:5].tolist()
        result[name] = {
            "generated": _quantiles(made),
            "held_out": _quantiles(held_out),
            "ratio_of_medians": (made.median() / held_out.median()).item(),
            "closest": [
                {"prompt": i, "training": int(search.index[i]), "distance": made[i].item()}
                for i in closest
            ],
        }
    return result | {"training": searches["pixels"].offered, "copied": int(copied.sum())}


def paraphrases(exam: Exam) -> dict:
    """What is lost if people use their own words instead of the captions' templates.

    Sentences that ask for what the mini never saw, a mosaic or a profile, are left out.
    """
    known = [i for i in range(len(PARAPHRASES)) if within(MINI_PORTRAITS, stated(i))]
    chosen, seeds = known[: exam.options.paraphrases], exam.options.paraphrase_seeds
    wanted = value_indices([stated(i) for i in chosen for _ in range(seeds)])
    starts = [exam.options.seed + s for _ in chosen for s in range(seeds)]
    shares, result = {}, {}
    for column, name in enumerate(("paraphrased", "template")):
        prompts = [PARAPHRASES[i][column] for i in chosen for _ in range(seeds)]
        pictures = exam.easel.paint(prompts, starts, f"{name} prompts")
        found = exam.jury.names(exam.jury.features(pictures))
        hits = sum((found[k] == w).float() * (w >= 0) for k, w in wanted.items())
        total = sum((w >= 0).float() for w in wanted.values())
        shares[name] = (hits / total).view(len(chosen), seeds).mean(dim=1)
        result[name] = accuracies(wanted, found) | {
            "all": share_of_counts(int(hits.sum()), int(total.sum()))
        }
    loss = shares["template"] - shares["paraphrased"]
    worst = [(PARAPHRASES[chosen[i]][0], loss[i].item()) for i in loss.argsort(descending=True)[:5]]
    mean, half = measures.mean_interval(100 * loss)
    return result | {
        "loss_points": 100 * (result["template"]["all"]["share"]
                              - result["paraphrased"]["all"]["share"]),
        "loss_per_sentence": {"mean": mean, "interval": half},
        "worst": [{"sentence": sentence, "loss": 100 * lost} for sentence, lost in worst],
    }  # fmt: skip


def within(only: Mapping[str, Sequence[str]], said: Mapping[str, str]) -> bool:
    """Whether everything that is said is among the allowed values."""
    return all(value in only.get(name, (value,)) for name, value in said.items())


def _training_pictures(options: Namespace) -> Iterator[Tensor]:
    """The training portraits in order, painted anew or read from the cache, (K, 3, H, W) uint8."""
    from tqdm.auto import tqdm

    series = mini_series(options.training, seed=TRAINING_SEED, cache=options.cache)
    for start in tqdm(range(0, len(series), _CHUNK), desc="training portraits"):
        yield painted_pixels(series, range(start, min(start + _CHUNK, len(series))))


def _quantiles(values: Tensor) -> dict:
    points = torch.tensor([0.0, 0.01, 0.5])
    return dict(zip(("least", "1%", "median"), values.quantile(points).tolist(), strict=True))
