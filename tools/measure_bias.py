"""What the mini generates where a prompt leaves something open (lesson 09, section 3).

    OMP_NUM_THREADS=1 python tools/measure_bias.py

writes data/experiments/bias.json: for each prompt and guidance, how many portraits the attribute
classifier finds to have each value; and what it makes of painted portraits, whose values are known.
It takes some fifteen minutes of one CPU core. Finished rows are kept, so the command can go on
where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.mini.attribute_classifier import AttributeClassifier  # noqa: E402
from course_lib.mini.data import HELD_OUT_SEED, attribute_labels, mini_series, value_indices  # noqa: E402
from course_lib.mini.evaluation.bias import found_attributes  # noqa: E402
from course_lib.mini.evaluation.generate import Generator  # noqa: E402
from course_lib.pipelines.registry import (  # noqa: E402
    MINI_GUIDANCE,
    MINI_SCHEDULER,
    MINI_STEPS,
    SHIPPED,
)
from course_lib.portraits import caption, full_caption, parse_caption  # noqa: E402
from course_lib.portraits.attributes import VOCABULARY  # noqa: E402

NAMES = (
    "gender", "age", "skin", "hair_color", "hair_style", "eyewear", "facial_hair", "headwear",
    "expression",
)  # fmt: skip
# The four styles that the mini knows, as its captions begin
STYLES = (
    "a flat illustration of", "a watercolor portrait of", "a pixel art portrait of",
    "a pastel portrait of",
)  # fmt: skip
OPEN, DRAWN = "a person", "drawn"
LEFT_OPEN = ("skin", "expression")
GUIDANCES = (1.0, MINI_GUIDANCE, 5.0)
WORDS = (
    "a woman", "a man", "an elderly person", "a person with glasses",
    "a person with gray hair", "a person with dark skin", "a person wearing a suit",
)  # fmt: skip


def drawn_subjects(count: int) -> list[str]:
    """People whose gender, age and skin are drawn with even shares, independently."""
    rng = np.random.default_rng(0)
    people = {
        "child": ("girl", "boy"), "young": ("young woman", "young man"),
        "adult": ("adult woman", "adult man"), "elderly": ("elderly woman", "elderly man"),
    }  # fmt: skip
    prompts = []
    for _ in range(count):
        age, gender, skin = (rng.integers(len(VOCABULARY[k])) for k in ("age", "gender", "skin"))
        noun = people[VOCABULARY["age"][age]][gender]
        article = "an" if noun[0] in "ae" else "a"
        prompts.append(f"{article} {noun} with {VOCABULARY['skin'][skin]} skin")
    return prompts


def long_prompts(count: int, left_open: str) -> list[str]:
    """Captions of held-out people that name all there is to name, except one attribute."""
    series = mini_series(count, seed=HELD_OUT_SEED + 600)
    prompts = []
    for i in range(count):
        person, rng = series.attributes(i), np.random.default_rng(i)
        everything = set(parse_caption(full_caption(person))) - {left_open}
        drawn = (caption(person, rng) for _ in range(2000))
        prompts.append(next(text for text in drawn if set(parse_caption(text)) == everything))
    return prompts


def in_styles(subjects: list[str]) -> list[str]:
    """A prompt for each subject, the styles taking turns."""
    return [f"{STYLES[i % len(STYLES)]} {one}" for i, one in enumerate(subjects)]


def counts(found: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    return {k: torch.bincount(found[k], minlength=len(VOCABULARY[k])).tolist() for k in NAMES}


def as_named(prompts: list[str], found: dict[str, torch.Tensor]) -> dict[str, int]:
    """For each attribute that every prompt names, how many portraits have the named value."""
    said = value_indices([parse_caption(one) for one in prompts])
    named = {k: values for k, values in said.items() if bool((values >= 0).all())}
    return {k: int((found[k] == values).sum()) for k, values in named.items()}


def confusion(classifier: AttributeClassifier, count: int) -> dict[str, list[list[int]]]:
    """Of painted held-out portraits: row = value shown, column = value found."""
    series = mini_series(count, seed=HELD_OUT_SEED + 500)
    labels = attribute_labels(series.attributes(i) for i in range(count))
    pixels = torch.from_numpy(series.pixels()).permute(0, 3, 1, 2).contiguous()
    found, tables = found_attributes(classifier, pixels), {}
    for name in NAMES:
        size, seen = len(VOCABULARY[name]), labels[name] >= 0
        cells = labels[name][seen] * size + found[name][seen]
        tables[name] = torch.bincount(cells, minlength=size * size).view(size, size).tolist()
    return tables


def compute(table: dict, save, count: int, word_count: int) -> None:
    """Add the rows that are missing, and save the table after each."""
    folder = SHIPPED / "mini"
    generator = Generator(
        folder, steps=MINI_STEPS, guidance=MINI_GUIDANCE, scheduler=MINI_SCHEDULER
    )  # fmt: skip
    classifier = AttributeClassifier.load(folder)
    rows = [(OPEN, in_styles([OPEN] * count), guidance) for guidance in GUIDANCES]
    rows += [(word, in_styles([word] * word_count), MINI_GUIDANCE) for word in WORDS]
    rows.append((DRAWN, in_styles(drawn_subjects(word_count)), MINI_GUIDANCE))
    for name in LEFT_OPEN:
        prompts = long_prompts(word_count, name)
        rows.append((f"all but {name}", prompts, MINI_GUIDANCE))
    for name, prompts, generator.guidance in rows:
        key = {"prompt": name, "guidance": generator.guidance, "n": len(prompts)}
        if any(key.items() <= row.items() for row in table["rows"]):
            continue
        start = time.perf_counter()
        found = found_attributes(classifier, generator.generate(prompts, range(len(prompts)), None))
        table["rows"].append(key | {"found": counts(found), "as_named": as_named(prompts, found)})
        save(table)
        print(f"{key}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "data" / "experiments" / "bias.json"
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    parser.add_argument("--open", type=int, default=192, help="portraits of an open prompt (192)")
    parser.add_argument("--words", type=int, default=64, help="portraits of each other prompt (64)")
    parser.add_argument("--painted", type=int, default=512, help="painted portraits (512)")
    options = parser.parse_args(arguments)
    settings = {"open": options.open, "words": options.words, "painted": options.painted}

    def save(table: dict) -> None:
        text = json.dumps(table, separators=(",", ":"))
        write_atomically(options.out, (text.replace('{"prompt"', '\n{"prompt"') + "\n").encode())

    if options.out.exists():
        table = json.loads(options.out.read_text(encoding="utf-8"))
        if table["settings"] != settings:
            raise SystemExit(f"error: {options.out} has other settings. Remove it, or give --out.")
    else:
        classifier = AttributeClassifier.load(SHIPPED / "mini")
        table = {
            "settings": settings,
            "painted": confusion(classifier, options.painted),
            "rows": [],
        }
    compute(table, save, options.open, options.words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
