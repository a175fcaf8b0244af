"""tools/measure_watermarks.py writes the table that lesson 09 loads, at a small size."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "measure_watermarks", ROOT / "tools" / "measure_watermarks.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CHANGES", {"unchanged": lambda image: image})
    monkeypatch.setattr(module, "STRENGTHS", (0.2,))
    monkeypatch.setattr(module, "RINGS", ((16, 7),))
    monkeypatch.setattr(module, "BITS", (0, 4))
    monkeypatch.setattr(module, "MARK_STRENGTHS", (0.03,))
    return module


def test_it_writes_the_shape_of_the_shipped_table(tool, tmp_path):
    assert tool.main(["--out", str(tmp_path / "w.json"), "--prompts", "2", "--each", "1"]) == 0
    small = json.loads((tmp_path / "w.json").read_text())
    shipped = json.loads((ROOT / "data" / "experiments" / "watermarks.json").read_text())
    assert small.keys() == shipped.keys()
    for key in ("rows", "capacity"):
        assert small[key][0].keys() == shipped[key][0].keys()
    unchanged, repainted = small["rows"]
    assert unchanged["change"] == shipped["rows"][0]["change"]
    for detector, threshold in (("pixel", 6.2), ("ring", 4.8)):
        assert min(unchanged[detector]["marked"]) > threshold > max(unchanged[detector]["unmarked"])
    assert max(repainted["pixel"]["marked"]) < 6.2  # the attack works
    assert small["capacity"][0]["PSNR"] == pytest.approx(30, abs=2)  # 20 log10(1 / 0.03) = 30.5
    assert set(small["ring costs"]) == {"none", "16 channels"}
