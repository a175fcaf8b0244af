"""The bundle for a USB stick, made from a small stand-in of the course and installed from."""

from __future__ import annotations

import errno
import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from machine import patience

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_PYTHON = getattr(sys, "_base_executable", sys.executable)  # no environment is active
MINE = "{}.{}".format(*sys.version_info)
HAND_OVER = """import sys
sys.stdout.reconfigure(errors="backslashreplace")
print("handed over", sys.argv[1:], "in", sys.prefix)
"""


def write_wheel(folder: Path, name: str, *requires: str, tag: str = "py3-none-any") -> None:
    """A package of one empty module."""
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    metadata += [f"Requires-Dist: {text}" for text in requires]
    information = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "# nothing\n" * 1000)
        wheel.writestr(f"{information}/METADATA", "\n".join(metadata))
        wheel.writestr(
            f"{information}/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}",
        )
        wheel.writestr(f"{information}/RECORD", "")


def git(course: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "core.autocrlf=false"]
    subprocess.run(["git", *who, *arguments], cwd=course, check=True, capture_output=True)


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in a folder: one package for all, one for Windows, and none for macOS."""
    folder = tmp_path_factory.mktemp("index")
    needs = ('tiny_windows; sys_platform == "win32"', 'tiny_metal; sys_platform == "darwin"')
    write_wheel(folder, "tiny_package", *needs)
    write_wheel(folder, "tiny_windows", tag="py3-none-win_amd64")
    return folder


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git clone of a course that needs one package and has one lesson."""
    folder = tmp_path_factory.mktemp("a course 肖像")
    shutil.copy(ROOT / "start.py", folder)
    (folder / "tools").mkdir()
    for path in (ROOT / "tools").glob("bundle*.py"):
        shutil.copy(path, folder / "tools")
    shutil.copytree(ROOT / "tools" / "bundle", folder / "tools" / "bundle")
    files = {
        "requirements.txt": "tiny-package>=1\n", "pyproject.toml": "", "notebooks/00.ipynb": "{}",
        "course_lib/__main__.py": HAND_OVER, ".gitignore": "__pycache__/\n.venv/\n",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "A course")
    return folder


def run(command: list, **extra: str) -> subprocess.CompletedProcess:
    """Run a command as on a machine that has no settings of pip and no network."""
    others = ("PIP_", "CONDA", "PYTHON", "UV_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    env |= {"PYTHONIOENCODING": "utf-8", "PIP_NO_INDEX": "1", "UV_NO_CACHE": "1"} | extra
    return subprocess.run(
        [str(part) for part in command], env=env, capture_output=True, encoding="utf-8",
        timeout=120 * patience(),
    )  # fmt: skip


def bundle(course: Path, to: Path, *options: object, links: Path | None = None, **extra: str):
    where = ["--find-links", links] if links else []
    tool = course / "tools" / "bundle.py"
    return run([sys.executable, tool, "--to", to, *where, *options], **extra)


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


@pytest.fixture(scope="module")
def stick(course: Path, links: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for Linux and Windows with this Python; its Linux is called what this machine is."""
    folder = tmp_path_factory.mktemp("a stick") / "bundle"
    done = bundle(course, folder, "--platforms", "linux", "windows", "--python", MINE, links=links)
    assert done.returncode == 0, done.stderr
    info = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    info["targets"].setdefault(installer().own_name(), info["targets"][f"linux-{MINE}"])
    (folder / "bundle.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def installer(stick: Path = ROOT / "tools" / "bundle"):
    """``install.py`` as a module, for what can only be had by pretending."""
    return load(stick / "install.py")


@pytest.fixture
def tool(course: Path, monkeypatch):
    """``bundle.py`` as a module of the stand-in, and what it imports."""
    monkeypatch.syspath_prepend(str(course / "tools"))
    for name in ("bundle_commit", "bundle_wheels"):
        sys.modules.pop(name, None)
    yield load(course / "tools" / "bundle.py")
    for name in ("bundle_commit", "bundle_wheels"):
        sys.modules.pop(name, None)


def install(stick: Path, folder: Path, **extra: str):
    sh = [sys.executable, stick / "install.py"] if os.name == "nt" else ["sh", stick / "install.sh"]
    return run([*sh, folder], **extra)


def test_a_bundle_has_the_wheels_of_each_platform_and_mends_what_was_cut_short(
    course: Path, links: Path, tmp_path: Path
):
    options = ("--platforms", "linux", "windows", "--python", "3.11", "3.12")
    assert bundle(course, tmp_path, *options, links=links).returncode == 0
    targets = json.loads((tmp_path / "bundle.json").read_text(encoding="utf-8"))["targets"]
    shared, own = "tiny_package-1.0-py3-none-any.whl", "tiny_windows-1.0-py3-none-win_amd64.whl"
    assert {name: sorted(target["wheels"]) for name, target in targets.items()} == {
        "linux-3.11": [shared], "linux-3.12": [shared],
        "windows-3.11": [shared, own], "windows-3.12": [shared, own],
    }  # fmt: skip
    sums = (tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = [line.split("  ")[1] for line in sums]
    there = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert {*listed, "SHA256SUMS"} == there
    assert {"install.sh", "install.ps1", "README.txt", "course/notebooks/00.ipynb"} <= there
    readme = (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert "Windows on Intel or AMD: Python 3.11, 3.12\n" in readme and "$" not in readme
    assert bundle(course, tmp_path, "--check").returncode == 0

    before = (tmp_path / "wheels" / shared).stat().st_mtime_ns
    with open(tmp_path / "wheels" / own, "rb+") as file:
        file.truncate(100)
    cut = bundle(course, tmp_path, "--check")
    assert cut.returncode == 1 and f"wheels/{own} is damaged or cut short" in cut.stderr
    assert bundle(course, tmp_path, *options, links=links).returncode == 0
    assert bundle(course, tmp_path, "--check").returncode == 0
    assert (tmp_path / "wheels" / shared).stat().st_mtime_ns == before  # not fetched again


def test_a_platform_without_wheels_is_named_and_the_others_are_made(
    course: Path, links: Path, tmp_path: Path
):
    done = bundle(
        course, tmp_path, "--platforms", "macos-arm64", "linux", "--python", "3.12", links=links
    )
    assert done.returncode == 1
    said = only_line(done.stderr)
    assert said.startswith("bundle: macos-arm64, Python 3.12: tiny-package>=1 has no wheel for it")
    assert "tiny-metal" in said
    targets = json.loads((tmp_path / "bundle.json").read_text(encoding="utf-8"))["targets"]
    assert [*targets] == ["linux-3.12"]
    assert bundle(course, tmp_path, "--check").returncode == 0


def test_without_a_network_or_after_an_interruption_what_arrived_stays(
    course: Path, links: Path, tmp_path: Path, tool, monkeypatch, capsys
):
    nowhere = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    options = ["--platforms", "windows", "--python", "3.12"]
    offline = bundle(course, tmp_path / "new", *options, **nowhere)
    assert offline.returncode == 1
    assert "the package index cannot be reached" in only_line(offline.stderr)

    arguments = ["--to", str(tmp_path / "half"), *options, "--find-links", str(links)]
    replace = os.replace

    def interrupted(source, target):
        if str(target).endswith("win_amd64.whl"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(tool.os, "replace", interrupted)
    assert tool.main(arguments) == 1
    assert "goes on" in only_line(capsys.readouterr().err)
    names = [path.name for path in (tmp_path / "half" / "wheels").iterdir()]
    assert names == ["tiny_package-1.0-py3-none-any.whl"]
    unfinished = bundle(course, tmp_path / "half", "--check")
    assert unfinished.returncode == 1 and "unfinished" in only_line(unfinished.stderr)
    monkeypatch.setattr(tool.os, "replace", replace)
    assert tool.main(arguments) == 0


def test_a_full_disk_leaves_no_half_file(links: Path, tmp_path: Path, tool, monkeypatch, capsys):
    arguments = ["--to", str(tmp_path), "--platforms", "windows", "--python", "3.12"]
    arguments += ["--find-links", str(links)]
    wheels, replace = sys.modules["bundle_wheels"], os.replace

    def full(source, target):
        if str(target).endswith("win_amd64.whl"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(wheels.os, "replace", full)
    assert tool.main(arguments) == 1
    assert "is full" in only_line(capsys.readouterr().err)
    names = [path.name for path in (tmp_path / "wheels").iterdir()]
    assert names == ["tiny_package-1.0-py3-none-any.whl"]  # what had arrived stays
    (tmp_path / "wheels" / names[0]).unlink()
    monkeypatch.setattr(wheels.os, "replace", replace)

    chosen = wheels.choose(["tiny-package"], "windows", "3.12", [f"--find-links={links}"])
    large = [wheels.Wheel(w.pin, w.name, w.url, w.sha256, 10**9) for w in chosen]
    monkeypatch.setattr(wheels.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(1e9))
    with pytest.raises(wheels.BundleError, match="need 2,000 MB, and 1,000 MB are free"):
        [*wheels.fetch_all(large, tmp_path / "wheels")]

    def cut_off(*_, **__):
        raise http.client.IncompleteRead(b"half")

    monkeypatch.setattr(wheels.urllib.request, "urlopen", cut_off)
    with pytest.raises(wheels.BundleError, match="Check the network, then try again"):
        [*wheels.fetch_all(chosen, tmp_path / "none")]


def test_uncommitted_changes_are_refused_or_left_out(course: Path, links: Path, tmp_path: Path):
    new = course / "notebooks" / "mine 肖像.ipynb"
    new.write_text("{}", encoding="utf-8")
    committed = (course / "requirements.txt").read_text(encoding="utf-8")
    (course / "requirements.txt").write_text("no-such-package\n", encoding="utf-8")
    try:
        refused = bundle(course, tmp_path, links=links)
        assert refused.returncode == 1 and "mine 肖像.ipynb" in only_line(refused.stderr)
        assert not [*tmp_path.iterdir()]
        options = ("--platforms", "linux", "--python", "3.12", "--allow-dirty")
        allowed = bundle(course, tmp_path, *options, links=links, PYTHONIOENCODING="ascii")
        assert allowed.returncode == 0 and "Left out, since uncommitted" in allowed.stdout
        assert [p.name for p in (tmp_path / "course" / "notebooks").iterdir()] == ["00.ipynb"]
    finally:
        new.unlink()
        (course / "requirements.txt").write_text(committed, encoding="utf-8")


def test_a_folder_with_other_things_stays_as_it_is(course: Path, links: Path, tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    for folder, words in ((tmp_path, "holds something else"), (course / "x", "outside of it")):
        refused = bundle(course, folder, links=links)
        assert refused.returncode == 1 and words in only_line(refused.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert not (course / "x").exists()
    copy = tmp_path / "other" / "copy"
    shutil.copytree(course, copy, ignore=shutil.ignore_patterns(".git"))
    refused = bundle(copy, tmp_path / "new", links=links, GIT_DIR=str(tmp_path))
    assert refused.returncode == 1 and "must be a git clone" in only_line(refused.stderr)
    git(copy.parent, "init", "-q")
    git(copy.parent, "add", "-A")
    git(copy.parent, "commit", "-qm", "Another project")
    refused = bundle(copy, tmp_path / "new", links=links)
    assert refused.returncode == 1 and "a git clone of its own" in only_line(refused.stderr)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', '{"lists": 1, "targets": [1]}'])
def test_another_programs_list_is_refused(text: str, tmp_path: Path, tool, capsys):
    (tmp_path / "bundle.json").write_text(text)
    assert tool.main(["--to", str(tmp_path)]) == 1
    assert "is no bundle's. Name a new" in only_line(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.json"]


def test_the_course_installs_without_an_index_and_keeps_a_learners_work(
    stick: Path, tmp_path: Path
):
    folder = tmp_path / "my course 肖像"
    first = install(stick, folder)
    assert first.returncode == 0, first.stderr
    environment = folder / ".venv"
    assert f"handed over ['start', '--check'] in {environment}" in first.stdout.splitlines()
    assert "The course is installed" in first.stdout

    lesson = folder / "notebooks" / "00.ipynb"
    lesson.write_text("my answers")
    (folder / "start.py.partial").write_text("of an interrupted copy")
    again = install(stick, folder, PYTHONIOENCODING="ascii")  # which lacks the folder's name
    assert again.returncode == 0 and "1 files were changed there and stay" in again.stdout
    assert lesson.read_text() == "my answers"

    later = run([SYSTEM_PYTHON, folder / "start.py"], https_proxy="http://127.0.0.1:9")
    assert later.returncode == 0 and "Installing" not in later.stdout

    (folder / ".from_bundle").write_text("another commit")
    other = install(stick, folder)
    assert other.returncode == 1 and "another version of the course" in only_line(other.stderr)


def test_a_wheel_cut_short_or_a_full_disk_is_told_before_anything_is_copied(
    stick: Path, tmp_path: Path, monkeypatch, capsys
):
    cut = tmp_path / "cut"
    shutil.copytree(stick, cut)
    (wheel,) = (cut / "wheels").glob("tiny_package*")
    wheel.write_bytes(wheel.read_bytes()[:-1])
    done = install(cut, tmp_path / "new")
    assert done.returncode == 1 and wheel.name in only_line(done.stderr)

    module = installer(stick)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: namedtuple("usage", "free")(1e3))
    assert module.main([str(tmp_path / "new")]) == 1
    assert "Make room" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


def test_a_python_or_a_machine_that_does_not_suit_is_told(
    stick: Path, tmp_path: Path, monkeypatch, capsys
):
    module = installer(stick)
    with monkeypatch.context() as patch:
        patch.setattr(module.sysconfig, "get_config_var", lambda _: 1)
        assert module.main([str(tmp_path / "new"), "--suits"]) == 1
        assert module.main([str(tmp_path / "new")]) == 1
        assert f"Python {MINE}t is not among them" in only_line(capsys.readouterr().err)
    with monkeypatch.context() as patch:
        patch.setattr(module.sysconfig, "get_platform", lambda: "win32")
        patch.setattr(module.sys, "platform", "win32")
        patch.setattr(module.sys, "maxsize", 2**31 - 1)
        assert module.main([str(tmp_path / "new"), "--suits"]) == 1
        assert module.main([str(tmp_path / "new")]) == 1
        assert "this Python is built for 32-bit win32" in only_line(capsys.readouterr().err)
    for version, words in (((3, 9, 2), "Python 3.9 is too old"), ((3, 99, 0), "3.99 is too new")):
        monkeypatch.setattr(module.sys, "version_info", version)
        assert module.main([str(tmp_path / "new"), "--suits"]) == 1
        assert module.main([str(tmp_path / "new")]) == 1
        assert words in only_line(capsys.readouterr().err)
    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    assert module.main([str(tmp_path / "new")]) == 1
    assert "this Python is built for macos-x86_64" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "new").exists()
    if os.name != "nt":
        none = subprocess.run(
            [shutil.which("sh"), stick / "install.sh"], env={"PATH": str(tmp_path)},
            capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert none.returncode == 1 and "there is no Python 3 here" in only_line(none.stderr)


def test_models_that_cannot_be_copied_are_told_apart_from_the_course(tmp_path: Path):
    module = installer()
    (tmp_path / "course_lib.py").touch()  # it cannot say where its models are
    with pytest.raises(module.InstallError, match="the course is installed, but not its models"):
        module.copy_models({"models/sd15/x": ""}, Path(sys.executable), tmp_path)
