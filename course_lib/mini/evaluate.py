"""Measure the mini Stable Diffusion on prompts that it has never seen.

    python -m course_lib.mini.evaluate                  # everything: an hour on two cores
    python -m course_lib.mini.evaluate --prompts 240 --parts attributes looks
    python -m course_lib.mini.evaluate --parts classifier autoencoder    # without generating
    python -m course_lib.mini.evaluate --smoke          # the same code with very few images

Held-out people are described in full or at length. The model generates an image of each
description and the painter paints one; an attribute classifier names what both show, and the looks
of the two sets are compared. All numbers follow from ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

from course_lib.errors import check_choice
from course_lib.file_writing import write_atomically
from course_lib.mini.evaluation import report
from course_lib.mini.evaluation.evaluators import EVALUATORS, LOOKS
from course_lib.mini.evaluation.generate import EvaluationConfig, EvaluationData
from course_lib.pipelines.registry import SCHEDULERS, SHIPPED, model_spec

SMOKE = {
    "prompts": 24, "steps": 2, "training_images": 48, "diversity_prompts": 2, "diversity_seeds": 2,
    "paraphrases": 3, "paraphrase_seeds": 1, "color_prompts": 8,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the evaluation, print its tables and return the exit code."""
    config, path = parse_arguments(arguments)
    try:
        results = evaluate(config)
        if path:
            text = json.dumps(_plain(results), indent=2, allow_nan=False) + "\n"
            write_atomically(path, text.encode())
    except (ValueError, OSError) as error:
        print(f"course_lib.mini.evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncourse_lib.mini.evaluate: stopped.", file=sys.stderr)
        return 130
    return 0


def evaluate(config: EvaluationConfig) -> dict:
    """Measure and print part after part.

    Returns
    -------
    dict
        ``settings``, the tables of each part, and ``thresholds`` as
        `course_lib.mini.evaluation.report.check_thresholds` returns them.
    """
    data = EvaluationData(config)
    results: dict = {}
    for name in config.parts:
        start = time.perf_counter()
        results[name] = EVALUATORS[name](data)
        seconds = time.perf_counter() - start
        print(f"\n{report.format_tables(results[name])}\n  ({seconds:.0f} s)", flush=True)
    checks = report.check_thresholds(results)
    print(f"\n{report.format_thresholds(checks)}")
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    settings["styles"] = data.training_data.only["style"]
    return {"settings": settings, **results, "thresholds": checks}


def parse_arguments(arguments: list[str] | None) -> tuple[EvaluationConfig, Path | None]:
    """The configuration that the command line asks for, and the JSON file to write."""
    spec = model_spec("mini")
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.mini.evaluate", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--model", type=Path, default=SHIPPED / "mini", help="a diffusers folder")
    add(
        "--classifier",
        type=Path,
        help="a folder with another attribute classifier; default: --model",
    )
    parts = f"looks ({', '.join(LOOKS)}) or some of: {', '.join(EVALUATORS)}"
    add("--parts", nargs="+", choices=[*EVALUATORS, "looks"], metavar="PART", help=parts,
        default=list(EVALUATORS))  # fmt: skip
    add("--prompts", type=_at_least(2), default=1000, help="held-out people to generate")
    add("--steps", type=_at_least(1), default=spec.steps)
    add("--guidance", type=float, default=spec.guidance)
    add("--scheduler", default="own", help=f"own (the model's) or one of: {', '.join(SCHEDULERS)}")
    add("--seed", type=_at_least(0), default=0, help="of the first image's noise")
    add("--batch-size", type=_at_least(1), default=16, help="images at a time")
    add("--training-images", type=_at_least(2), default=64_000, help="searched for near-duplicates")
    add("--cache", type=Path, help="folder for painted portraits")
    add("--json", type=Path, help="write the numbers there, too")
    add("--smoke", action="store_true", help="very few images")
    options = parser.parse_args(arguments)
    try:
        check_choice("scheduler", options.scheduler, [*SCHEDULERS, "own"])
    except ValueError as error:
        parser.error(str(error))
    given = vars(options) | (SMOKE if options.smoke else {})
    given["classifier"] = options.classifier or options.model
    parts = [p for name in options.parts for p in (LOOKS if name == "looks" else [name])]
    given["parts"] = tuple(dict.fromkeys(parts))
    names = {field.name for field in fields(EvaluationConfig)}
    return EvaluationConfig(**{k: v for k, v in given.items() if k in names}), options.json


def _at_least(low: int):
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
