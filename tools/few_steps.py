"""What few steps cost: portraits of the mini with and without the LoRA of `distill_lcm.py`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from course_lib.metrics import bootstrap, grain, kid_floor, ratio, sharpness
from course_lib.mini.evaluation import stability
from course_lib.mini.evaluation.stability import Descriptions, Setting
from course_lib.pipelines import load_pipeline
from course_lib.pipelines.personalisation.attach import as_loras, attached
from course_lib.weights import load_tensors, save_tensors

# What is measured: the LoRA; the mini's usual sampler with guidance and, at the same number of
# passes through the U-Net, without; and the LoRA's sampler without the LoRA
LORA_STEPS, USUAL_STEPS, PLAIN_STEPS = (1, 2, 4), (1, 2, 4, 5, 20), (2, 4)


def compared_settings() -> list[tuple[str, bool, Setting]]:
    """Name, whether with the LoRA, and setting; the last one is what the others are far from."""
    rows = [("LCM LoRA", True, Setting("lcm", n, 1.0)) for n in LORA_STEPS]
    rows += [("mini, unguided", False, Setting(steps=n, guidance=1.0)) for n in PLAIN_STEPS]
    rows += [("LCM sampler alone", False, Setting("lcm", 4))]
    return rows + [("mini", False, Setting(steps=n)) for n in USUAL_STEPS]


def looks(images: Tensor, real: Tensor) -> dict:
    """Sharpness and grain of images beside real ones, (P, S, 3, H, W) bytes each."""
    table = {}
    for name, measure in (("sharpness", sharpness), ("grain", grain)):
        pair = [measure(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(dim=1) for x in
                (images, real)]  # fmt: skip
        table[name] = bootstrap(ratio(*pair), len(images))
    return table


def generated(pipe, prompts: list[str], each: int, setting: Setting, work: Path) -> Tensor:
    """What the mini paints without the LoRA, kept in `work`: most of the time goes there."""
    size = f"{len(prompts)}x{each}"
    path = work / f"{setting.scheduler}-{setting.steps}-{setting.guidance:g}-{size}.safetensors"
    if not path.exists():
        images = stability.generate(pipe, prompts, setting, each=each)
        save_tensors(path, {"images": images}, {})
    return load_tensors(path)[0]["images"]


def compare(lora: Path, prompts: int, each: int, work: Path) -> dict:
    """The table of lesson 10, ready for JSON."""
    descriptions, pipe = Descriptions(prompts, each), load_pipeline("mini", verbose=False)
    found = []
    for name, with_lora, setting in compared_settings():
        if with_lora:
            with attached(pipe, as_loras(lora)):
                images = stability.generate(pipe, descriptions.prompts, setting, each=each)
        else:
            images = generated(pipe, descriptions.prompts, each, setting, work)
        found.append((name, setting, images, descriptions.features(images)))
        print(name, setting.steps, flush=True)
    reference_run = found[-1][2:]
    rows = []
    for name, setting, images, features in found:
        row = {"name": name, "steps": setting.steps, "unet_passes": setting.unet_passes}
        row |= stability.measure(descriptions, features) | looks(images, descriptions.painted)
        row["distance"] = stability.distances(descriptions, images, features, reference_run)
        rows.append(row)
    real = descriptions.features(descriptions.painted)
    floor = kid_floor(descriptions.reference_features, size=prompts * each)
    painted = stability.measure(descriptions, real)
    return {
        "prompts": prompts, "seeds": each, "KID floor": floor, "painted": painted, "rows": rows
    }  # fmt: skip
