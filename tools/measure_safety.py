"""Measure a concept checker and an erased concept on pictures of the mini (lesson 09, section 6).

    OMP_NUM_THREADS=1 python tools/measure_safety.py

writes data/experiments/safety.json: what the attribute classifier sees on pictures of the model as
it is and of two closed-form edits of it (arXiv:2308.14761), for the erased word, its synonyms, a
neighbouring word, and a token learned against the edits; and the checker's cosines. All conditions
share prompts and seeds. It takes about four minutes of one CPU core;
a run that was stopped goes on after the last model that it finished.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.mini.attribute_classifier import AttributeClassifier, head_logits  # noqa: E402
from course_lib.mini.data import value_indices  # noqa: E402
from course_lib.mini.evaluation.evaluators import ADHERENCE  # noqa: E402
from course_lib.mini.evaluation.generate import Generator, portrait_images  # noqa: E402
from course_lib.pipelines.registry import SHIPPED  # noqa: E402
from course_lib.portraits import parse_caption  # noqa: E402
from course_lib.safety import (  # noqa: E402
    concept_edit,
    concept_embeddings,
    image_embeddings,
    recovered_token,
)
from course_lib.safety.experiment import (  # noqa: E402
    ATTACK_SEED,
    CONCEPT,
    EDITS,
    NEUTRAL,
    PHRASE,
    TEST_SEED,
    concept_series,
    erasure_states,
)
from course_lib.tensors import uint8_to_signed  # noqa: E402

WORDS = (CONCEPT, "shades", "dark glasses", "glasses", NEUTRAL)
TOKEN, START_WORD, PICTURES = "<s>", "glasses", 8


class Measurement:
    """The mini, the classifier, and prompts whose eyewear is exchanged."""

    def __init__(self, prompts: int) -> None:
        self.generator = Generator(SHIPPED / "mini", steps=5, guidance=2.5)
        self.classifier = AttributeClassifier.load(SHIPPED / "mini")
        self.prompts = concept_series(prompts, TEST_SEED)[1]
        self.concept = concept_embeddings(self.classifier, self.generator.pipe, [PHRASE])

    def row(self, word: str) -> dict:
        """Counts over the prompts with `word` in the concept's place."""
        prompts = [text.replace(CONCEPT, word) for text in self.prompts]
        pixels = self.generator.generate(prompts, range(len(prompts)), None)
        features = self.classifier.all_features(pixels)
        with torch.no_grad():
            logits = head_logits(self.classifier.heads, features)
        found = {name: values.argmax(dim=1) for name, values in logits.items()}
        eyewear = torch.bincount(found["eyewear"], minlength=4).tolist()
        cosines = image_embeddings(self.classifier, pixels) @ self.concept.T
        names = ("none", "glasses", "round glasses", "sunglasses")
        return {
            "eyewear": dict(zip(names, eyewear, strict=True)),
            "others": self.others(found),
            "cosines": [round(value, 4) for value in cosines[:, 0].tolist()],
        }

    def others(self, found: dict[str, Tensor]) -> dict[str, list[int]]:
        """For each prompt how many of its other attributes are found, and how many it states."""
        said = value_indices([parse_caption(text) for text in self.prompts])
        names = [name for name in ADHERENCE if name != "eyewear"]
        stated = torch.stack([said[name] >= 0 for name in names])
        right = torch.stack([found[name] == said[name] for name in names]) & stated
        return {"right": right.sum(dim=0).tolist(), "stated": stated.sum(dim=0).tolist()}

    def learned(self, seed: int, steps: int, start_word: str = START_WORD) -> dict:
        """The row of a token that is learned against the model as it is now."""
        series, captions = concept_series(PICTURES, ATTACK_SEED)
        images = uint8_to_signed(portrait_images(*series))
        captions = [text.replace(CONCEPT, TOKEN) for text in captions]
        with recovered_token(
            self.generator.pipe, images, captions, TOKEN,
            start_word=start_word, seed=seed, steps=steps,
        ):  # fmt: skip
            return self.row(TOKEN)


def compute(table: dict) -> Iterator[str]:
    """Fill the table, ready for JSON, with the models that it lacks; yields the name of each."""
    measurement = Measurement(table["prompts"])
    pipe, steps = measurement.generator.pipe, table["attack steps"]
    if "original" not in table["models"]:
        table["models"]["original"] = {word: measurement.row(word) for word in WORDS}
        yield "original"
    for name in EDITS:
        if name in table["models"]:
            continue
        with concept_edit(pipe, **erasure_states(pipe, name)):
            rows: dict = {word: measurement.row(word) for word in WORDS[:-1]}
            seeds = range(table["attacks"])
            rows["learned token"] = [measurement.learned(seed, steps) for seed in seeds]
            rows["learned from neutral"] = [measurement.learned(0, steps, NEUTRAL)]
        table["models"][name] = rows
        yield name


def begun(path: Path, settings: dict) -> dict:
    """The table that a run of the same settings left unfinished, or an empty one."""
    table = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = all(table.get(name) == value for name, value in settings.items())
    unfinished = same and len(table["models"]) < 1 + len(EDITS)
    return table if unfinished else settings | {"models": {}}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "data" / "experiments" / "safety.json"
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    parser.add_argument("--prompts", type=int, default=24, help="how many prompts (24)")
    parser.add_argument("--attacks", type=int, default=3, help="learned tokens of each edit (3)")
    parser.add_argument("--steps", type=int, default=30, help="steps of each attack (30)")
    options = parser.parse_args(arguments)
    settings = {"prompts": options.prompts, "attacks": options.attacks}
    table, start = (
        begun(options.out, settings | {"attack steps": options.steps}),
        time.perf_counter(),
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in compute(table):
        write_atomically(options.out, (json.dumps(table) + "\n").encode())
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    print(f"{options.out.name}: {', '.join(table['models'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
