"""The book's tools: which code a widget needs, what stays a picture, what is refused."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tools(monkeypatch):
    """The modules of tools/, by name."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module


def notebook(*cells):
    """Cells given as source, or as (tag, source)."""
    made = []
    for cell in cells:
        tag, source = cell if isinstance(cell, tuple) else (None, cell)
        made.append(new_code_cell(source, metadata={"tags": [tag]} if tag else {}))
    return new_notebook(cells=made)


def needed(tools, *cells) -> list[str]:
    """The slice of the last cell, one line for each statement."""
    parts = tools("lesson_widgets").slice_for(notebook(*cells).cells, [len(cells) - 1])
    return "\n".join(parts.values()).splitlines()


def test_only_what_the_widget_reads_is_run(tools):
    cells = (
        ("setup", "import torch\nmy_x = ...\nprint('ready')"),
        "x = 1\ny = 2\nprint(x)",
        "x = 3",  # the last one counts
        ("exercise-stub", "x = ..."),
        ("exercise-check", "check(x)"),
        ("exercise-solution", "z = [7 for x in range(y)]"),
        "for y in range(3):\n    w = y",  # y anew: the range above is not needed
        "figure(x)\nshow(x, w)",
    )
    whole = ["import torch", "my_x = ...", "print('ready')"]
    assert needed(tools, *cells) == [
        *whole,
        "x = 3",
        "for y in range(3):",
        "    w = y",
        "show(x, w)",
    ]


def test_what_changes_an_object_is_run_too(tools):
    cells = (
        "import torch\nlib = 1\ngenerator = torch.Generator()\na = {}\nb = []\nc = d = 1",
        "a['k'] = 1\nb.append(2)\nd += 1\nother['k'] = 1",
        "early = torch.randn(3, generator=generator)",  # moves the generator on
        "def draw():\n    return torch.randn(2, generator=generator)",
        "share = draw()",  # and so does this
        "torch.manual_seed(0)\nc.moved = 1",  # a function of a module, and an object not needed
        "show(a, b, d, torch.randn(3, generator=generator))",
    )
    lines = needed(tools, *cells)
    assert {"a['k'] = 1", "b.append(2)", "d += 1"} < set(lines)
    assert {"early = torch.randn(3, generator=generator)", "share = draw()"} < set(lines)
    assert not {"torch.manual_seed(0)", "c.moved = 1", "other['k'] = 1", "lib = 1"} & set(lines)


def test_a_branch_may_keep_the_earlier_value(tools):
    cells = (
        "w = x = y = 1",
        "if flag:\n    x = 2",
        "for k in range(3):\n    while k > 1:\n        y = k\n    z = y",
        "try:\n    w = 2\nexcept OSError:\n    pass",
        "show(w, x, z)",
    )
    assert needed(tools, *cells) == "\n".join(cells).splitlines()


def test_functions_magics_and_cells_that_are_not_python(tools):
    cells = (
        "%matplotlib inline\n!ls",
        "def f(u):\n    local = g(u)\n    return [local for hidden in range(k)]",
        "k = 2\nlocal = hidden = 'not needed'",
        "def g(u):\n    return u + 1",
        "this is no Python (",
        "show(f(1)); nobody_defines_this",
        "with open(f) as file:\n    text = file.read()\nwidget = show(text)\nwidget",
    )
    lines = needed(tools, *cells)
    assert "k = 2" in lines and "def g(u):" in lines and lines[-1] == "widget"
    assert not [one for one in lines if "ls" in one or "no Python" in one or "not needed" in one]
    assert needed(tools, "", "", "1") == ["1"]


SMALL = """import torch
import course_lib as cl
frames = torch.linspace(-1, 1, 5).view(-1, 1, 1, 1).repeat(1, 3, 16, 16)"""
SHOW = "cl.widgets.TimestepStepper(frames, caption='{}')"


def still(tools, source: str) -> dict[str, str]:
    """The picture of a widget, as a lesson stores it."""
    scope: dict = {}
    exec(SMALL, scope)
    return {"image/png": eval(source, scope)._repr_mimebundle_()[0]["image/png"]}


def test_a_widget_is_the_lessons_or_stays_a_picture(tools, tmp_path):
    tool = tools("lesson_widgets")
    good, other = SHOW.format("a"), SHOW.format("b").replace("frames", "-frames")
    stored = new_output("execute_result", still(tools, good), execution_count=1)
    book = notebook(("setup", SMALL), good, "1 / 0", other, "cl.widgets.PortraitStudio()")
    for k in (1, 3, 4):
        book.cells[k].outputs = [stored]
    path = tmp_path / "09_a.ipynb"
    nbformat.write(book, path)
    before = path.read_bytes()
    (same, different), _ = tool.compute(path, ROOT)
    assert (same.cell, same.problem) == (1, "") and same.off < 1 and "<script" in same.html
    assert '"state": {"' in same.html and '"_key": ' not in same.html  # it seeks no kernel
    assert different.cell == 3 and "differs" in different.problem and not different.html
    assert path.read_bytes() == before and sorted(tmp_path.iterdir()) == [path]


def test_a_cell_that_fails_is_named_and_the_picture_stays(tools, tmp_path):
    book = notebook("frames = 1 / 0", SHOW.format("a"))
    book.cells[1].outputs = [new_output("display_data", {"image/png": "aGk="})]
    nbformat.write(book, tmp_path / "09_a.ipynb")
    ((widget,), _) = tools("lesson_widgets").compute(tmp_path / "09_a.ipynb", ROOT)
    assert not widget.html and "ZeroDivisionError: division by zero" in widget.problem


def test_a_kernel_finds_the_course_whatever_its_path(tools, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    home = tmp_path / "o'brien {1}"
    home.mkdir()
    (home / "a.txt").write_text("hi", encoding="utf-8")
    source = "import os\nassert '' not in os.environ['PYTHONPATH'].split(os.pathsep)\nname = 'a'"
    problem, _ = tools("lesson_widgets")._run([source, "open(f'../{name}.txt').close()"], home)
    assert problem == ""


def test_a_lesson_is_folded_as_in_jupyterlab_and_published_links_hold(tools):
    pages, Address = tools("book_pages"), tools("launch_cells").Address
    book = notebook(("launch", "fetch()"), "# @title Solution 1.1 (open to read)\n1", "2", "3")
    book.cells[1].metadata["jupyter"] = {"source_hidden": True}
    book.cells[2].metadata["jupyter"] = {"outputs_hidden": True}
    book.cells[2].outputs = [new_output("stream", text="2")]
    table = '<a href="01_a.ipynb">01</a> <a href="https://a.org/01_a.ipynb" download>'
    book.cells[3].outputs = [new_output("execute_result", {"text/html": table})]
    page = pages.as_page(book)
    led = page.cells[2].outputs[0].data["text/html"]
    assert led == table.replace("01_a.ipynb", "01_a.html", 1)  # the course map's links
    titles = [dict(c.metadata.get("mystnb", {})).get("code_prompt_show") for c in page.cells]
    assert titles == ["Solution 1.1 (open to read)", "Answer (open to see)", None]
    assert [c.metadata.tags for c in page.cells] == [["hide-input"], ["hide-output"], []]
    line = pages.buttons("01_a", Address("https://github.com/me/it", "main"), quiz=True)
    assert line.count("<a ") == 4 and "mybinder.org/v2/gh/me/it/main" in line
    assert "colab.research.google.com/github/me/it/blob/main/notebooks/01_a.ipynb" in line
    assert pages.buttons("01_a", None, quiz=False).count("<a ") == 1


def test_the_front_page_shows_a_stepper_or_its_picture(tools, tmp_path):
    pages, Widget = tools("book_pages"), tools("lesson_widgets").Widget
    book = notebook("1", "cl.widgets.TimestepStepper(x)")
    picture = new_output(
        "display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": "a"}}
    )
    picture.data["image/jpeg"] = ""  # a figure may have both
    book.cells[1].outputs = [picture]
    place = "<!-- {}: 06 TimestepStepper( -->"
    live = pages._pictures(place.format("stepper"), "06", book, [Widget(1, "<b>")], tmp_path)
    assert ":file: _front/06_1.html" in live
    assert (tmp_path / "_front" / "06_1.html").read_text(encoding="utf-8") == "<b>"
    for kind, widgets in (("stepper", []), ("picture", [Widget(1, "<b>")])):
        still = pages._pictures(place.format(kind), "06", book, widgets, tmp_path)
        assert still == "![a](_front/06_1.png)"
    assert (tmp_path / "_front" / "06_1.png").read_bytes() == b"hi"
    with pytest.raises(ValueError, match="no picture of lesson 06 has 'Missing'"):
        pages._pictures("<!-- picture: 06 Missing -->", "06", book, [], tmp_path)


def test_links_lead_to_pages_copies_or_the_repository(tools, tmp_path):
    pages, Address = tools("book_pages"), tools("launch_cells").Address
    page = ROOT / "notebooks" / "01_forward_noising.ipynb"
    text = ("[a](../README.md#set-up) [b](../LICENSE) [c](../data/portraits) ![d](../docs/x.png)"
            " [e](https://example.org/f) [g](#here)")  # fmt: skip
    known = {ROOT / "README.md"}
    assert pages.Links(ROOT, tmp_path, known, None).rewrite(text, page) == (
        text.replace("[c](../data/portraits)", "c")
    )
    assert (tmp_path / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    there = pages.Links(ROOT, tmp_path, known, Address("https://github.com/me/it", "dev"))
    assert "[b](https://github.com/me/it/blob/dev/LICENSE) [c](https://" in there.rewrite(
        text, page
    )


@pytest.fixture
def book(tools, tmp_path, monkeypatch):
    """The command, with a small course in tmp_path/course as the root."""
    tool = tools("build_book")
    root = tmp_path / "course"
    (root / "notebooks").mkdir(parents=True)
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# 00. A")]), root / "notebooks/00_a.ipynb"
    )
    monkeypatch.setattr(tool, "ROOT", root)
    monkeypatch.setattr(tool, "check_packages", lambda *_: None)
    return tool


def sentence(capsys) -> str:
    """What the command said: one line, no traceback."""
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and "Traceback" not in said
    return said


def test_what_is_no_book_is_refused_and_kept(book, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work", encoding="utf-8")
    for place, words in ((mine, "no book of this course"), (mine / "thesis.txt", "is a file"),
                         (book.ROOT, "the course itself"), (tmp_path, "the course itself"),
                         (book.ROOT / "notebooks", "no book of this course")):  # fmt: skip
        assert book.main(["--no-widgets", "--to", str(place)]) == 2
        assert words in sentence(capsys)
    assert (mine / "thesis.txt").read_text(encoding="utf-8") == "years of work"
    assert [p.name for p in (book.ROOT / "notebooks").iterdir()] == ["00_a.ipynb"]


def test_bad_input_is_one_sentence_and_an_earlier_book_stays(book, tmp_path, capsys):
    made = tmp_path / "made"
    made.mkdir()
    (made / book.MARK).write_text("{}", encoding="utf-8")
    (made / "index.html").write_text("an earlier book", encoding="utf-8")
    to = ["--to", str(made)]
    assert book.main(["--widgets", "42", *to]) == 2
    assert "'42'; there are 00" in sentence(capsys)
    (book.ROOT / "docs").mkdir()
    (book.ROOT / "docs" / "address.json").write_text("[]", encoding="utf-8")
    assert book.main(["--no-widgets", *to]) == 2
    assert "tools/publish.py" in sentence(capsys)
    (book.ROOT / "docs" / "address.json").unlink()
    shutil.copytree(ROOT / "docs" / "book", book.ROOT / "docs" / "book")
    lesson = book.ROOT / "notebooks" / "00_a.ipynb"
    for wrong in (lesson.read_text(encoding="utf-8")[:40], "[]", json.dumps({"cells": 1})):
        lesson.write_text(wrong, encoding="utf-8")
        for options in (["--no-widgets"], ["--widgets", "00"]):
            assert book.main([*options, *to]) == 2
            assert "00_a.ipynb is no notebook" in sentence(capsys)
        assert lesson.read_text(encoding="utf-8") == wrong
    assert (made / "index.html").read_text(encoding="utf-8") == "an earlier book"


def test_the_folder_one_is_in_has_a_name(book, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    places = []
    monkeypatch.setattr(book, "build", lambda folder, *_: places.append(folder))
    assert book.main(["--no-widgets", "--to", "."]) == 0
    assert [place.name for place in places] == ["here"]


def test_missing_packages_are_named(tools, monkeypatch, capsys):
    tool = tools("build_book")
    find = importlib.util.find_spec
    absent = ("sphinx", "furo")
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in absent else find(n))
    assert tool.main([]) == 2
    assert "book: sphinx, furo" in sentence(capsys)
