"""Probe the mini's activations, and measure what concept sliders change (lesson 10).

    OMP_NUM_THREADS=1 python tools/measure_interpretability.py

writes data/experiments/interpretability.json in about four minutes of one CPU core: how well
linear probes read the finished portrait's attributes from activations at each step, and what
sliders along directions of two layers change, asked for or not. `--only` replaces one of both
parts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from measure_stability import rounded  # noqa: E402

from course_lib.device import make_generator  # noqa: E402
from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.metrics import proportion  # noqa: E402
from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits  # noqa: E402
from course_lib.mini.directions import concept_direction, shifted  # noqa: E402
from course_lib.mini.probes import (  # noqa: E402
    LAYERS,
    denoising_features,
    majority_share,
    probe_accuracy,
)
from course_lib.pipelines import decode_latents, load_pipeline, paint  # noqa: E402
from course_lib.pipelines.registry import SHIPPED  # noqa: E402
from course_lib.portraits.attributes import VOCABULARY  # noqa: E402
from course_lib.tensors import from_pil  # noqa: E402

PROMPT, STEPS = "a portrait of a person", 5  # leaves everything open; the mini's usual steps
PROBED = ("gender", "age", "expression", "headwear", "style", "background")
# Layers of the directions and strengths; "random" is a control of equal length
COMPARED = {
    "add_embedding": (-10, -5, 5, 10), "random add_embedding": (-10, 10), "mid_block": (-10, 10),
}  # fmt: skip
# Pairs differ in the concept alone; {} is what is known of the person
CONCEPTS = {
    "smile": ("a smiling {}", "an angry {}", "expression", ("smiling", "laughing")),
    "age": ("an elderly {}", "a young {}", "age", ("elderly",)),
}
KNOWN = (
    "woman with long hair", "man with short hair", "woman in a red hoodie", "man in a suit",
    "woman with glasses", "man with curly hair", "woman with a bun", "man in a blue shirt",
)  # fmt: skip
# What the sliders are tried on: other people, in other words
TRIED = (
    "a watercolor of a woman in a green turtleneck", "a watercolor of a man with black hair",
    "a flat illustration of a woman with a bob", "a pastel of a man in a yellow t-shirt",
    "pixel art of a woman with red hair", "a flat illustration of a man in a white shirt",
    "a pastel of a woman with braids", "a watercolor of a man with brown skin",
    "a flat illustration of a man with spiky hair", "a watercolor of a woman, sunset behind her",
    "a pastel of a woman with an afro", "pixel art of a man in front of a bookshelf",
)  # fmt: skip
SEEDS_TRIED, FIRST_SEED = 1, 50


def values_of(classifier: AttributeClassifier, images: Tensor) -> dict[str, Tensor]:
    """Attribute -> the most probable value's index, (N,), of images (N, 3, 128, 128)."""
    with torch.no_grad():
        features = torch.cat([classifier.features(part) for part in images.split(32)])
        return {k: v.argmax(dim=1) for k, v in head_logits(classifier.heads, features).items()}


def probes(pipe, classifier, count: int) -> dict:
    """Accuracy of probes over layers and steps; two thirds of the portraits are fitted to."""
    fitted = count * 2 // 3
    times, features, latents = denoising_features(pipe, PROMPT, range(count), steps=STEPS)
    final = values_of(classifier, decode_latents(pipe, latents))
    rows = {}
    for name in PROBED:
        labels = final[name]
        rows[name] = {"majority": majority_share(labels, fitted)}
        for layer in LAYERS:
            rows[name][layer] = [probe_accuracy(x, labels, fitted) for x in features[layer]]
        print(name, [round(row["value"], 2) for row in rows[name]["mid_block"]], flush=True)
    digits = {name: "".join(map(str, final[name].tolist())) for name in PROBED}
    return {"prompt": PROMPT, "count": count, "fitted": fitted, "times": times,
            "labels": digits, "rows": rows}  # fmt: skip


def sliders(pipe, classifier, tried: int) -> dict:
    """What each slider changes, beside a random direction of equal length and the word itself."""
    prompts = TRIED[:tried]

    def look(texts=prompts) -> dict[str, Tensor]:
        images = paint(list(texts), pipe, seed=FIRST_SEED, n=SEEDS_TRIED)
        return values_of(classifier, torch.stack([from_pil(image) for image in images]))

    before, table = look(), {}
    for name, (yes, no, attribute, wanted) in CONCEPTS.items():
        pairs = [[form.format(who) for who in KNOWN] for form in (yes, no)]
        indices = torch.tensor([VOCABULARY[attribute].index(value) for value in wanted])
        rows = {}
        for layer, strengths in COMPARED.items():
            direction = concept_direction(pipe, *pairs, layer=layer.removeprefix("random "))
            if layer.startswith("random "):
                direction = random_like(direction)
            for strength in strengths:
                with shifted(pipe, direction, strength, layer=layer.removeprefix("random ")):
                    rows[f"{layer} {strength:+d}"] = changes(look(), before, attribute, indices)
        rows["none"] = changes(before, before, attribute, indices)
        word = [f"{text}, {CONCEPT_WORDS[name]}" for text in prompts]
        rows["word"] = changes(look(word), before, attribute, indices)
        table[name] = {"attribute": attribute, "values": wanted, "rows": rows}
        print(name, {k: round(v["wanted"]["value"], 2) for k, v in rows.items()}, flush=True)
    return {"prompts": len(prompts), "seeds": SEEDS_TRIED, "concepts": table}


CONCEPT_WORDS = {"smile": "smiling", "age": "elderly"}
_SAME_IN_ALL = ("framing", "pose", "quality")  # in the mini's portraits, or nearly


def random_like(direction: Tensor) -> Tensor:
    """A random direction, as long as the given one at each step."""
    noise = torch.randn(direction.shape, generator=make_generator(0))
    longer = [x.flatten(1).norm(dim=1) for x in (direction, noise)]
    ratio = longer[0] / longer[1]
    return noise * ratio.reshape(-1, *[1] * (noise.ndim - 1))


def changes(now, before, attribute: str, wanted: Tensor) -> dict:
    """Share with a wanted value, and share in which each other attribute is another than before."""
    other = {
        name: proportion(now[name] != before[name])
        for name in VOCABULARY
        if name != attribute and name not in _SAME_IN_ALL
    }
    mean = float(np.mean([row["value"] for row in other.values()]))
    changed = {name: row["value"] for name, row in other.items()}
    return {"wanted": proportion(torch.isin(now[attribute], wanted)), "others": mean,
            "changed": changed}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "data" / "experiments" / "interpretability.json"
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    parser.add_argument("--only", choices=("probes", "sliders"), help="replace this part alone")
    parser.add_argument("--portraits", type=int, default=480, help="for the probes (480)")
    parser.add_argument("--prompts", type=int, default=len(TRIED), help="for the sliders (12)")
    options = parser.parse_args(arguments)
    pipe = load_pipeline("mini", verbose=False)
    classifier = AttributeClassifier.load(SHIPPED / "mini")
    table = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    if options.only != "sliders":
        table["probes"] = probes(pipe, classifier, options.portraits)
    if options.only != "probes":
        table["sliders"] = sliders(pipe, classifier, options.prompts)
    text = json.dumps(rounded(table), separators=(",", ":"))
    write_atomically(options.out, (text + "\n").encode())
    print(f"{options.out.name}: {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
