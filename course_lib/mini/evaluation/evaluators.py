"""The parts of the evaluation: functions from `EvaluationData` to tables of numbers.

A result is a dictionary of tables, a table of rows, and a row of cells. A cell is a number or an
estimate with ``value``, ``low`` and ``high``, its 95 % interval: Wilson's for shares; a percentile
bootstrap over people for sharpness, kernel distance and mean adherence; a normal interval over
people for all other means.
"""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F

from course_lib import metrics
from course_lib.metrics import psnr, ssim
from course_lib.metrics.intervals import Estimate, bootstrap, mean, proportion
from course_lib.mini.data import TRAINING_SEED, Labels, value_indices
from course_lib.mini.evaluation import looks
from course_lib.mini.evaluation.generate import EvaluationData, Table, batches, portrait_images
from course_lib.mini.evaluation.prompts import known_paraphrases
from course_lib.portraits import full_caption, paint_portrait, parse_caption
from course_lib.portraits.attributes import VOCABULARY, visible_attributes
from course_lib.tensors import uint8_to_signed

# The attributes whose mean is the adherence to prompts
ADHERENCE = (
    "style", "hair_color", "hair_style", "eyewear", "headwear", "facial_hair", "expression",
    "skin", "background",
)  # fmt: skip
ACCESSORIES = ("eyewear", "facial_hair", "headwear")  # a full caption without them means none
_CHUNK = 2048  # training portraits in memory at a time


def classifier(data: EvaluationData) -> dict[str, Table]:
    """How often the attribute classifier is right about real images: the ceiling of adherence.

    ``stated`` counts what the prompts state, ``visible`` all that can be seen, absences included.
    """
    found = data.predict(data.real_features)
    seen = [{k: getattr(p, k) for k in visible_attributes(p)} for p in data.people]
    columns = {"stated": data.stated, "visible": value_indices(seen)}
    rows = {k: {c: _accuracy(said, found, k) for c, said in columns.items()} for k in VOCABULARY}
    return {"accuracy on real images": rows, "most often confused": _confusions(data.stated, found)}


def attributes(data: EvaluationData) -> dict[str, Table]:
    """How often the classifier finds what the prompt states, in generated and in real images."""
    columns = {
        "generated": data.predict(data.generated_features),
        "real": data.predict(data.real_features),
    }
    said = data.stated
    rows = {k: {c: _accuracy(said, f, k) for c, f in columns.items()} for k in VOCABULARY}
    rows["mean of the nine"] = {c: _adherence(said, found) for c, found in columns.items()}
    full, absent = torch.arange(len(data.people)) % 2 == 0, {}
    for name in ACCESSORIES:
        silent = full & (said[name] < 0)
        if name == "facial_hair":  # only where a beard is possible
            silent &= torch.tensor([p.gender == "man" and p.age != "child" for p in data.people])
        none = VOCABULARY[name].index("none")
        absent[name] = {c: proportion((f[name] == none)[silent]) for c, f in columns.items()}
    asked = torch.stack([said[k] >= 0 for k in ADHERENCE])
    hits = {c: torch.stack([f[k] == said[k] for k in ADHERENCE]) for c, f in columns.items()}
    by_style = {
        style: {c: proportion(h[:, mask][asked[:, mask]]) for c, h in hits.items()}
        for style, mask in data.by_style()
    }
    return {
        "prompted attributes found": rows,
        "accessories not prompted and not there": absent,
        "the nine attributes by style": by_style,
        "most often confused": _confusions(said, columns["generated"]),
    }


def autoencoder(data: EvaluationData) -> dict[str, Table]:
    """Real images through the autoencoder and back, in all and for each style."""
    real = data.real[:500]
    rebuilt, original = data.generator.reconstruct(real), uint8_to_signed(real)
    pairs = list(zip(rebuilt.split(64), original.split(64), strict=True))
    values = {
        "PSNR, dB": torch.cat([psnr(a, b, reduction="none") for a, b in pairs]),
        "SSIM": torch.cat([ssim(a, b, reduction="none") for a, b in pairs]),
    }
    masks = [("all", torch.ones(len(data.people), dtype=torch.bool)), *data.by_style()]
    rows = {
        name: {k: mean(v[mask[: len(real)]]) for k, v in values.items()} for name, mask in masks
    }
    return {"reconstruction of real images": rows}


def diversity(data: EvaluationData) -> dict[str, Table]:
    """How far images of one prompt lie apart over seeds, beside portraits of one description."""
    people, seeds = data.people[: data.config.diversity_prompts], range(data.config.diversity_seeds)
    prompts = [full_caption(p) for p in people for _ in seeds]
    generated = data.generate(prompts, "same prompt, other seeds", seeds=[*seeds] * len(people))
    look = {"size": data.training_data.size, "variety": data.training_data.variety}
    real = [torch.from_numpy(paint_portrait(p, s, **look)) for p in people for s in seeds]
    spaces: Table = {"features": {}, "pixels": {}}
    for name, images in (("generated", generated), ("real", torch.stack(real).movedim(-1, 1))):
        pixels = uint8_to_signed(images).flatten(1)
        for space, x in (
            ("features", data.classifier.all_features(images)),
            ("pixels", pixels / pixels.shape[1] ** 0.5),
        ):
            distances = [F.pdist(group).mean() for group in x.split(len(seeds))]
            spaces[space][name] = mean(torch.stack(distances))
    for row in spaces.values():
        row["ratio of means"] = row["generated"]["value"] / row["real"]["value"]
    return {"distance of two images of one prompt": spaces}


def memorization(data: EvaluationData) -> dict[str, Table]:
    """The training portrait nearest to each generated image, beside that nearest to a real one.

    A near-duplicate is closer than half the least distance of real held-out images, both in the
    classifier's features and in thumbnails.
    """
    from tqdm.auto import tqdm

    series = data.portraits(data.config.training_images, TRAINING_SEED)
    known: dict[str, list] = {"features": [], "thumbnails": []}
    for part in tqdm(batches(range(len(series)), _CHUNK), desc="training portraits"):
        pixels = portrait_images(series, part)
        known["features"].append(data.classifier.all_features(pixels))
        known["thumbnails"].append(metrics.thumbnails(pixels))
    queries = {
        "features": (data.generated_features, data.real_features),
        "thumbnails": (metrics.thumbnails(data.generated), metrics.thumbnails(data.real)),
    }
    rows: Table = {}
    duplicate, closest = torch.ones(len(data.people), dtype=torch.bool), {}
    for space, pair in queries.items():
        others = torch.cat(known[space])
        (generated, index), (real, _) = (metrics.nearest(x, others) for x in pair)
        duplicate &= generated < real.min() / 2
        for who, values in (("generated", generated), ("real", real)):
            least, median = values.quantile(torch.tensor([0.0, 0.5])).tolist()
            rows[f"{space}, {who}"] = {"least distance": least, "median": median}
        for i in generated.argsort()[:5].tolist():
            which = f"{space}: prompt {i}, training portrait {int(index[i])}"
            closest[which] = {"distance": generated[i].item()}
    found = {"count": int(duplicate.sum()), "of training": len(series)}
    return {
        "near-duplicates": {"generated": found},
        "distance to the nearest training portrait": rows,
        "closest": closest,
    }


def paraphrases(data: EvaluationData) -> dict[str, Table]:
    """What is lost if prompts are in free language instead of the captions' templates."""
    seeds = range(data.config.paraphrase_seeds)
    pairs = known_paraphrases(data.training_data.only)[: data.config.paraphrases]
    said = value_indices([parse_caption(text) for _, text in pairs for _ in seeds])
    asked = torch.stack([x >= 0 for x in said.values()])
    rows: Table = {name: {} for name in ("all", *VOCABULARY)}
    shares = {}
    for column, name in enumerate(("free language", "template")):
        prompts = [pair[column] for pair in pairs for _ in seeds]
        images = data.generate(prompts, name, seeds=[*seeds] * len(pairs))
        found = data.predict(data.classifier.all_features(images))
        hits = torch.stack([found[k] == said[k] for k in said])
        rows["all"][name] = proportion(hits[asked])
        for k in VOCABULARY:
            rows[k][name] = _accuracy(said, found, k)
        share = (hits & asked).sum(dim=0) / asked.sum(dim=0)
        shares[name] = share.view(len(pairs), len(seeds)).mean(dim=1)
    lost = shares["template"] - shares["free language"]  # by sentence
    worst = {pairs[i][0]: {"lost": lost[i].item()} for i in lost.argsort(descending=True)[:5]}
    total = rows["all"]["template"]["value"] - rows["all"]["free language"]["value"]
    return {
        "prompted attributes found": rows,
        "lost by free language": {"all": {"share": total}, "mean sentence": {"share": mean(lost)}},
        "worst": worst,
    }


LOOKS = {
    "two_sample": looks.two_sample,
    "sharpness": looks.sharpness,
    "grain": looks.grain,
    "kid": looks.kid,
    "colors": looks.colors,
}
EVALUATORS = {
    "attributes": attributes,
    **LOOKS,
    "classifier": classifier,
    "autoencoder": autoencoder,
    "diversity": diversity,
    "memorization": memorization,
    "paraphrases": paraphrases,
}


def _accuracy(said: Labels, found: Labels, name: str) -> Estimate:
    asked = said[name] >= 0
    return proportion(found[name][asked] == said[name][asked])


def _adherence(said: Labels, found: Labels) -> Estimate:
    """Mean accuracy of the nine attributes, each counting alike."""
    rates = [metrics.ratio((said[k] == found[k]) & (said[k] >= 0), said[k] >= 0) for k in ADHERENCE]
    return bootstrap(
        lambda w: torch.stack([rate(w) for rate in rates]).mean(dim=0), len(said["age"])
    )


def _confusions(said: Labels, found: Labels) -> Table:
    """What was prompted and classified as something else, the most frequent first."""
    counts: Counter = Counter()
    for name in ADHERENCE:
        wrong = (said[name] >= 0) & (found[name] != said[name])
        for a, b in zip(said[name][wrong].tolist(), found[name][wrong].tolist(), strict=True):
            counts[f"{name}: {VOCABULARY[name][a]} -> {VOCABULARY[name][b]}"] += 1
    return {which: {"count": n} for which, n in counts.most_common(12)}
