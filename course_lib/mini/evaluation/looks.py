"""How generated images look beside real ones, apart from what they show: five evaluators.

Their results are tables as in `course_lib.mini.evaluation.evaluators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib import metrics
from course_lib.metrics.intervals import bootstrap, mean, proportion
from course_lib.mini.data import HELD_OUT_SEED
from course_lib.mini.evaluation.generate import EvaluationData, Table, portrait_images
from course_lib.mini.evaluation.prompts import bearded_man_prompts
from course_lib.portraits.attributes import MONOCHROME_STYLES, VOCABULARY

DYED = [VOCABULARY["hair_color"].index(name) for name in ("blue", "pink")]
# Where a full beard covers at least half of the face in 128 x 128 pixels of a frontal bust, below
# the mouth: top, bottom, left, right. A beard is dyed if half of this box is.
BEARD_BOX, DYED_SHARE = (80, 92, 50, 80), 0.5


def two_sample(data: EvaluationData) -> dict[str, Table]:
    """Accuracy of linear classifiers that tell generated from real; 0.5 is the floor."""
    rows = {}
    for name, describe in (
        ("radial spectra", metrics.radial_spectra),
        ("random features", metrics.random_features),
    ):
        real = describe(data.real)
        rows[name] = {
            column: mean(_pairs_classified(real, describe(images)))
            for column, images in (("generated", data.generated), ("other real", data.others))
        }
    return {"told apart from real images": rows}


def _pairs_classified(x: Tensor, y: Tensor) -> Tensor:
    """For each person, the share of their two images that is classified correctly, (N,)."""
    return torch.stack(metrics.two_sample_hits(x, y)).double().mean(dim=0)


def sharpness(data: EvaluationData) -> dict[str, Table]:
    """Mean absolute Laplacian, generated / real, by style."""
    generated, real = metrics.sharpness(data.generated), metrics.sharpness(data.real)
    rows = {}
    for style, mask in data.by_style():
        pair = generated[mask], real[mask]
        rows[style] = {"generated / real": bootstrap(metrics.ratio(*pair), int(mask.sum()))}
        rows[style] |= {
            k: v.mean().item() for k, v in zip(("generated", "real"), pair, strict=True)
        }
    return {"sharpness": rows}


def grain(data: EvaluationData) -> dict[str, Table]:
    """Grain in the flattest tenth of flat illustrations, geometric means over people."""
    rows = {}
    for style, mask in data.by_style():
        if style == "flat illustration":
            pair = metrics.grain(data.generated[mask]).log(), metrics.grain(data.real[mask]).log()
            row = mean(pair[0] - pair[1])
            rows[style] = {"generated / real": {k: math.exp(v) for k, v in row.items()}}
            for name, values in zip(("generated", "real"), pair, strict=True):
                rows[style][name] = values.mean().exp().item()
    return {"grain in flat parts": rows}


def kid(data: EvaluationData) -> dict[str, Table]:
    """Kernel distance to other people's real images in the classifier's features.

    The multiple says how much larger the distance is than between two sets of real images, both
    measured on `course_lib.metrics.kernel.KID_SIZE` images a side: (KID + floor) / floor. Its
    interval is narrow enough for the goal from about 1,000 prompts on.
    """
    real, other = data.real_features, data.other_features
    floor = metrics.kid_floor(torch.cat([real, other]))
    rows: Table = {}
    for name, x in (("generated", data.generated_features), ("real", real)):
        row = bootstrap(lambda w, x=x: metrics.kid_of_resamples(x, other, w), len(x))
        multiple = {k: 1 + v / floor for k, v in row.items()}
        rows[name] = {"KID": row, "floor": floor, "multiple of the floor": multiple}
    return {"kernel distance": rows}


def colors(data: EvaluationData) -> dict[str, Table]:
    """Hair colors of bearded men where the prompt leaves them open, beside those of real ones."""
    count = data.config.color_prompts
    # The dark ink of pop art is blue whatever the hair; the other styles show no hue
    hueless = (*MONOCHROME_STYLES, "pop art")
    styles = [style for style in data.training_data.only["style"] if style not in hueless]
    if not styles:
        return {}
    series = data.portraits(
        count, HELD_OUT_SEED + 1, style=styles, gender=("man",), facial_hair=("beard",),
        age=("young", "adult", "elderly"),
    )  # fmt: skip
    images = {
        "generated": data.generate(bearded_man_prompts(styles, count), "open hair colors"),
        "real": portrait_images(series, range(count)),
    }
    found = {c: data.predict(data.classifier.all_features(x)) for c, x in images.items()}
    drawn = torch.tensor(
        [VOCABULARY["hair_color"].index(series.attributes(i).hair_color) for i in range(count)]
    )
    hair = {c: f["hair_color"] for c, f in found.items()}
    rows = {
        name: {c: proportion(x == i) for c, x in hair.items()}
        | {"training data": (drawn == i).double().mean().item()}
        for i, name in enumerate(VOCABULARY["hair_color"])
    }
    beard = VOCABULARY["facial_hair"].index("beard")
    dyed = torch.tensor(DYED)
    return {
        "hair color of 'a man with a beard'": rows,
        "beards that are blue, violet or pink": {
            "by the classifier": {c: proportion(torch.isin(x, dyed)) for c, x in hair.items()},
            "by hue": {
                c: proportion(dyed_share(x, BEARD_BOX) > DYED_SHARE) for c, x in images.items()
            },
            "beards found": {c: proportion(f["facial_hair"] == beard) for c, f in found.items()},
        },
    }


def dyed_share(images: Tensor, box: tuple[int, int, int, int], *, chroma: float = 0.16) -> Tensor:
    """Share of the pixels in `box` (top, bottom, left, right) that are blue, violet or pink, (N,).

    These have a hue from 170 degrees (cyan) to 345 degrees (pink) and a chroma, the largest minus
    the smallest of red, green and blue in [0, 1], of at least `chroma`.
    """
    top, bottom, left, right = box
    x = images[..., top:bottom, left:right].float() / 255
    red, green, blue = x.unbind(dim=1)
    # Hue as the angle in the plane of the two opponent axes
    hue = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue).rad2deg() % 360
    colored = x.amax(dim=1) - x.amin(dim=1) >= chroma
    return ((hue >= 170) & (hue <= 345) & colored).float().mean(dim=(1, 2))
