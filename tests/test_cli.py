"""``python -m course_lib``: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from course_lib import __main__ as cli

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def quick(monkeypatch):
    """Leave out what takes long; the whole check runs once, in a process of its own."""
    monkeypatch.setattr(cli, "check_packages", lambda: [])
    monkeypatch.setattr(cli, "try_diffusion", lambda: 0.1)
    monkeypatch.setattr(cli, "paint_first_portrait", lambda path: None)
    monkeypatch.setattr(cli, "find_notebooks", lambda: Path("notebooks"))


def test_the_whole_check_in_a_fresh_process(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_DEVICE": "cpu"}
    result = subprocess.run(
        [sys.executable, "-m", "course_lib", "start", "--check"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Check: OK" in result.stdout and "Device:" in result.stdout
    with Image.open(tmp_path / "portrait.png") as image:
        assert image.size == (512, 512) and image.mode == "RGB"
        # a picture, not a blank: many colours
        assert len(image.getcolors(maxcolors=512 * 512)) > 1000


def failure(capsys, *arguments):
    assert cli.main([*map(str, arguments)]) == 1
    output = capsys.readouterr()
    assert "Traceback" not in output.err and output.err.startswith("course_lib: ")
    return output.err


def test_an_unwritable_output_is_explained(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "check_packages", lambda: [])
    (tmp_path / "file").write_text("")
    assert "--output" in failure(capsys, "start", "--check", "-o", tmp_path / "file" / "p.png")
    assert "--output" in failure(capsys, "start", "--check", "-o", tmp_path / "p.nopicture")


def test_a_busy_port_and_an_impossible_one_are_explained(quick, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in failure(capsys, "start", "--port", port)
    assert "65535" in failure(capsys, "start", "--port", 70000)


def test_missing_packages_are_named(quick, capsys, monkeypatch):
    monkeypatch.setattr(cli, "check_packages", lambda: ["tqdm is not installed."])
    message = failure(capsys, "start", "--check")
    assert "tqdm is not installed." in message and "pip install -r requirements.txt" in message


def test_the_package_check_finds_what_is_wrong(monkeypatch):
    requirements = [
        ("tqdm", ">=4", "4.66"),
        ("torch", ">=99", "2.15.0"),
        ("anywidget", ">=0.9", None),
        ("no-such-thing", ">=1", "1.2"),
    ]
    monkeypatch.setattr(cli, "_requirements", lambda: requirements)
    problems = cli.check_packages()
    assert len(problems) == 3
    assert problems[0] == "torch 2.15.0 is installed, but the course needs >=99."
    assert problems[1] == "anywidget is not installed."
    assert problems[2].startswith("no-such-thing 1.2 does not load")


def test_missing_lessons_and_a_wrong_device_are_explained(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DEVICE", "quantum")
    assert "cuda, mps, xpu, cpu" in failure(capsys, "start", "--check")
    monkeypatch.setattr(cli, "FIRST_LESSON", "00_not_there.ipynb")
    with pytest.raises(cli.CourseError, match="00_not_there.ipynb"):
        cli.find_notebooks()


class FakeLab:
    """Stands in for the JupyterLab process; the first wait is interrupted, as by Ctrl+C."""

    def __init__(self, command, cwd):
        FakeLab.command, FakeLab.cwd, self.waits = command, cwd, 0

    def wait(self):
        self.waits += 1
        if self.waits == 1:
            raise KeyboardInterrupt
        return 0


def test_jupyterlab_opens_the_first_lesson(quick, monkeypatch, capsys):
    monkeypatch.setattr(cli.subprocess, "Popen", FakeLab)
    monkeypatch.setattr(cli, "hosted_platform", lambda: None)
    monkeypatch.setattr(cli, "_require_free_port", lambda port: None)
    assert cli.main(["start", "--no-browser", "--port", "8123"]) == 0
    assert FakeLab.command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in FakeLab.command
    assert "--no-browser" in FakeLab.command and "--port=8123" in FakeLab.command


def test_on_a_hosted_notebook_no_second_jupyter_starts(quick, monkeypatch, capsys):
    monkeypatch.setattr(cli, "open_lab", lambda *a, **k: pytest.fail("started JupyterLab"))
    monkeypatch.setattr(cli, "hosted_platform", lambda: "colab")
    assert cli.main(["start"]) == 0
    assert "Colab already" in capsys.readouterr().out


def test_doctor_reports_and_fails_where_something_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_requirements", lambda: [("torch", ">=2.6", "2.7")])
    monkeypatch.setattr(cli, "check_packages", lambda: [])
    assert cli.main(["doctor"]) == 0
    output = capsys.readouterr().out
    for text in ("Device:", "Python 3", "Free disk:", "HF_HUB_OFFLINE", "torch", "2.7"):
        assert text in output
    monkeypatch.setattr(cli, "check_packages", lambda: ["torch does not load: x"])
    assert cli.main(["doctor"]) == 1
    assert "Problem: torch" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["paint"], ["start", "--port", "many"]])
def test_wrong_arguments_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
