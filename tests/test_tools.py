"""The tools: notebooks become stable files, no warning slips through, the sheets are whole."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib.device import make_generator
from course_lib.portraits import VOCABULARY

TOOLS = Path(__file__).resolve().parent.parent / "tools"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The module tools/execute_notebooks.py, looking for lessons in an empty folder."""
    spec = importlib.util.spec_from_file_location(
        "execute_notebooks", TOOLS / "execute_notebooks.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    monkeypatch.setitem(sys.modules, "execute_notebooks", module)
    return module


WIDGET = """from IPython.display import display
view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "film"}
display(view, raw=True)
"""


def write(folder, name, *sources):
    notebook = new_notebook(cells=[new_markdown_cell("# T"), *map(new_code_cell, sources)])
    nbformat.write(notebook, folder / name)
    return folder / name


def run(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["execute_notebooks.py", *arguments])
    return tool.main()


def test_two_runs_write_the_same_file_without_widget_views(tool, tmp_path, monkeypatch):
    path = write(tmp_path, "00_a.ipynb", "print(1)\nprint(2)", WIDGET, "1 + 1")
    assert run(tool, monkeypatch) == 0
    first = path.read_text(encoding="utf-8")
    assert run(tool, monkeypatch, "00") == 0
    assert path.read_text(encoding="utf-8") == first
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.execution_count for cell in cells[1:]] == [1, 2, 3]
    assert cells[1].outputs[0].text == "1\n2\n"
    assert dict(cells[2].outputs[0].data) == {"text/plain": "film"}
    assert "execution" not in cells[1].metadata
    assert nbformat.read(path, as_version=4).metadata.language_info == {"name": "python"}


def test_answers_are_folded_and_pictures_keep_their_alt_text(tool, tmp_path, monkeypatch):
    data, alt = {"image/png": "", "text/plain": "p"}, {"image/png": {"alt": "a face", "width": 3}}
    show = f"from IPython.display import display; display({data}, raw=True, metadata={alt})"
    path = write(tmp_path, "00_a.ipynb", "1 + 1", "x = 2", show, "3")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "**Predict.** What?"
    notebook.cells.insert(4, new_markdown_cell("What we saw."))
    notebook.cells[-1].metadata.update(collapsed=True, jupyter={"outputs_hidden": True})
    nbformat.write(notebook, path)
    assert run(tool, monkeypatch) == 0
    cells = nbformat.read(path, as_version=4).cells
    folded = {"collapsed": True, "jupyter": {"outputs_hidden": True}}
    assert [dict(cell.metadata) for cell in cells] == [{}, folded, {}, folded, {}, {}]
    assert cells[3].outputs[0].metadata == {"image/png": {"alt": "a face"}}


@pytest.mark.parametrize(
    ("source", "message"),
    [("import warnings; warnings.warn('careful')", "careful"), ("1 / 0", "ZeroDivisionError")],
)
def test_warnings_and_errors_fail_and_leave_the_file_alone(
    tool, tmp_path, monkeypatch, capsys, source, message
):
    path = write(tmp_path, "00_a.ipynb", source)
    before = path.read_text(encoding="utf-8")
    assert run(tool, monkeypatch) == 1
    assert message in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == before


def test_an_unknown_lesson_is_named(tool, tmp_path, monkeypatch):
    write(tmp_path, "00_a.ipynb", "1")
    with pytest.raises(SystemExit, match=r"'07'.*00_a\.ipynb"):
        run(tool, monkeypatch, "07")


def test_the_contact_sheet_shows_every_attribute_and_fits():
    spec = importlib.util.spec_from_file_location("contact_sheets", TOOLS / "contact_sheets.py")
    sheets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sheets)
    names = [name for row in sheets.ROWS for name in row]
    assert sorted([*names, "style"]) == sorted(VOCABULARY)  # styles have a sheet of their own
    assert all(sum(len(VOCABULARY[name]) for name in row) <= 10 for row in sheets.ROWS)
    assert set(sheets.SITTERS) <= set(names)
    docs = TOOLS.parent / "docs"
    assert sum(file.stat().st_size for file in docs.glob("contact_sheet_*")) <= 700_000


def test_the_stability_table_has_a_row_for_each_setting(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "measure_stability", TOOLS / "measure_stability.py"
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    asked = []

    def noise(pipe, prompts, setting, *, each):
        asked.append(setting)
        shape = (len(prompts), each, 3, 128, 128)
        return torch.randint(256, shape, generator=make_generator(len(asked)), dtype=torch.uint8)

    monkeypatch.setattr(tool, "generate", noise)
    monkeypatch.setattr(tool, "load_pipeline", lambda *args, **options: None)
    out = tmp_path / "new" / "stability.json"
    assert tool.main(["--out", str(out), "--prompts", "3", "--seeds", "2"]) == 0
    table, shipped = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (out, TOOLS.parent / "data" / "experiments" / "stability.json")
    )
    assert len(set(asked)) == len(asked) == len(table["rows"])
    # What ships was written by this tool, and lesson 08 finds the rows that it needs
    keys = ("scheduler", "steps", "guidance", "unet_passes")
    settings = [[[row[key] for key in keys] for row in t["rows"]] for t in (table, shipped)]
    assert settings[0] == settings[1] and table.keys() == shipped.keys()
    assert [row.keys() for row in table["rows"]] == [row.keys() for row in shipped["rows"]]
    assert table["one factor"].keys() == {"prompt", "seed", "sampler", "steps", "guidance"}
    assert all(row["adherence"]["high"] < 0.9 for row in table["rows"])  # it is only noise
    assert shipped["painted"]["adherence"]["low"] > 0.9
    assert (TOOLS.parent / "data" / "experiments" / "stability.json").stat().st_size < 40_000
