"""The tool that measures the concept checker and erasure, at its smallest size; what it shipped."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / "tools"
SHIPPED = TOOLS.parent / "data" / "experiments" / "safety.json"


def test_the_safety_table_counts_every_prompt(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("measure_safety", TOOLS / "measure_safety.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    words = tool.WORDS
    monkeypatch.setattr(tool, "WORDS", ("sunglasses", "face"))
    out = tmp_path / "new" / "safety.json"
    assert tool.main(["--out", str(out), "--prompts", "1", "--attacks", "1", "--steps", "1"]) == 0
    table = json.loads(out.read_text(encoding="utf-8"))
    for found, attacks, expected in ((table, 1, {"sunglasses", "face"}), (shipped, 3, {*words})):
        assert set(found["models"]["original"]) == expected
        assert list(found["models"]) == ["original", "one token", "all tokens"]
        for rows in found["models"].values():
            learned = rows.get("learned token", [None] * attacks)
            assert len(learned) == attacks
            for row in [x for x in rows.values() if isinstance(x, dict)]:
                assert sum(row["eyewear"].values()) == found["prompts"] == len(row["cosines"])
    # The same prompts and noise: the first picture's cosine is that of the shipped table
    ours, theirs = (t["models"]["original"]["sunglasses"]["cosines"][0] for t in (table, shipped))
    assert abs(ours - theirs) < 0.02
    assert SHIPPED.stat().st_size < 25_000
