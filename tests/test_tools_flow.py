"""The tools of lesson 10, sections 1 and 3, at a small size, and what they shipped."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

import course_lib as cl

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("equal_time", "compare_flow", "compare_dit")


@pytest.fixture
def tools(monkeypatch):
    """Both tools with few portraits and hardly any steps."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    shared, flow, dit = (importlib.import_module(name) for name in NAMES)
    monkeypatch.setattr(shared, "DATA", shared.DATA | {"train": 32, "held_out": 64})
    monkeypatch.setattr(shared.relative_costs, "__defaults__", (1, 1))
    for module in (shared, flow):
        monkeypatch.setattr(module, "SAMPLES", 16)
    small = {"STEPS": 2, "SAMPLING_STEPS": (1, 3), "PAIRS": 8, "PATHS": 4}
    for name, value in small.items():
        monkeypatch.setattr(flow, name, value)
    monkeypatch.setattr(flow, "RUNS", {name: (kind, 2) for name, (kind, _) in flow.RUNS.items()})
    monkeypatch.setattr(dit, "STEPS", 2)
    yield flow, dit
    for name in NAMES:
        sys.modules.pop(name)


@pytest.mark.parametrize("name", ["flow", "dit"])
def test_a_table_is_written_once_and_has_the_shape_of_what_ships(tools, tmp_path, name):
    tool = tools[name == "dit"]
    compare = getattr(tool, f"compare_{name}")
    output = tmp_path / "table.json"
    compare(output, (0,))
    before = output.read_bytes()
    compare(output, (0,))  # nothing is missing
    assert output.read_bytes() == before
    path = ROOT / "data" / "experiments" / f"{name}.json"
    small, shipped = json.loads(before), json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 10_000
    assert small["runs"].keys() == shipped["runs"].keys()
    for key, runs in shipped["runs"].items():
        assert [run["seed"] for run in runs] == [0, 1, 2]
        assert all(run.keys() == small["runs"][key][0].keys() for run in runs)
    small["settings"]["steps"] = -1
    output.write_text(json.dumps(small), encoding="utf-8")
    with pytest.raises(ValueError, match="other settings"):
        compare(output, (0,))


def test_a_path_is_the_samplers_in_flow_coordinates(tools):
    tool, _ = tools
    noise = torch.randn(2, 3, 8, 8, generator=cl.make_generator(0))
    path = tool.path(lambda x, t: 0.5 * x, noise, 4, "flow")
    x, levels = path[0], [1000 / 1001, 750 / 1001, 500 / 1001, 250 / 1001, 0]
    torch.testing.assert_close(x, noise / (1000**2 + 1) ** -0.5 / 1001, rtol=1e-3, atol=1e-3)
    for k, (s, s_prev) in enumerate(zip(levels, levels[1:], strict=False)):
        torch.testing.assert_close(path[k], x, rtol=1e-5, atol=1e-5)
        x = x + (s_prev - s) * 0.5 * x
    torch.testing.assert_close(path[-1], x, rtol=1e-5, atol=1e-5)
