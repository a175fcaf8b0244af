"""Measure the mini Stable Diffusion on prompts that it has never seen.

    python -m course_lib.mini.evaluate                       # all of it: an hour on two cores
    python -m course_lib.mini.evaluate --parts judge autoencoder   # without painting: a minute
    python -m course_lib.mini.evaluate --smoke               # the same code, next to no pictures

Held-out people are described in full or at length. The model paints each description, the judge
names the attributes of the picture, and only what the prompt states counts. The judge has been
trained on paintings alone; how often it is right about held-out paintings is the ceiling. Every
number follows from ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

from course_lib.errors import check_choice
from course_lib.mini import exam, probes, verdict
from course_lib.mini.paraphrases import PARAPHRASES
from course_lib.pipelines.registry import SCHEDULERS, SHIPPED, model_spec

PARTS = {
    "judge": exam.ceiling,
    "attributes": exam.attributes,
    "autoencoder": exam.autoencoder,
    "kid": exam.kernel,
    "clip": exam.clip_score,
    "diversity": probes.diversity,
    "memory": probes.memory,
    "paraphrases": probes.paraphrases,
}
SMOKE = {
    "prompts": 12, "steps": 2, "training": 48, "diversity": 2, "seeds": 2, "paraphrases": 3,
    "paraphrase_seeds": 1,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the evaluation, print its tables and return the exit code."""
    options = _options(arguments)
    try:
        results = evaluate(options)
        if options.json:
            text = json.dumps(_plain(results), indent=2, allow_nan=False) + "\n"
            options.json.write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"course_lib.mini.evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncourse_lib.mini.evaluate: stopped.", file=sys.stderr)
        return 130
    return 0


def evaluate(options: argparse.Namespace) -> dict:
    """Measure and print part after part.

    Returns
    -------
    dict
        ``settings``, one entry for each part, and ``bars``: name, value, bar, whether it is met.
    """
    session = exam.Exam(options)
    names = ("prompts", "steps", "guidance", "scheduler", "seed", "parts")
    results: dict = {"settings": {name: getattr(options, name) for name in names}}
    for name in options.parts:
        start = time.perf_counter()
        results[name] = PARTS[name](session)
        print(f"\n{verdict.table(name, results[name])}")
        print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)
    results["bars"] = verdict.bars(results)
    print(f"\n{verdict.summary(results['bars'])}")
    return results


def _options(arguments: list[str] | None) -> argparse.Namespace:
    spec = model_spec("mini")
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.mini.evaluate", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--model", type=Path, default=SHIPPED / "mini", help="a diffusers folder")
    add("--judge", type=Path, help="another judge.safetensors than the model's")
    add("--parts", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    add("--prompts", type=_whole(2), default=1000, help="held-out people to paint")
    add("--steps", type=_whole(1), default=spec.steps)
    add("--guidance", type=float, default=spec.guidance)
    add("--scheduler", default="own", help=f"own (the model's) or one of: {', '.join(SCHEDULERS)}")
    add("--seed", type=_whole(0), default=0, help="of the first picture's noise")
    add("--batch", type=_whole(1), default=16, help="pictures at a time")
    # All that the shipped model has been shown
    add("--training", type=_whole(2), default=64_000,
        help="training portraits in the search for copies")  # fmt: skip
    add("--cache", type=Path, help="folder for painted portraits")
    add("--json", type=Path, help="write the numbers there, too")
    add("--smoke", action="store_true", help="every part once, with next to no pictures")
    parser.set_defaults(diversity=24, seeds=8, paraphrases=len(PARAPHRASES), paraphrase_seeds=4)
    options = parser.parse_args(arguments)
    try:
        check_choice("scheduler", options.scheduler, [*SCHEDULERS, "own"])
    except ValueError as error:
        parser.error(str(error))
    # The table of attributes holds the judge's own column already
    options.parts = options.parts or [name for name in PARTS if name != "judge"]
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def _whole(low: int):
    """A parser for whole numbers from `low`."""

    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, not {value}")
        return value

    return number


def _plain(value):
    """NaN and infinity have no place in JSON: they become null."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    raise SystemExit(main())
