"""The commands that distil the mini and probe it, at the smallest size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import course_lib as cl

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import distill_lcm  # noqa: E402
import few_steps  # noqa: E402
import measure_interpretability  # noqa: E402


def test_a_lora_is_distilled_resumed_and_measured(tmp_path, monkeypatch):
    lora = tmp_path / "lcm.safetensors"
    options = ["--work", str(tmp_path), "--output", str(lora), "--portraits", "2"]
    assert distill_lcm.main([*options, "--steps", "1"]) == 0
    first = lora.read_bytes()
    with pytest.warns(UserWarning, match="steps=1"):
        assert distill_lcm.main([*options, "--steps", "2"]) == 0
    assert lora.read_bytes() != first and len(first) < 700_000
    assert cl.weights.load_tensors(lora)[1]["steps"] == 2

    rows = few_steps.compared_settings()
    assert len(rows) == 11 and sum(with_lora for _, with_lora, _ in rows) == 3
    short = [rows[0], ("mini", False, few_steps.Setting(steps=1))]
    monkeypatch.setattr(few_steps, "compared_settings", lambda: short)
    table = tmp_path / "lcm.json"
    options += ["--measure", "--table", str(table), "--prompts", "2", "--seeds", "2"]
    assert distill_lcm.main(options) == 0
    found = json.loads(table.read_text("utf-8"))
    assert [row["unet_passes"] for row in found["rows"]] == [1, 2]
    assert found["rows"][1]["distance"]["features"]["value"] == 0  # it is its own reference
    assert found["rows"][0]["distance"]["features"]["value"] > 0


def test_probes_and_sliders_are_measured(tmp_path, monkeypatch):
    out = tmp_path / "table.json"
    monkeypatch.setattr(measure_interpretability, "COMPARED", {"mid_block": (0,)})
    concepts = {"smile": measure_interpretability.CONCEPTS["smile"]}
    monkeypatch.setattr(measure_interpretability, "CONCEPTS", concepts)
    monkeypatch.setattr(measure_interpretability, "KNOWN", ("woman",))
    for part in (["--only", "probes", "--portraits", "6"], ["--only", "sliders", "--prompts", "1"]):
        assert measure_interpretability.main(["--out", str(out), *part]) == 0
    table = json.loads(out.read_text("utf-8"))
    row = table["probes"]["rows"]["age"]
    assert len(row["mid_block"]) == len(table["probes"]["times"]) == 5
    assert row["majority"]["n"] == row["x_t"][0]["n"] == 2
    still = table["sliders"]["concepts"]["smile"]["rows"]["mid_block +0"]
    assert still["others"] == 0 and set(still["changed"].values()) == {0.0}
