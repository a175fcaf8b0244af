"""The two commands of lesson 09, section 3: whole tables, and work that is done is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from course_lib.mini.data import mini_series
from course_lib.portraits import parse_caption

TOOLS = Path(__file__).resolve().parent.parent / "tools"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for name in ("measure_bias", "train_on_skewed_data", "equal_time"):
        sys.modules.pop(name, None)


class Painter:
    """Stands in for the mini: whatever the prompt, painted portraits; it counts its calls."""

    calls: list[tuple[float, list[str]]] = []

    def __init__(self, folder, *, guidance, **settings):
        self.guidance = guidance

    def generate(self, prompts, seeds, label):
        assert len(set(seeds)) == len(prompts)
        self.calls.append((self.guidance, list(prompts)))
        pixels = mini_series(len(prompts), seed=5).pixels()
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def test_the_table_of_the_mini_has_all_rows_and_goes_on(tmp_path, monkeypatch):
    import measure_bias as tool

    monkeypatch.setattr(tool, "Generator", Painter)
    monkeypatch.setattr(tool, "WORDS", ("a woman",))
    arguments = ["--out", str(tmp_path / "t.json"), "--open=8", "--words=4", "--painted=12"]
    assert tool.main(arguments) == 0
    table = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    keys = [(row["prompt"], row["guidance"], row["n"]) for row in table["rows"]]
    assert keys == [
        ("a person", 1, 8), ("a person", 2.5, 8), ("a person", 5, 8), ("a woman", 2.5, 4),
        ("drawn", 2.5, 4), ("all but skin", 2.5, 4), ("all but expression", 2.5, 4),
    ]  # fmt: skip
    assert [guidance for guidance, _ in Painter.calls] == [row[1] for row in keys]
    for row in table["rows"]:
        assert all(sum(counts) == row["n"] for counts in row["found"].values())
    assert sum(map(sum, table["painted"]["gender"])) == 12
    women = sum(mini_series(4, seed=5).attributes(i).gender == "woman" for i in range(4))
    assert abs(table["rows"][3]["as_named"]["gender"] - women) <= 1
    drawn, but_skin = (Painter.calls[i][1] for i in (4, 5))
    assert all({"age", "gender", "skin", "style"} <= parse_caption(x).keys() for x in drawn)
    assert all({"age", "style", "light"} <= parse_caption(x).keys() for x in but_skin)
    assert not any("skin" in parse_caption(x) for x in but_skin)
    done = len(Painter.calls)
    del table["rows"][1]
    (tmp_path / "t.json").write_text(json.dumps(table), encoding="utf-8")
    tool.main(arguments)
    assert len(Painter.calls) == done + 1 and Painter.calls[-1][0] == 2.5
    with pytest.raises(SystemExit, match="other settings"):
        tool.main([*arguments, "--words=5"])


def test_training_on_skewed_data_writes_every_run_once(tmp_path, monkeypatch, capsys):
    import train_on_skewed_data as tool

    monkeypatch.setattr(tool, "COMMON", 36)
    monkeypatch.setattr(tool, "RARE", 4)
    monkeypatch.setattr(tool, "READ", 24)
    monkeypatch.setattr(tool, "NETWORK", {"channels": (8, 16), "patch": 4})
    images, clothes = tool.linked_data("weights", 0)
    assert abs(clothes.double().mean().item() - 0.5) < 0.03
    # Balanced: half of the draws of each kind of clothes are blond
    blond = tool.reader()[0](images.flatten(1)).double()
    assert (blond[clothes == 0].mean() - blond[clothes == 1].mean()).abs() < 0.15
    plain = tool.rare_data(None, 0)[0]
    assert len(plain) == 40 and len(tool.rare_data("data", 0)[0]) == 40
    arguments = ["--output", str(tmp_path / "t.json"), "--seeds=1", "--steps=4", "--samples=4"]
    assert tool.main(arguments) == tool.main(arguments) == 0
    table = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert [(run["world"], run["way"]) for run in table["runs"]] == [
        ("rare", "as it is"), ("rare", "balanced sampling"), ("rare", "balanced data"),
        ("linked", "as it is"), ("linked", "balanced sampling"),
    ]  # fmt: skip
    assert set(table["runs"][0]["blond"]) == {"1", "2", "4"}
    assert len(capsys.readouterr().out.splitlines()) == 5
