"""``python -m course_lib progress``: right, wrong, blank, changed, moved and broken notebooks."""

from __future__ import annotations

import ast
import codecs
import csv
import importlib.util
import io
import json
from pathlib import Path

import nbformat
import pytest

from course_lib import __main__ as cli
from course_lib.checks import CheckResult, lesson_00
from course_lib.classroom import lessons, rerun
from course_lib.classroom.kernels import FreshKernel
from course_lib.classroom.lessons import course_lessons, tags
from course_lib.classroom.progress import find_learners
from course_lib.classroom.rerun import check_again, needed_cells
from course_lib.classroom.verdicts import read_record

ROOT = Path(__file__).resolve().parent.parent
LESSONS = course_lessons()
FIRST = ROOT / "notebooks" / LESSONS[0].file
RIGHT = {
    "old_king": lesson_00.old_king(lambda: None),
    "to_model_range": lesson_00.to_model_range(lambda pixels: pixels.float() / 127.5 - 1),
    "mirror": lesson_00.mirror(lambda x: x),
}


def tool(name: str):
    """A module of the folder tools."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(result: CheckResult) -> list[dict]:
    """The output that JupyterLab saves for a verdict."""
    data = {"text/plain": [str(result)], "text/html": [result._repr_html_()]}
    return [{"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": data}]


def lesson_00_notebook() -> dict:
    """The lesson with one exercise open, one passed, one tried."""
    notebook = json.loads(FIRST.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if "exercise-check" in tags(cell):
            (name,) = (one for one in RIGHT if f".{one}(" in "".join(cell["source"]))
            cell["outputs"] = shown(RIGHT[name])
    return notebook


def check_cell(notebook: dict, name: str) -> dict:
    return next(c for c in notebook["cells"] if "exercise-check" in tags(c)
                and f".{name}(" in "".join(c["source"]))  # fmt: skip


def write(path: Path, notebook: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def statuses(path: Path) -> dict[str, str]:
    record = read_record("ann", [path], LESSONS)
    return {v.exercise.checker: v.status for v in record.verdicts["00"]}


def test_every_exercise_of_the_course_is_found_and_open_as_delivered():
    listed = lessons.LESSONS.read_text(encoding="utf-8")
    assert listed == tool("list_lessons").list_lessons(ROOT), "run python tools/list_lessons.py"
    record = read_record("course", [ROOT / "notebooks" / one.file for one in LESSONS], LESSONS)
    assert record.count("open") == sum(len(lesson.exercises) for lesson in LESSONS) == 63
    assert all(e.title and e.answers and e.cell_id for one in LESSONS for e in one.exercises)
    assert all(lesson.seconds > 0 and lesson.purpose for lesson in LESSONS)


def test_verdicts_are_read_in_renamed_notebooks_with_moved_and_copied_cells(tmp_path):
    notebook = lesson_00_notebook()
    wanted = {"old_king": "open", "to_model_range": "passed", "mirror": "tried"}
    assert statuses(write(tmp_path / "Untitled7.ipynb", notebook)) == wanted
    copy = json.loads(json.dumps(check_cell(notebook, "mirror")))
    copy |= {"id": "another", "outputs": shown(lesson_00.mirror(lambda x: x.flip(-1)))}
    copy["metadata"] = {}  # as pasted where tags are lost
    cells = notebook["cells"][:1] + [copy] + notebook["cells"][:0:-1]
    moved = write(tmp_path / "b.ipynb", notebook | {"cells": cells})
    assert statuses(moved) == wanted | {"mirror": "passed"}
    headless = notebook | {"cells": notebook["cells"][1:]}
    assert statuses(write(tmp_path / "c.ipynb", headless)) == wanted  # by the checks that it calls


@pytest.mark.parametrize(
    ("source", "text", "html", "status"),
    [
        ("cl.checks.lesson_00.mirror( my_mirror )  # mine", None, None, "passed"),
        ("cl.checks.lesson_00.mirror(lambda x: x.flip(-1))", None, None, "check changed"),
        ("print('mirror: passed. Well done.')", None, None, "check changed"),
        (None, "mirror: passed. Well done.", "mirror: try again. It is", "check changed"),
        ("cl.checks.lesson_00.mirror(mirror_solution).require()", None, None, "no check"),
        (None, "", "", "open"),
    ],
)
def test_a_changed_check_is_not_trusted(tmp_path, source, text, html, status):
    notebook = lesson_00_notebook()
    cell = check_cell(notebook, "mirror")
    cell["outputs"] = shown(lesson_00.mirror(lambda x: x.flip(-1)))
    if text is not None:
        cell["outputs"][0]["data"] = {"text/plain": text, "text/html": html}
    cell["source"] = source or cell["source"]
    assert statuses(write(tmp_path / "a.ipynb", notebook))["mirror"] == status


def test_a_class_is_counted_and_written_as_csv_and_bad_files_are_told(tmp_path, capsys):
    room = tmp_path / "submitted"
    ann = write(room / "José" / "ps1" / "00_start_here.ipynb", lesson_00_notebook())
    write(ann.parent / ".ipynb_checkpoints" / "x-checkpoint.ipynb", lesson_00_notebook())
    evil = lesson_00_notebook() | {"nbformat_minor": 4}
    write(room / "=cmd()" / "work.ipynb", evil)
    (room / "=cmd()" / "cut.ipynb").write_text(ann.read_text(encoding="utf-8")[:-9000])
    write(room / "=cmd()" / "other.ipynb", {"cells": [{"cell_type": "code", "source": "1"}, 7]})
    write(room / "=cmd()" / "old.ipynb", {"worksheets": []})
    (room / "nobody").mkdir()
    before = {path: path.read_bytes() for path in room.rglob("*.ipynb")}
    table = tmp_path / "class.csv"
    missing = tmp_path / "missing"
    assert cli.main(["progress", str(room), str(missing), "--csv", str(table)]) == 1
    printed = capsys.readouterr()
    assert "José    1 of 63 passed, 1 tried" in printed.out and "2 learners" in printed.out
    problems = printed.err.splitlines()
    assert len(problems) == 4 and all("was left out" in line for line in problems)
    for part in ("cut short", "none of the lessons", "format 4", "does not exist"):
        assert sum(part in line for line in problems) == 1
    assert table.read_bytes().startswith(codecs.BOM_UTF8)  # or Excel shows "JosÃ©"
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"))))
    assert len(rows) == 2 * 63 and {row["learner"] for row in rows} == {"José", "'=cmd()"}
    assert [row["status"] for row in rows[:3]] == ["open", "passed", "tried"]
    assert {row["status"] for row in rows[3:63]} == {"no notebook"}
    assert {path: path.read_bytes() for path in room.rglob("*.ipynb")} == before
    assert cli.main(["progress", str(room / "nobody")]) == 1  # nothing to read


def test_homes_whose_folders_are_named_alike_are_told_apart(tmp_path):
    homes = [tmp_path / f"jupyter-{name}" / "course" / "notebooks" for name in ("ann", "ben")]
    for home in homes:
        write(home / "a.ipynb", lesson_00_notebook())
    assert [name for name, _ in find_learners(homes, [])] == ["jupyter-ann", "jupyter-ben"]


def test_an_answer_takes_along_the_cells_that_it_needs_and_no_others():
    code = ["import torch", "scale = 2\nheavy = 1", "def helper(x):\n    return scale * x",
            "%time\nprint(scale)", "scale = 5", "def my_f(x):\n    return helper(torch.tensor(x))",
            "my_g = [helper(k) for k in (1, 2)]", "def my_broken(x:"]  # fmt: skip
    assert needed_cells(code, ["my_f"]) == {0, 1, 2, 5}
    assert needed_cells(code, ["my_g"]) == {1, 2, 6}
    assert needed_cells(code, ["my_broken"]) == {7}
    code = ["import torch", "results, total = [], 1", "results.append(3)", "torch.manual_seed(0)",
            "def show(results):\n    results.append(0)", "total += 1",
            "my_x = torch.tensor(results)", "my_y = total", "results[0] = 4",
            "my_y.step()"]  # fmt: skip
    assert needed_cells(code, ["my_x"]) == {0, 1, 2, 6}
    assert needed_cells(code, ["my_y"]) == {1, 5, 7, 9}


@pytest.mark.parametrize("quote", ["'", '"'])
def test_paths_to_the_data_hold_where_the_course_has_quotes_in_its_path(monkeypatch, quote):
    monkeypatch.setattr(rerun, "lessons_folder", lambda: Path('/o\'brien/"a"/notebooks'))
    source = rerun._at_home(f"{quote}../data/models/mini{quote}")
    assert ast.literal_eval(source) == '/o\'brien/"a"/data/models/mini'


def test_a_kernel_that_does_not_start_costs_one_notebook(tmp_path, monkeypatch, capsys):
    write(tmp_path / "left out" / "a.ipynb", lesson_00_notebook())
    write(tmp_path / "left out" / "b.ipynb", lesson_00_notebook())  # a remark, not a problem
    assert cli.main(["progress", str(tmp_path)]) == 0
    assert "another notebook" in capsys.readouterr().err

    def run(cells, lesson, file, **options):
        if file == "a.ipynb":
            raise RuntimeError("Kernel died before replying")
        return rerun_lesson(cells, lesson, file, **options)

    rerun_lesson = rerun.run_lesson
    monkeypatch.setattr(rerun, "run_lesson", run)
    assert cli.main(["progress", str(tmp_path), "--run"]) == 1
    printed = capsys.readouterr()
    assert "a.ipynb was left out: Kernel died" in printed.err
    assert "left out: 0 of 63 passed" in printed.out


def test_running_anew_finds_what_the_outputs_hide(tmp_path):
    """One answer right by way of a helper, one whose outputs lie, one that does not compile."""
    notebook = lesson_00_notebook()
    for name in RIGHT:  # everything claims to have passed
        check_cell(notebook, name)["outputs"] = shown(CheckResult(name, "passed", "Well done."))
    stubs = [cell for cell in notebook["cells"] if "exercise-stub" in tags(cell)]
    stubs[0]["source"] = "def my_king(:\n    return ..."
    stubs[1]["source"] = "def my_model_range(pixels):\n    return scaled(pixels) - 1"
    stubs[2]["source"] = (
        "def my_mirror(x):\n    return x\n"
        "cl.checks.lesson_00.mirror = lambda answer: 'mirror: passed. Well done.'"
    )
    helper = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None,
              "source": ["def scaled(x):\n", "    return x.float() / 127.5"]}  # fmt: skip
    notebook["cells"].insert(5, helper)
    path = write(tmp_path / "ann" / "mine.ipynb", notebook)
    before = path.read_bytes()
    stored = read_record("ann", [path], LESSONS)
    assert stored.count("passed") == 3
    king, scaled, mirror = check_again(stored, LESSONS, seconds=120).verdicts["00"]
    assert (king.status, scaled.status, mirror.status) == ("tried", "passed", "tried")
    assert "SyntaxError" in king.note and "The outputs say passed" in mirror.note
    assert path.read_bytes() == before and [*path.parent.iterdir()] == [path]


def test_a_kernel_ends_what_does_not_end_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "the instructor's")
    monkeypatch.setenv("HF_HOME", "kept")
    with FreshKernel(tmp_path, seconds=10) as kernel:
        assert "time limit" in kernel.run("import time; time.sleep(1e6)").problem
        assert kernel.run("print(5)\n1 + 1").outputs[0]["data"]["text/plain"] == "2"
        names = kernel.run("import os; [n for n in os.environ if n in ('HF_HOME', 'HF_TOKEN')]")
        assert names.outputs[0]["data"]["text/plain"] == "['HF_HOME']"
        assert kernel.run("import os; os._exit(1)").problem == "the kernel died"
        assert kernel.run("1").problem == "the kernel died"


@pytest.mark.parametrize("form", ["nbgrader", "otter"])
def test_copies_for_graders_have_a_test_for_each_exercise_and_stay_readable(tmp_path, capsys, form):
    grader = tool("graded_lessons")
    assert grader.main([form, "--to", str(tmp_path), "00"]) == 0
    (path,) = tmp_path.rglob("*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    graded = [c.source for c in notebook.cells if c.source.startswith("verdict = cl.checks")]
    assert graded == [f"verdict = {one.source}.require()" for one in LESSONS[0].exercises]
    marks = [c for c in notebook.cells if "nbgrader" in c.metadata or "BEGIN TESTS" in c.source]
    assert len(marks) == 3
    assert statuses(path) == dict.fromkeys(RIGHT, "open")  # progress reads them as well
    before = path.read_bytes()
    assert grader.main([form, "00", "--to", str(tmp_path)]) == 1  # somebody's work by now
    assert grader.main([form, "44", "--to", str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert "is there already" in errors and "Unknown lesson '44'" in errors
    assert path.read_bytes() == before
