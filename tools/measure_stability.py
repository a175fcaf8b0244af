"""Measure the mini's stability and diversity over seeds, samplers, steps and guidance (lesson 08).

    OMP_NUM_THREADS=1 python tools/measure_stability.py

writes data/experiments/stability.json: a row for each setting, all from the same prompts and the
same noise, with 95 % intervals over prompts. It takes about eleven minutes of one CPU core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.file_writing import write_atomically  # noqa: E402
from course_lib.metrics import kid_floor  # noqa: E402
from course_lib.mini.evaluation.stability import (  # noqa: E402
    Descriptions,
    Setting,
    distances,
    failures,
    generate,
    measure,
    missed_attributes,
    one_factor_distances,
    over_prompts,
)
from course_lib.pipelines import load_pipeline  # noqa: E402

# All from the same noise. Heun's method is of second order and not among the compared samplers of
# as many steps, so none of them is its own reference.
LONG_RUN = Setting("heun", 16)
USUAL = Setting()
STEPS = {n: Setting(steps=n) for n in (2, 3, USUAL.steps, 8, 12, 16)}
SAMPLERS = {name: Setting(name) for name in ("dpmpp_2m", "unipc", "ddim", "euler_trailing")}
GUIDANCES = {w: Setting(guidance=w) for w in (1.0, 1.5, USUAL.guidance, 4.0, 6.0)}
# Of the usual cost, too: Heun's method, whose steps take two evaluations of the U-Net; a sampler
# that draws noise at every step, so the same noise does not lead to the same portrait; and no
# guidance, with twice the steps.
OTHERS = (
    Setting("heun", 3), Setting("dpmpp_2m_sde"), Setting(steps=2 * USUAL.steps, guidance=1.0)
)  # fmt: skip


def compute(prompts: int, each: int) -> dict:
    """The whole table, ready for JSON."""
    descriptions = Descriptions(prompts, each)
    pipe = load_pipeline("mini", verbose=False)
    images, features = {}, {}
    factors = {"sampler": SAMPLERS, "steps": STEPS, "guidance": GUIDANCES}
    settings = [s for levels in factors.values() for s in levels.values()]
    for setting in dict.fromkeys([LONG_RUN, *settings, *OTHERS]):
        start = time.perf_counter()
        images[setting] = generate(pipe, descriptions.prompts, setting, each=each)
        features[setting] = descriptions.features(images[setting])
        print(f"{setting}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    reference = images[LONG_RUN], features[LONG_RUN]
    rows = []
    for setting, found in features.items():
        row = asdict(setting) | {"unet_passes": setting.unet_passes} | measure(descriptions, found)
        bad, usual = (failures(descriptions, x) for x in (found, features[USUAL]))  # (P, S)
        never, always = int((~bad).all(dim=1).sum()), int(bad.all(dim=1).sum())
        row["prompts by failures"] = {
            "never": never, "some seeds": prompts - never - always, "always": always
        }  # fmt: skip
        row["failed minus usual"] = over_prompts((bad.double() - usual.double()).mean(dim=1))
        # Another guidance has another solution, which the long run does not stand for
        if setting.guidance == LONG_RUN.guidance and setting != LONG_RUN:
            row["distance"] = distances(descriptions, images[setting], found, reference)
        rows.append(row)
    levels = {
        name: torch.stack([features[s] for s in values.values()])
        for name, values in factors.items()
    }
    real = descriptions.features(descriptions.painted)
    return {
        "prompts": prompts, "seeds": each, "rows": rows, "painted": measure(descriptions, real),
        "KID floor": kid_floor(descriptions.reference_features, size=prompts * each),
        "missed": {
            "usual setting": missed_attributes(descriptions, features[USUAL]),
            "painted": missed_attributes(descriptions, real),
        },
        "one factor": one_factor_distances(descriptions, features[USUAL], levels),
    }  # fmt: skip


def rounded(table):
    """Four digits after the point, which is far within every interval."""
    if isinstance(table, Mapping):
        return {name: rounded(value) for name, value in table.items()}
    if isinstance(table, (list, tuple)):
        return [rounded(value) for value in table]
    return round(table, 4) if isinstance(table, float) else table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "data" / "experiments" / "stability.json"
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    parser.add_argument("--prompts", type=int, default=24, help="how many prompts (24)")
    parser.add_argument("--seeds", type=int, default=4, help="images of each prompt (4)")
    options = parser.parse_args(arguments)
    table = rounded(compute(options.prompts, options.seeds))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, (json.dumps(table, indent=1) + "\n").encode())
    print(f"{options.out.name}: {len(table['rows'])} settings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
