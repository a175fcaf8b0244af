"""``python -m course_lib``: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from course_lib import __main__ as cli
from course_lib import doctor
from course_lib.classroom import lessons
from course_lib.pipelines import grid, load_pipeline, load_settings, prompt_notices, save_png
from course_lib.pipelines.metadata import attach

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def quick(monkeypatch):
    """Leave out what takes long; the whole check runs once, in a process of its own."""
    monkeypatch.setattr(cli, "check_packages", lambda: [])
    monkeypatch.setattr(cli, "try_diffusion", lambda: 0.1)
    monkeypatch.setattr(cli, "paint_first_portrait", lambda path: None)
    monkeypatch.setattr(cli, "lessons_folder", lambda: Path("notebooks"))


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
    monkeypatch.setattr(doctor, "requirements", lambda: requirements)
    problems = doctor.check_packages()
    assert len(problems) == 3
    assert problems[0] == "torch 2.15.0 is installed, but the course needs >=99."
    assert problems[1] == "anywidget is not installed."
    assert problems[2].startswith("no-such-thing 1.2 does not load")


def test_missing_lessons_and_a_wrong_device_are_explained(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DEVICE", "quantum")
    assert "cuda, mps, xpu, cpu" in failure(capsys, "start", "--check")
    monkeypatch.setattr(lessons, "FIRST_LESSON", "00_not_there.ipynb")
    with pytest.raises(FileNotFoundError, match="00_not_there.ipynb"):
        lessons.lessons_folder()


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
    assert "63 passed. Go on with lesson" in capsys.readouterr().out


def test_on_a_hosted_notebook_no_second_jupyter_starts(quick, monkeypatch, capsys):
    monkeypatch.setattr(cli, "open_lab", lambda *a, **k: pytest.fail("started JupyterLab"))
    monkeypatch.setattr(cli, "hosted_platform", lambda: "colab")
    assert cli.main(["start"]) == 0
    assert "Colab already" in capsys.readouterr().out


def test_doctor_reports_and_fails_where_something_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "requirements", lambda: [("torch", ">=2.6", "2.7")])
    monkeypatch.setattr(doctor, "check_packages", lambda: [])
    assert cli.main(["doctor"]) == 0
    output = capsys.readouterr().out
    texts = ("Device:", "Python 3", "Free disk:", "HF_HUB_OFFLINE", "torch", "2.7")
    for text in (*texts, "Models:", "ships with the course", "sd-turbo "):
        assert text in output
    monkeypatch.setattr(doctor, "check_packages", lambda: ["torch does not load: x"])
    assert cli.main(["doctor"]) == 1
    assert "Problem: torch" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "COURSE_DEVICE", "COURSE_HUB_TIMEOUT"])
def test_doctor_goes_on_where_a_setting_is_wrong(monkeypatch, capsys, name):
    monkeypatch.setattr(doctor, "check_packages", lambda: [])
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, "http://[::1")
    assert cli.main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "Problem: the " in output and name in output.partition("Problem:")[2]
    assert "All packages load." in output and "Traceback" not in output


def test_doctor_survives_whatever_fails(monkeypatch, capsys):
    def fail(*arguments):
        raise RuntimeError("broken")

    for module, names in (
        (doctor, ("device_report", "system_memory", "requirements", "check_packages")),
        (doctor.commands, ("describe_hub", "describe_models")),
        (doctor.shutil, ("disk_usage",)),
    ):
        for one in names:
            monkeypatch.setattr(module, one, fail)
    assert cli.main(["doctor"]) == 1
    output = capsys.readouterr().out
    for what in ("the device", "the disk", "the model hub", "the models", "the packages"):
        assert f"Problem: {what}: broken" in output


def test_a_copy_of_the_package_without_the_data_says_so(monkeypatch, capsys, tmp_path):
    """As after ``pip install .``, which takes the package alone."""
    monkeypatch.setattr("course_lib.pipelines.shelf.SHIPPED", tmp_path / "data" / "models")
    monkeypatch.setattr(
        "course_lib.pipelines.painting._loaded", {}
    )  # other tests may have loaded it
    monkeypatch.setattr(doctor, "check_packages", lambda: [])
    assert cli.main(["doctor"]) == 1
    assert "Problem: the mini: the course's mini" in capsys.readouterr().out
    message = failure(capsys, "paint", "a man", "-o", tmp_path / "p.png")
    assert "is not part of this installation" in message
    assert "pip install -e ." in message and message.count("\n") == 1


def test_broken_packages_are_named(monkeypatch):
    def leave(name):
        raise SystemExit("no licence")

    requirements = [("tqdm", ">=4", "4.66"), ("torch", ">=2.6", "unknown version")]
    monkeypatch.setattr(doctor, "requirements", lambda: requirements)
    monkeypatch.setattr(doctor.importlib, "import_module", leave)
    assert doctor.check_packages() == [
        "tqdm 4.66 does not load: no licence",
        "torch unknown version is installed, but the course needs >=2.6.",
    ]


@pytest.fixture
def painted(monkeypatch, tmp_path):
    """Run in an empty folder, without the models that the user may have."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))


def test_paint_writes_portraits_that_can_be_painted_again(painted, capsys):
    short = ["--steps", "2", "--guidance", "2"]
    assert cli.main(["paint", "a smiling woman", "-o", "a/p.png", "-n", "2", *short,
                     "--negative", "hat", "--seed", "4"]) == 0  # fmt: skip
    written = [Path("a/p-1.png"), Path("a/p-2.png")]
    assert capsys.readouterr().out.split() == [*map(str, written)]
    recipe = load_settings(written[1])
    assert (recipe["seed"], recipe["steps"], recipe["negative_prompt"]) == (5, 2, "hat")
    with Image.open(written[1]) as image:
        assert image.size == (128, 128)
        assert "Negative prompt: hat\nSteps: 2, Sampler: DPM++ 2M" in image.info["parameters"]
    assert cli.main(["paint", "--from-image", "a/p-2.png", "-o", "again.png"]) == 0
    with Image.open(written[1]) as first, Image.open("again.png") as again:
        extrema = ImageChops.difference(first, again).getextrema()
    assert max(high for _, high in extrema) <= 2  # painted alone: rounding may differ
    assert cli.main(["paint", "--from-image", "a/p-2.png", "--seed", "6", "-o", "other.png"]) == 0
    assert load_settings("other.png") == {**recipe, "seed": 6}
    assert cli.main(["paint", "--from-image", "a/p-1.png", "--grid", "-n", "1", "--steps", "1,2",
                     "--guidance", "1", "-o", "g.png"]) == 0  # fmt: skip
    with Image.open("g.png") as sheet:
        assert sheet.width > 2 * 128
    assert load_settings("g.png")["prompt"] == "a smiling woman"


def test_what_paint_cannot_do_is_explained(painted, capsys, tmp_path):
    assert "say what to paint" in failure(capsys, "paint")
    assert "--output must end in .png" in failure(capsys, "paint", "x", "-o", "x.jpg")
    assert "Did you mean 'mini'" in failure(capsys, "paint", "x", "--model", "minni")
    assert "with --grid" in failure(capsys, "paint", "x", "--steps", "1,2")
    assert "steps must be" in failure(capsys, "paint", "x", "--steps", "0")
    assert "no picture" in failure(capsys, "paint", "--from-image", "nowhere.png")
    message = failure(capsys, "paint", "x", "--model", "sd15")
    assert "HF_HUB_OFFLINE" in message and 'load_pipeline("mini")' in message
    (tmp_path / "file").write_text("")
    short = ("--steps", "1", "--guidance", "1")
    assert "cannot write" in failure(capsys, "paint", "x", "-o", "file/p.png", *short)


SHORT = ("--steps", "1", "--guidance", "1")


def test_words_that_the_mini_does_not_know_are_told(painted, capsys):
    assert cli.main(["paint", "a dog, no hat", *SHORT]) == 0
    output = capsys.readouterr()
    assert output.out == "portrait.png\n"
    assert "course_lib: the mini does not know: dog" in output.err
    assert "does not follow 'no hat'" in output.err
    assert "the weight 99" in failure(capsys, "paint", "a (hat:99) man", *SHORT)


def test_the_help_shows_prompts_that_the_mini_knows(capsys):
    with pytest.raises(SystemExit):
        cli.main(["paint", "--help"])
    shown = re.findall(r'course_lib paint "([^"]+)"', capsys.readouterr().out)
    pipe = load_pipeline("mini", "cpu", verbose=False)
    assert len(shown) >= 4
    assert [prompt_notices(pipe, prompt) for prompt in shown] == [[]] * len(shown)


def test_a_grid_from_a_picture_keeps_its_recipe(painted, monkeypatch):
    recipe = {
        "prompt": "a man", "model": "mini", "seed": 4, "steps": 3, "guidance": 2.0, "version": "x",
        "scheduler": "ddim", "height": 64, "width": 96, "negative_prompt": "hat",
    }  # fmt: skip
    image = Image.new("RGB", (8, 8))
    save_png(attach(image, recipe), "a.png")
    save_png(attach(image, {**recipe, "model": "own"}), "b.png")
    given = {}
    monkeypatch.setattr(grid, "paint_grid", lambda **options: given.update(options) or image)
    assert cli.main(["paint", "--from-image", "a.png", "--grid", "--steps", "1,2"]) == 0
    assert given == {
        "prompt": "a man", "model": "mini", "seeds": range(4, 6), "steps": [1, 2],
        "guidances": [2.0], "scheduler": "ddim", "size": (64, 96), "negative_prompt": "hat",
    }  # fmt: skip
    assert cli.main(["paint", "--from-image", "b.png", "--grid"]) == 1  # by no other model


def test_a_full_disk_keeps_the_old_pictures(painted, capsys, monkeypatch):
    Path("portrait.png").write_bytes(b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = r"write portrait\.png \(No space left on device: it needs .*B, and .*B are free"
    assert re.search(message, failure(capsys, "paint", "a man", *SHORT))
    with pytest.raises(cli.CourseError, match=message):
        cli.paint_first_portrait(Path("portrait.png"))
    assert Path("portrait.png").read_bytes() == b"old"
    assert os.listdir() == ["portrait.png"]


def start(folder, *arguments, **environment):
    """The command line in a process of its own."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_DEVICE": "cpu", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "course_lib", *arguments], cwd=folder, env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip


def test_pictures_are_saved_whatever_the_output_can_encode(tmp_path):
    painting = start(
        tmp_path, "paint", "a dog \u65e5", *SHORT, "-n", "2", "-o", "\u65e5.png",
        PYTHONIOENCODING="cp1252",
    )  # fmt: skip
    out, err = painting.communicate()
    assert painting.returncode == 0, err
    assert sorted(os.listdir(tmp_path)) == ["\u65e5-1.png", "\u65e5-2.png"]
    assert out.split() == [r"\u65e5-1.png", r"\u65e5-2.png"]
    assert r"does not know: dog; \u65e5" in err


@pytest.mark.parametrize("arguments", [["prefetch"], ["--help"]])
def test_a_reader_that_has_gone_is_no_error(tmp_path, arguments):
    process = start(tmp_path, *arguments)  # as in a pipe to "head -1"
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)


if os.name == "posix":  # Windows cannot send SIGINT to one process alone

    @pytest.mark.parametrize("begun", ["torch", "course_lib: the mini does not know: dog"])
    def test_an_interrupt_leaves_neither_a_traceback_nor_a_file(tmp_path, begun):
        """While PyTorch is imported, and while it paints."""
        options = {"PYTHONPROFILEIMPORTTIME": "1"}  # each import is a line on stderr
        process = start(
            tmp_path, "paint", "a dog", "--steps", "1000", "--scheduler", "ddim", **options
        )
        assert any(begun in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate()
        assert "Traceback" not in rest and process.returncode in (130, -signal.SIGINT)
        assert os.listdir(tmp_path) == []


def test_without_docstrings_one_sentence_says_why_not(tmp_path):
    out, err = (process := start(tmp_path, "doctor", PYTHONOPTIMIZE="2")).communicate()
    assert process.returncode == 1 and out == ""
    assert err.startswith("course_lib: Python's option -OO") and err.count("\n") == 1


def test_prefetch_lists_verifies_and_explains(painted, capsys):
    assert cli.main(["prefetch"]) == 0
    assert "sd15" in capsys.readouterr().out
    assert cli.main(["prefetch", "mini", "--verify"]) == 0
    assert "mini: whole" in capsys.readouterr().out
    assert cli.main(["prefetch", "sd15", "--verify"]) == 1
    assert "sd15: not whole" in capsys.readouterr().out
    assert "HF_HUB_OFFLINE" in failure(capsys, "prefetch", "sd15", "--to", "bundle")


@pytest.mark.parametrize(
    "arguments", [[], ["draw"], ["start", "--port", "many"], ["paint", "x", "--steps", "few"]]
)
def test_wrong_arguments_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
