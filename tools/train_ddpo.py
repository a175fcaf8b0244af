"""Tune the mini to a reward, and to preferences, until the reward is over-optimised (lesson 10).

    OMP_NUM_THREADS=1 python tools/train_ddpo.py smile
    OMP_NUM_THREADS=1 python tools/train_ddpo.py smile-kl
    OMP_NUM_THREADS=1 python tools/train_ddpo.py dpo

each write their run into data/experiments/ddpo.json and their pictures into
data/experiments/ddpo_RUN.webp, in two to three minutes of one CPU core. Before them,

    OMP_NUM_THREADS=1 python tools/train_ddpo.py classifier

trains the second classifier of smiles, data/models/smile_classifier/, in two minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.device import make_generator  # noqa: E402
from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.mini.attribute_classifier import AttributeClassifier  # noqa: E402
from course_lib.mini.preference import ddpo, dpo, smile_classifier  # noqa: E402
from course_lib.mini.preference.adapters import trainable_lora  # noqa: E402
from course_lib.mini.preference.measures import Measures, brightness_answers  # noqa: E402
from course_lib.mini.preference.recorded import sheet  # noqa: E402
from course_lib.mini.preference.settings import (  # noqa: E402
    CLASSIFIER,
    DPO,
    PROMPTS,
    RUNS,
    TRAINING,
)
from course_lib.pipelines import load_pipeline  # noqa: E402
from course_lib.pipelines.registry import SHIPPED  # noqa: E402
from course_lib.pipelines.sampling import decode_latents  # noqa: E402
from course_lib.tensors import uint8_to_signed  # noqa: E402

_PAINTED, _TESTED = 3000, 600  # portraits for the second classifier, and held-out ones


def train_classifier(folder: Path) -> None:
    """Train the second classifier, and say how often it is right about held-out portraits."""
    pixels, smiles = smile_classifier.painted_smiles(_PAINTED + _TESTED)
    found = smile_classifier.fit(pixels[:_PAINTED], smiles[:_PAINTED])
    guessed = found.probability(uint8_to_signed(pixels[_PAINTED:])) > 0.5
    right = (guessed == smiles[_PAINTED:]).double().mean().item()
    found.save(folder / "model.safetensors")
    print(f"right about {right:.1%} of {_TESTED} held-out painted portraits")


def tune(name: str, iterations: int, measures: Measures, write) -> None:
    """One run of DDPO, measured every fourth round on the same noise."""
    pipe, kl_weight = measures.pipe, RUNS[name]
    rewards, rows, sheets = [], [], []
    with trainable_lora(pipe) as parameters:
        rounds = ddpo.train(
            pipe, parameters, measures.smile, PROMPTS, iterations=iterations, kl_weight=kl_weight,
            **TRAINING,
        )  # fmt: skip
        measure(measures, 0, rows, sheets)
        for one in rounds:
            rewards.append(round(one.rewards.mean().item(), 4))
            print(f"{one.number}: reward {rewards[-1]}, kl {one.kl:.1e}", flush=True)
            if (one.number + 1) % 4 == 0:
                measure(measures, one.number + 1, rows, sheets)
                write({"kl_weight": kl_weight, "rewards": rewards, "measured": rows}, sheets)


def measure(measures: Measures, number: int, rows: list, sheets: list) -> None:
    images = measures.sample()
    rows.append({"iteration": number} | measures(images))
    sheets.append(images)
    print(rows[-1], flush=True)


def prefer(measures: Measures, write, *, each: int = 24) -> None:
    """Diffusion-DPO on pairs of a simulated viewer who prefers the brighter picture."""
    pipe, texts = measures.pipe, [p for p in PROMPTS for _ in range(each)]
    latents = [
        ddpo.sample(pipe, texts, make_generator(seed), steps=TRAINING["steps"]).latents[-1]
        for seed in (1, 2)
    ]
    sets = {name: decode_latents(pipe, x) for name, x in zip("xy", latents, strict=True)}
    pairs = dpo.pairs_of_answers(brightness_answers(sets))
    images = {f"{name}/{i}": x for name, group in sets.items() for i, x in enumerate(group)}
    chosen, others = (torch.stack([images[pair[i]] for pair in pairs]) for i in (0, 1))
    prompts = [texts[int(first.split("/")[1])] for first, _ in pairs]
    held = torch.arange(len(pairs)) % 4 == 0
    train, test = (
        dpo.Pairs(
            pipe,
            chosen[m],
            others[m],
            [p for p, inside in zip(prompts, m.tolist(), strict=True) if inside],
        )
        for m in (~held, held)
    )
    rows, sheets, losses = [], [], []
    with trainable_lora(pipe, rank=DPO["rank"]) as parameters:
        measure(measures, 0, rows, sheets)
        accuracy = [dpo.implicit_accuracy(pipe, test)]
        options = {k: v for k, v in DPO.items() if k != "rank"}
        for step, (loss, _) in enumerate(dpo.train(pipe, parameters, train, **options), start=1):
            losses.append(round(loss, 4))
            if step % (DPO["steps"] // 2) == 0:
                measure(measures, step, rows, sheets)
                accuracy.append(dpo.implicit_accuracy(pipe, test))
                print(step, accuracy, losses[-5:], flush=True)
                run = {"pairs": len(train), "held_out": len(test), "losses": losses}
                accuracies = [round(x, 4) for x in accuracy]
                write(run | {"implicit_accuracy": accuracies, "measured": rows}, sheets)


def writer(folder: Path, name: str):
    """A function that adds a run to the table and writes its pictures."""

    def write(run: dict, sheets: list[Tensor]) -> None:
        path = folder / "ddpo.json"
        table = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        table["settings"] = {"prompts": list(PROMPTS), "ddpo": TRAINING, "dpo": DPO}
        table[name] = run
        write_atomically(path, (json.dumps(table, separators=(",", ":")) + "\n").encode())
        shown = [sheets[0], sheets[2 * (len(sheets) - 1) // 3]] if name == "smile" else []
        rows = torch.stack([x[:: len(x) // 8] for x in (*shown, sheets[-1])])
        sheet(rows).save(folder / f"ddpo_{name}.webp", quality=35, method=6)

    return write


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", choices=["classifier", *RUNS, "dpo"])
    parser.add_argument("--iterations", type=int, default=12, help="rounds of DDPO (12)")
    default = ROOT / "data" / "experiments"
    parser.add_argument("--output", type=Path, default=default, help="folder of the table")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.run == "classifier":
        train_classifier(SHIPPED / CLASSIFIER)
        return 0
    pipe = load_pipeline("mini", verbose=False)
    measures = Measures(pipe, AttributeClassifier.load(SHIPPED / "mini"))
    write = writer(options.output, options.run)
    if options.run == "dpo":
        prefer(measures, write)
    else:
        tune(options.run, options.iterations, measures, write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
