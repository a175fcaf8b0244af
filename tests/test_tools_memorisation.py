"""The measurement of memorisation at a small size, and the table that ships."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

TOOLS = Path(__file__).resolve().parent.parent / "tools"
SHIPPED = TOOLS.parent / "data" / "experiments"
MINI = {"portraits": 4, "asked": 3, "samples": 2, "time": 600}


@pytest.fixture
def tool(monkeypatch):
    """tools/measure_memorisation.py with few portraits and hardly any steps."""
    monkeypatch.syspath_prepend(str(TOOLS))
    shared, module = (importlib.import_module(name) for name in NAMES)
    monkeypatch.setattr(shared, "DATA", shared.DATA | {"train": 12, "held_out": 6})
    monkeypatch.setattr(module, "SAMPLES", 8)
    monkeypatch.setattr(module, "RUNS", {"512": (12, 1), "32 copies": (8, 3)})
    yield module
    for name in NAMES:
        sys.modules.pop(name)


NAMES = ("equal_time", "measure_memorisation")


def test_runs_are_measured_and_a_second_call_goes_on(tool, tmp_path, monkeypatch):
    output = tmp_path / "table.json"
    trained = []

    def seen(model, images, *rest, **options):
        trained.append(images)
        return train(model, images, *rest, **options)

    train = tool.cl.train
    monkeypatch.setattr(tool.cl, "train", seen)
    tool.measure_all(output, 40, MINI)
    table = json.loads(output.read_text(encoding="utf-8"))
    for run in table["runs"].values():
        curves = run["curves"]
        assert curves["step"][-1] == 40 and {len(column) for column in curves.values()} == {8}
        assert set(run["auc_by_time"]) == set(map(str, tool.TIMES))
        assert all(0 <= part <= total for part, total in zip(
            curves["of_first"], curves["memorised"], strict=True
        ))  # fmt: skip
        assert len(run["losses"]["others"]) == 6 and min(run["losses"]["members"]) > 0
    # 12 portraits once; 8, and the first of them twice more
    assert [len(images) for images in trained] == [12, 10]
    assert torch.equal(trained[1][8], trained[1][0]) and torch.equal(trained[1][9], trained[1][0])
    mini = table["mini"]
    assert len(mini["ratios"]) == 2 and mini["memorised"] <= 2
    assert [len(mini["losses"][part]) for part in ("members", "others")] == [3, 3]
    assert Image.open(tmp_path / "table_samples_512.webp").size == (8 * 32, 32)
    before = output.read_bytes()
    tool.measure_all(output, 40, MINI)
    assert output.read_bytes() == before and len(trained) == 2
    with pytest.raises(SystemExit, match="written with other settings"):
        tool.measure_all(output, 41, MINI)


def test_the_shipped_table_is_that_of_the_tool(tool):
    path = SHIPPED / "memorisation.json"
    assert path.stat().st_size <= 25_000
    table = json.loads(path.read_text(encoding="utf-8"))
    assert set(table["runs"]) == {"8", "64", "512", "32 copies"}
    assert table["settings"]["steps"] == tool.STEPS and table["settings"]["mini"] == tool.MINI
    assert len(table["mini"]["ratios"]) == tool.MINI["samples"]
