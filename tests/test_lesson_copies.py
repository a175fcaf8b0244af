"""Working copies: blank, beside the learner's own work, and leading to the course's files."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from course_lib import __main__ as cli
from course_lib.lesson_copies import copy_lessons

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "notebooks"


def codes(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("place", ["mine", "deep/er", "a b/日本"])
def test_copies_are_blank_and_find_the_courses_files(tmp_path, place):
    folder = tmp_path / place
    assert copy_lessons(LESSONS, folder) == []
    assert [p.name for p in sorted(folder.iterdir())] == [
        p.name for p in sorted([*LESSONS.glob("*.ipynb"), *LESSONS.glob("*.md")])
    ]
    assert (folder / "glossary.md").read_bytes() == (LESSONS / "glossary.md").read_bytes()
    for source in sorted(LESSONS.glob("*.ipynb")):
        copy = nbformat.read(folder / source.name, as_version=4)
        nbformat.validate(copy)
        cells = codes(folder / source.name)
        assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
        assert not any(c.metadata.get("jupyter", {}).get("outputs_hidden") for c in cells)
        folded = [c for c in cells if c.metadata.get("jupyter", {}).get("source_hidden")]
        assert len(folded) == sum("exercise-solution" in c.metadata.get("tags", []) for c in cells)
    text = "".join(cell.source for cell in codes(folder / "05_text_and_latents.ipynb"))
    mini = text.split('MINI = "')[1].split('"')[0]
    assert (folder / mini / "model_index.json").samefile(ROOT / "data/models/mini/model_index.json")
    first = nbformat.read(folder / "00_start_here.ipynb", as_version=4)
    link = next(c.source for c in first.cells if "[README](" in c.source).split("[README](")[1]
    assert (folder / link.split(")")[0]).samefile(ROOT / "README.md")


def test_a_learners_work_is_never_overwritten_and_nothing_is_left_half_written(
    tmp_path, monkeypatch
):
    folder = tmp_path / "mine"
    copy_lessons(LESSONS, folder)
    mine, gone = folder / "00_start_here.ipynb", folder / "01_forward_noising.ipynb"
    mine.write_text("my work")
    gone.unlink()
    assert len(copy_lessons(LESSONS, folder)) == len(list(LESSONS.glob("*.*"))) - 1
    assert mine.read_text() == "my work" and gone.exists()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    gone.unlink()
    with pytest.raises(OSError, match="space"):
        copy_lessons(LESSONS, folder)
    assert not gone.exists() and not list(folder.glob(".*"))


def test_the_command_line_opens_the_copies(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "check_packages", lambda: [])
    monkeypatch.setattr(cli, "try_diffusion", lambda: 0.1)
    monkeypatch.setattr(cli, "paint_first_portrait", lambda path: None)
    monkeypatch.setattr(cli, "hosted_platform", lambda: None)
    opened = []
    monkeypatch.setattr(cli, "open_lab", lambda notebook, **_: opened.append(notebook) or 0)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["start", "--fresh", "mine"]) == 0
    assert opened == [tmp_path / "mine" / "00_start_here.ipynb"] and opened[0].exists()
    assert "The lessons are in mine; 0 were there" in capsys.readouterr().out
    assert cli.main(["start", "--fresh", str(LESSONS)]) == 1
    assert "name another folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["start", "--fresh", "file"]) == 1
    assert "file" in capsys.readouterr().err
