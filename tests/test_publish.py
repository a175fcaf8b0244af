"""Publishing: launch links appear with an address, vanish without, and the folded cell works."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_rules import breaches, code_cells

from course_lib import hosted
from course_lib.lesson_copies import copy_lessons

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools"
GITHUB = "https://github.com/ann/course"
NAMES = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def git(folder, *arguments):
    identity = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", *identity, "-C", folder, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A checkout of what publishing reads, free of any address."""
    folder = tmp_path_factory.mktemp("original")
    shutil.copy(ROOT / "README.md", folder)
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    (folder / "docs").mkdir()
    launch = load("launch_cells")
    readme = folder / "README.md"
    readme.write_text(launch.stamp_readme(readme.read_text("utf-8"), None), "utf-8", newline="\n")
    for name in NAMES:
        path = folder / "notebooks" / name
        text = launch.stamp_lesson(path.read_text("utf-8"), None, name, {})
        path.write_text(text, "utf-8", newline="\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    return folder


def load(name):
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture
def course(original, tmp_path, monkeypatch):
    """A fresh copy of that checkout, which the command publishes."""
    shutil.copytree(original, tmp_path / "course")
    monkeypatch.setattr(load("publish"), "ROOT", tmp_path / "course")
    return tmp_path / "course"


def publish(*arguments):
    return load("publish").main(list(arguments))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def launch_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if "launch" in cell.metadata.get("tags", [])]


def test_the_committed_files_show_the_address_of_this_copy_or_none():
    """In a published copy a lesson that was executed or added since must be stamped as well."""
    tool, launch = load("publish"), load("launch_cells")
    note = ROOT / tool.NOTE
    noted = json.loads(note.read_text("utf-8")) if note.exists() else None
    address = launch.Address(**noted) if noted else None
    texts = {name: (ROOT / "notebooks" / name).read_bytes().decode() for name in NAMES}
    titles = {n: launch.title_of(launch.parse_lesson(text)) for n, text in texts.items()}
    for name, text in texts.items():
        assert launch.stamp_lesson(text, address, name, titles) == text, name
    readme = (ROOT / tool.README).read_bytes().decode()
    assert launch.stamp_readme(readme, address) == readme


def test_publishing_twice_changes_nothing_and_removing_brings_every_byte_back(course, capsys):
    before = contents(course)
    assert publish("--check") == 0 and "no address" in capsys.readouterr().out
    assert publish(GITHUB, "--check") == 1 and contents(course) == before
    announced = re.findall(r"(\S+) would change", capsys.readouterr().out)
    assert publish(f"git@github.com:{GITHUB[19:]}.git") == 0
    first = contents(course)
    assert sorted(announced) == sorted(n for n in first if first[n] != before.get(n))
    assert set(announced) == {"README.md", "docs/address.json", *(f"notebooks/{n}" for n in NAMES)}
    note = json.loads(first["docs/address.json"])
    assert note == {"repository": GITHUB, "branch": "main"}
    for again in ((GITHUB,), (f"{GITHUB}/",), ("--check",), ()):
        assert publish(*again) == 0 and contents(course) == first
    git(course, "add", ".")
    git(course, "commit", "-qm", "published")
    assert publish("https://gitlab.com/group/sub/course", "--branch", "next/two") == 0
    second = contents(course)
    assert b"github.com/ann" not in b"".join(second[f"notebooks/{name}"] for name in NAMES)
    assert publish("--check") == 0 and publish("--remove", "--check") == 1
    assert publish("--remove") == 0 and contents(course) == before
    assert publish("--remove", "--check") == 0


def test_lessons_and_readme_link_to_colab_and_binder_and_nothing_is_fetched(course):
    publish(GITHUB)
    binder = "https://mybinder.org/v2/gh/ann/course/main?urlpath=lab/tree/notebooks/"
    colab = "https://colab.research.google.com/github/ann/course/blob/main/notebooks/"
    readme = (course / "README.md").read_text("utf-8")
    assert readme.startswith("# Portrait Diffusion\n\n<!--")
    assert f"{binder}00_start_here.ipynb)" in readme and f"{colab}00_start_here.ipynb)" in readme
    pictures = re.findall(r"!\[(.+?)\]\((.+?)\)", readme.split("<!-- end")[0])
    assert len(pictures) == 2 and all((ROOT / target).is_file() for _, target in pictures)
    for number, name in enumerate(NAMES):
        links, setup = launch_cells(course / "notebooks" / name)
        assert f"({binder}{name})" in links.source and "![" not in links.source
        near = NAMES[max(number - 1, 0) : number + 2]
        assert all(f"({colab}{other})" in links.source for other in (*NAMES, *near))
        assert ("previous lesson [" in links.source) == (number > 0)
        assert setup.metadata.jupyter.source_hidden and setup.metadata.cellView == "form"
        assert setup.source.startswith("# @title") and setup.execution_count is None


@pytest.mark.parametrize(
    ("typed", "repository", "binder"),
    [
        ("http://www.github.com/ann/a.b.git/", "https://github.com/ann/a.b", "gh/ann/a.b/"),
        ("ssh://git@github.com/ann/c.git", "https://github.com/ann/c", "gh/ann/c/"),
        ("https://gitlab.com/g/s/c.git", "https://gitlab.com/g/s/c", "gl/g%2Fs%2Fc/"),
        ("git@git.example.org:t/c.git", "https://git.example.org/t/c.git",
         "git/https%3A%2F%2Fgit.example.org%2Ft%2Fc.git/"),
        ("file:///srv/c.git", "file:///srv/c.git", None),
    ],
)  # fmt: skip
def test_addresses_of_every_host_are_brought_to_one_form(typed, repository, binder):
    address = load("launch_cells").read_address(typed, "a/b")
    assert address.repository == repository
    link, colab = address.binder("n.ipynb"), address.colab("n.ipynb")
    assert link == (binder and f"https://mybinder.org/v2/{binder}a%2Fb?urlpath=lab/tree/n.ipynb")
    assert (colab is not None) == ("github.com" in repository)
    assert colab is None or colab.endswith("/blob/a/b/n.ipynb")


def edited(text):
    return lambda course: (course / "notebooks" / NAMES[1]).write_text(text, "utf-8")


def add_answer(course):
    path = course / "notebooks" / NAMES[1]
    path.write_text(path.read_text("utf-8").replace("...  # your answer", "x_0"), "utf-8")


def commit_broken(course):
    edited("{}\n")(course)
    git(course, "commit", "-qam", "broken")


def other_layout(course):
    path = course / "notebooks" / NAMES[1]
    tight = json.dumps(json.loads(path.read_text("utf-8")), separators=(",", ":"))
    path.write_text(tight, "utf-8")
    git(course, "commit", "-qam", "laid out by another program")


def no_checkout(course):
    (course / ".git").rename(course / "git-is-gone")


def note_number(course):
    (course / "docs" / "address.json").write_text('{"repository": 5, "branch": "main"}')


BAD = {
    "no address": ((), None, "give the address of your copy"),
    "no URL": (("ann/course",), None, "no URL of a git repository"),
    "half a URL": (("http://[",), None, "no URL of a git repository"),
    "a folder": ((str(ROOT),), None, "no URL of a git repository"),
    "a user": (("https://github.com/ann",), None, "names no repository"),
    "a page": ((f"{GITHUB}/tree/main",), None, f"such as {GITHUB} "),
    "a file's page": (("https://gitlab.com/a/b/-/blob/main/x",), None, "page inside"),
    "a query": ((f"{GITHUB}?tab=readme",), None, "page inside"),
    "a password": (("https://ann:secret@github.com/ann/c",), None, "password"),
    "a branch": ((GITHUB, "--branch", "a..b"), None, "'a..b' cannot be the name"),
    "an option": ((GITHUB, "--branch=-x"), None, "'-x' cannot be the name"),
    "an answer": ((GITHUB,), add_answer, "has changes that are not committed"),
    "another layout": ((GITHUB,), other_layout, "not laid out as Jupyter writes it"),
    "JSON": ((GITHUB,), edited("{"), "no valid notebook"),
    "a broken commit": ((GITHUB,), commit_broken, "no valid notebook"),
    "no checkout": ((GITHUB,), no_checkout, "needs a git checkout"),
    "a number as address": ((), note_number, "docs/address.json cannot be read"),
    "a lost file": ((GITHUB,), lambda c: (c / "README.md").unlink(), "README.md is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_changes_nothing(case, course, capsys, monkeypatch):
    arguments, spoil, message = BAD[case]
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(course.parent))
    if spoil:
        spoil(course)
    before = contents(course)
    for more in ([], ["--check"] if arguments else ["--branch", "x"]):
        assert publish(*arguments, *more) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and "secret" not in error
    assert contents(course) == before


def test_a_python_without_the_courses_packages_is_told_so(course, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nbformat", None)
    load("launch_cells").parse_lesson.cache_clear()
    assert publish(GITHUB) == 2
    assert (
        capsys.readouterr().err == "publish.py: nbformat is not installed; run python3 start.py\n"
    )


def test_a_learners_answers_survive_a_new_address(course, capsys):
    publish(GITHUB)
    add_answer(course)
    before = contents(course)
    assert publish(f"{GITHUB}-2") == publish("--remove") == 2
    assert contents(course) == before and "git checkout HEAD" in capsys.readouterr().err


def test_published_lessons_keep_the_rules_and_all_who_read_them(course, monkeypatch):
    plain = contents(course)
    publish(GITHUB)
    folder = course / "notebooks"
    shutil.copytree(ROOT / "docs", course / "docs", dirs_exist_ok=True)
    for target in re.findall(r"\]\(\.\./([\w./]+)", "".join(map(bytes.decode, plain.values()))):
        (course / target).parent.mkdir(parents=True, exist_ok=True)
        (course / target).touch()
    execute, misconceptions = load("execute_notebooks"), load("gather_misconceptions")
    monkeypatch.setattr(execute, "_smaller_picture", lambda output: None)  # slow, and done before
    for name in (*NAMES[:3], NAMES[-1]):
        notebook = nbformat.read(folder / name, as_version=4)
        nbformat.validate(notebook)
        assert breaches(notebook, folder / name) == []
        counts = [cell.execution_count for cell in code_cells(notebook)]
        execute.normalise(notebook)  # as after an execution, where the folded cell counts as well
        assert counts == [cell.execution_count for cell in code_cells(notebook)]
        written = nbformat.writes(notebook) + "\n"
        assert written == (folder / name).read_text("utf-8")
    assert misconceptions.page(folder).encode() == plain["notebooks/misconceptions.md"]
    copies = course.parent / "copies"
    copy_lessons(folder, copies)
    assert not any(launch_cells(copies / name) for name in NAMES)


SHELL = """
import sys
sys.path[:0] = {path!r}
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for source in {sources!r}:
    result = shell.run_cell(source)
    if not result.success:
        sys.exit(3)
"""
# Stands in for pip, for want of a network: notes what it was asked for, and "installs" that
PIP = """
import json, pathlib, sys
here = pathlib.Path(__file__).parents[1]
constraints = pathlib.Path(sys.argv[sys.argv.index("--constraint") + 1]).read_text()
(here / "asked.json").write_text(json.dumps([sys.argv[1:], constraints]))
(here / "wanted_extra.py").write_text("value = 7")
"""


@pytest.fixture
def host(original, tmp_path, monkeypatch):
    """A folder like Colab's: a bare repository to clone, a Python without the course, a pip."""
    tree, bare, session = tmp_path / "tree", tmp_path / "course.git", tmp_path / "session"
    shutil.copytree(original, tree)
    ignored = shutil.ignore_patterns("__pycache__", "*.js", "*.css")
    shutil.copytree(ROOT / "course_lib", tree / "course_lib", ignore=ignored)
    lines = (ROOT / "requirements.txt").read_text("utf-8")
    (tree / "requirements.txt").write_text(f"{lines}\nwanted-extra>=1.5\n", "utf-8")
    monkeypatch.setattr(load("publish"), "ROOT", tree)
    assert publish(bare.as_uri()) == 0
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "published", "--no-verify")
    git(tmp_path, "clone", "-q", "--bare", tree, bare)
    git(bare, "branch", "-M", "main")
    (session / "tools" / "pip").mkdir(parents=True)
    (session / "tools" / "pip" / "__init__.py").touch()
    (session / "tools" / "pip" / "__main__.py").write_text(PIP)
    return session


def sources(session):
    """The code cells of a published lesson; the folded one is the first."""
    path = session.parent / "tree" / "notebooks" / NAMES[1]
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def run_in(session, cells):
    """Run cells in a fresh process that has the packages, but not the course."""
    without = [place for place in sys.path if not Path(place, "course_lib").is_dir()]
    places = [str(session / "tools"), *without]
    code = SHELL.format(path=places, sources=cells)
    environment = {**os.environ, "PYTHONPATH": str(session / "tools"), "IPYTHONDIR": str(session)}
    environment["COURSE_DEVICE"] = "cpu"
    # -S leaves out the .pth files of site-packages, by which the course is installed here
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(
        command, cwd=session, env=environment, capture_output=True, text=True, encoding="utf-8"
    )


def test_the_folded_cell_fetches_the_course_and_the_next_cells_run(host):
    setup, *cells = sources(host)[:4]
    show = "import os, wanted_extra; print(os.getcwd(), cl.__file__, wanted_extra.value)"
    child = "import subprocess; subprocess.run([sys.executable, '-S', '-c', 'import course_lib'])"
    done = run_in(host, [setup, *cells, show, setup, f"import sys; {child}.check_returncode()"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing wanted-extra>=1.5 ..." in done.stdout
    assert done.stdout.count("Ready. The lessons compute on the CPU.") == 1  # the second run: none
    clone = host / "course"
    assert f"{clone / 'notebooks'} {clone / 'course_lib' / '__init__.py'} 7" in done.stdout
    (command, constraints) = json.loads((host / "tools" / "asked.json").read_text())
    assert command[-1] == "wanted-extra>=1.5" and "jupyterlab" not in " ".join(command)
    kept = dict(line.split("==") for line in constraints.split())
    assert kept == {name: hosted.installed(name) for name in hosted.KEPT}
    history = subprocess.run(
        ["git", "-C", clone, "rev-list", "--count", "HEAD"], capture_output=True, text=True
    )
    assert history.stdout.strip() == "1"  # --depth 1


def test_the_folded_cell_asks_for_a_restart_where_numpy_disagrees(host):
    setup = sources(host)[0]
    first = f"get_ipython().run_cell({setup!r})"  # run again without a restart, it asks again
    done = run_in(host, ["import numpy; numpy.__version__ = '1.0'", first, setup])
    shown = [line for line in done.stdout.splitlines() if line.strip()]
    assert done.stdout.count("Set-up stopped: ") == 2
    assert done.returncode == 3 and "Traceback" not in done.stdout + done.stderr
    assert shown[-1].startswith("Set-up stopped: numpy 1.0 is loaded and numpy ")
    assert "restart the session" in shown[-1] and not (host / "tools" / "asked.json").exists()


def test_a_repository_out_of_reach_is_named(host):
    shutil.rmtree(host.parent / "course.git")
    done = run_in(host, sources(host)[:1])
    assert done.returncode == 3 and "course.git could not be cloned: " in done.stdout + done.stderr
    assert not (host / "course").exists()


def test_requirements_leave_torch_and_what_lessons_do_not_need_alone(tmp_path, monkeypatch):
    versions = {"torch": "2.9.0+cu126", "numpy": "2.1", "pillow": "11.0", "nbval": "0.1"}
    monkeypatch.setattr(hosted, "installed", versions.get)
    lists = tmp_path / "requirements.txt"
    lists.write_text("# x\ntorch>=2.6\nnumpy>=1.26\npillow>=11.3\nnbval>=0.11\npeft>=0.18\n-e .\n")
    assert hosted.missing_requirements(lists) == ["pillow>=11.3", "peft>=0.18"]
    versions["torch"] = "2.5.1"
    with pytest.raises(hosted.SetupStopped, match=r"torch 2\.5\.1 is here.*does not replace it"):
        hosted.missing_requirements(lists)


def test_what_pip_says_is_passed_on(monkeypatch):
    def failing(*_, **__):
        return subprocess.CompletedProcess([], 1, "", "noise\nERROR: No matching distribution\n")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(hosted.SetupStopped, match="peft>=0.18: ERROR: No matching"):
        hosted.install(["peft>=0.18"])
