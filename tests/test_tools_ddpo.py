"""tools/train_ddpo.py at a small size, and what it shipped."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from course_lib.device import make_generator
from course_lib.mini.preference import recorded, settings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module("train_ddpo")
    sys.modules.pop("train_ddpo")


def test_a_run_is_added_to_the_table_and_its_pictures_are_read_back(tool, tmp_path):
    images = torch.nn.functional.interpolate(
        torch.rand(16, 3, 2, 2, generator=make_generator(0)) * 2 - 1, size=128
    )
    write = tool.writer(tmp_path, "smile")
    write({"rewards": [1.0]}, [images, -images, images, -images])
    tool.writer(tmp_path, "dpo")({"losses": [0.7]}, [images, -images])
    table = json.loads((tmp_path / "ddpo.json").read_text(encoding="utf-8"))
    assert table["smile"] == {"rewards": [1.0]} and table["dpo"] == {"losses": [0.7]}
    rows = recorded.load_pictures("smile", tmp_path)
    assert rows.shape == (3, 8, 3, 128, 128)
    for row, expected in zip(rows, (images, images, -images), strict=True):
        assert (row - expected[::2]).abs().mean() < 0.15  # WebP is lossy
    assert recorded.load_pictures("dpo", tmp_path).shape == (1, 8, 3, 128, 128)


def test_what_ships_has_the_settings_of_the_code():
    table = recorded.load_table()
    assert table["settings"] == json.loads(
        json.dumps({
            "prompts": settings.PROMPTS, "ddpo": settings.TRAINING, "dpo": settings.DPO
        })
    )  # fmt: skip
    for name, kl_weight in settings.RUNS.items():
        run = table[name]
        assert run["kl_weight"] == kl_weight and len(run["rewards"]) == 12
        assert [row["iteration"] for row in run["measured"]] == [0, 4, 8, 12]
    assert len(table["dpo"]["losses"]) == settings.DPO["steps"]
    sizes = [recorded.load_pictures(name).shape[0] for name in (*settings.RUNS, "dpo")]
    assert sizes == [3, 1, 1]
