"""``start.py`` in a small stand-in of the course, by a system Python that must not be touched."""

from __future__ import annotations

import importlib.util
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
SYSTEM_PYTHON = getattr(sys, "_base_executable", sys.executable)
HAND_OVER = "import sys; print('handed over', sys.argv[1:], 'in', sys.prefix)\n"


def write_wheel(folder: Path) -> None:
    """A package of one empty module, so that pip needs no network."""
    folder.mkdir()
    name = "tiny_package-1.0"
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_package.py", "")
        wheel.writestr(
            f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0"
        )
        wheel.writestr(
            f"{name}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any",
        )
        wheel.writestr(f"{name}.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course that needs one package; its command and its tests print what they are given."""
    folder = tmp_path_factory.mktemp("a course 肖像")
    shutil.copy(ROOT / "start.py", folder)
    write_wheel(folder / "wheels")
    (folder / "requirements.txt").write_text("# What it needs\ntiny-package>=1\n")
    (folder / "pyproject.toml").write_text("")
    (folder / "course_lib").mkdir()
    (folder / "course_lib" / "__main__.py").write_text(HAND_OVER)
    (folder / "pytest.py").write_text(HAND_OVER)
    return folder


def start(course: Path, *arguments: str, python=SYSTEM_PYTHON, wheels=True, **extra: str):
    """Run ``start.py`` from elsewhere, where pip refuses to touch the system and has no network."""
    others = ("PIP_", "CONDA", "PYTHON")
    env = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    env |= {"PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_INDEX": "1", "PYTHONIOENCODING": "utf-8",
            "https_proxy": "http://127.0.0.1:9"} | extra  # fmt: skip
    if wheels:
        env["PIP_FIND_LINKS"] = (course / "wheels").as_uri()
    return subprocess.run(
        [str(python), str(course / "start.py"), *arguments],
        env=env, cwd=course.parent, capture_output=True, encoding="utf-8",
        timeout=120 * patience(),
    )  # fmt: skip


def own_python(course: Path) -> Path:
    return course / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def load_start():
    """``start.py`` as a module, for what can only be had by pretending."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_network_one_sentence_says_so_and_the_next_run_goes_on(course: Path):
    # A stream of another encoding, as a pipe of Windows is, cannot print the folder's name
    offline = start(course, wheels=False, PYTHONIOENCODING="ascii")
    assert offline.returncode == 1
    assert "without a network" in offline.stderr.splitlines()[-1]
    assert "Traceback" not in offline.stderr

    first = start(course, "--check", "--port", "80")
    assert first.returncode == 0, first.stderr
    expected = f"handed over ['start', '--check', '--port', '80'] in {course / '.venv'}"
    assert first.stdout.splitlines()[-1] == expected


def test_a_second_start_installs_nothing_and_hands_over_to_the_tests(course: Path):
    assert start(course).returncode == 0
    again = start(course, "--test", "-x", "tests/test_a.py", wheels=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [
        f"handed over ['-x', 'tests/test_a.py'] in {course / '.venv'}"
    ]


def test_what_was_lost_or_is_new_is_installed_again(course: Path):
    assert start(course).returncode == 0
    remove = [own_python(course), "-m", "pip", "uninstall", "-y", "tiny-package"]
    subprocess.run(remove, check=True, capture_output=True)
    assert "Installing" in start(course).stdout
    subprocess.run([own_python(course), "-c", "import tiny_package"], check=True)

    with (course / "requirements.txt").open("a") as file:
        file.write("tiny-package<2\n")
    assert "Installing" in start(course).stdout
    assert "Installing" not in start(course).stdout


def test_an_environment_that_does_not_run_is_made_anew(course: Path):
    assert start(course).returncode == 0
    own_python(course).unlink()  # as after an upgrade of the system's Python
    again = start(course)
    assert again.returncode == 0, again.stderr
    assert "Making a virtual environment" in again.stdout


def test_the_active_environment_is_used_even_if_it_has_no_pip(course: Path, tmp_path: Path):
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", tmp_path / "mine"], check=True)
    python = tmp_path / "mine" / own_python(course).relative_to(course / ".venv")
    done = start(course, python=python)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"handed over ['start'] in {tmp_path / 'mine'}"


def test_a_disk_without_room_is_told_before_anything_is_fetched(monkeypatch, capsys):
    module, usage = load_start(), namedtuple("usage", "free")
    monkeypatch.setattr(module, "has_package", lambda name: name == "pip")
    monkeypatch.setattr(module, "prefers_cpu_builds", lambda: True)
    monkeypatch.setattr(module, "run", lambda *_, **__: pytest.fail("nothing can be installed"))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(1.2e9))
    assert not module.install()
    assert "need 2.5 GB; the disk of" in (said := capsys.readouterr().err) and "1.2 GB" in said

    # It fills up on the way
    monkeypatch.setattr(module, "has_package", lambda name: True)
    monkeypatch.setattr(module, "run", lambda *_, **__: 1)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(1e6))
    assert not module.install()
    assert f"the disk of {sys.prefix} is full" in capsys.readouterr().err


def test_without_venv_the_line_to_type_is_told(monkeypatch, capsys, tmp_path: Path):
    module = load_start()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert module.make_environment(tmp_path / "none") is None
    assert "sudo apt install python3-venv" in capsys.readouterr().err


def test_cpu_builds_are_for_linux_without_a_driver(monkeypatch):
    module = load_start()
    asked = []
    monkeypatch.setattr(module, "has_package", lambda name: name not in ("torch", "torchvision"))
    monkeypatch.setattr(module, "run", lambda command, **_: asked.append(command) or 1)
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module, "NEEDED_GB", {"cpu": 0, "cuda": 0})
    monkeypatch.setenv("PIP_NO_INDEX", "0")  # which is pip's "no"
    for reachable in (True, False):
        monkeypatch.setattr(module, "prefers_cpu_builds", lambda found=reachable: found)
        assert not module.install()
    with_cpu, fallback, ordinary = asked
    assert module.CPU_BUILDS in with_cpu and with_cpu[-2].startswith("torch>=")
    assert fallback == ordinary and ordinary[-1] == "requirements.txt"

    monkeypatch.setattr(module.urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked"))
    monkeypatch.setattr(module.os.path, "exists", lambda path: path == "/proc/driver/nvidia")
    assert not load_start().prefers_cpu_builds()


def test_an_older_python_is_told_in_one_sentence():
    program = (ROOT / "start.py").read_text(encoding="utf-8")
    pretend = f"import sys; sys.version_info = (3, 9)\n{program}"
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr.startswith("start.py: The course needs Python 3.10 or later")
    assert len(done.stderr.splitlines()) == 1
