"""``python -m course_lib preflight`` on a sound machine, a broken one, and none of the network."""

from __future__ import annotations

import json
import shutil
import socket
from collections import namedtuple
from datetime import datetime, timedelta, timezone

import nbformat
import pytest
from hub_server import HubServer

from course_lib import __main__ as cli
from course_lib import device, doctor, memory
from course_lib.classroom import lesson_times, machine_checks, network_checks
from course_lib.classroom.findings import Finding, ask, findings_as_text
from course_lib.classroom.lessons import course_lessons
from course_lib.pipelines import shelf

Usage = namedtuple("Usage", "total used free")
REPORT = device.DeviceReport("cpu", "x86_64, 2 threads", 8.0, None, "", [], None)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A small, sound machine, whatever the tests run on."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "0.bin").write_bytes(bytes(2_000_000))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "check_packages", lambda: [])
    monkeypatch.setattr(device, "device_report", lambda: REPORT)
    monkeypatch.setattr(memory, "system_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10e9, 0, 10e9))
    monkeypatch.setattr(lesson_times, "benchmark", lambda: 0.2)
    monkeypatch.setattr(machine_checks, "_cpu_quota", lambda: 0.0)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)


def table(capsys, *arguments: str) -> tuple[int, dict[str, Finding]]:
    """Exit code and rows of the command; a row is found by what it is about."""
    code = cli.main(["preflight", "--json", *arguments])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"] == "stop") == (code == 1)
    return code, {row["what"]: Finding(**row) for row in answer["findings"]}


def test_a_sound_machine_passes_and_a_class_on_it_is_scaled(machine, capsys):
    code, rows = table(capsys, "--offline")
    assert code == 0 and "memory of a hub" not in rows
    assert {row.verdict for row in rows.values()} <= {"ok", "warn"}
    for what in ("versions", "memory", "disk", "folders", "caches", "the mini", "lessons"):
        assert rows[what].verdict == "ok", rows[what]
    longest = max(lesson.seconds for lesson in course_lessons())
    assert "estimate" in rows["times of lessons"].found
    assert "2.0 x" in rows["times of lessons"].found
    assert f"{2 * longest / 60:.1f} min" in rows["times of lessons"].found
    code, rows = table(capsys, "--offline", "--students", "30")
    assert code == 0 and rows["memory of a hub"].verdict == "warn"
    assert "30 x 3 GB = 90 GB; this machine has room for 2" in rows["memory of a hub"].found
    assert "15 GB for homes" in rows["disk of a hub"].found
    assert "15 GB (99 GB" in rows["download"].found and "bundle" in rows["download"].advice
    assert cli.main(["preflight", "--offline"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("what ") and "Verdict: " in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_a_broken_machine_stops_and_says_what_to_do(machine, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10e9, 10e9, 1e8))
    monkeypatch.setattr(memory, "system_memory", lambda: 2**30)
    monkeypatch.setattr(doctor, "check_packages", lambda: ["peft is not installed."])
    monkeypatch.setattr(machine_checks, "_cpu_quota", lambda: 1.0)
    monkeypatch.setattr("torch.get_num_threads", lambda: 16)
    monkeypatch.setattr(machine_checks.time, "time", lambda: 1e9)  # the year 2001
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "cache"))

    def damaged(spec):
        raise ValueError("unet.safetensors is damaged")

    def nothing():
        raise RuntimeError("no device answers")

    monkeypatch.setattr(shelf, "verify_shipped", damaged)
    monkeypatch.setattr(lesson_times, "benchmark", nothing)
    monkeypatch.setattr(machine_checks, "lessons_folder", lambda: tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(machine_checks, "_PORT", taken.getsockname()[1])
        code, rows = table(capsys, "--offline")
    assert code == 1
    for what in ("versions", "memory", "disk", "folders", "the mini", "lessons"):
        assert rows[what].verdict == "stop" and rows[what].advice, rows[what]
    assert "peft is not installed" in rows["versions"].found
    assert "is in use; JupyterLab will take another" in rows["port"].found
    assert rows["processors"].advice == "Set OMP_NUM_THREADS=1."
    assert rows["clock"].verdict == rows["caches"].verdict == "warn"
    assert "no device answers" in rows["times of lessons"].found  # and the rest went on


def test_the_network_is_asked_without_saying_who_asks(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with HubServer({"openai/clip-vit-large-patch14": {"a": b""}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        _, index, answer = network_checks.check_network(1)
        assert index.verdict == "warn" and "cannot be reached" in index.found
        assert answer == Finding("model hub", "answers")
        headers = {name.lower(): text for _, sent in hub.requests for name, text in sent.items()}
        assert "authorization" not in headers and headers["user-agent"] == "portrait-diffusion"
        later = datetime.now(timezone.utc) + timedelta(hours=1)
        with monkeypatch.context() as patch:
            patch.setattr(network_checks, "_first_bytes", lambda url: (b"{", later))
            assert "differ by 60 min" in network_checks._hub().found
        hub.mode = "portal"
        assert "log-in page" in network_checks._hub().found
    monkeypatch.setenv("HF_ENDPOINT", "ftp://nowhere")
    first, *_, last = ask("network", lambda: network_checks.check_network(1))
    assert first.what == "download" and "HF_ENDPOINT must be" in last.found
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    gone = network_checks._hub()
    assert gone.verdict == "warn" and "prefetch" in gone.advice
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert network_checks._hub().verdict == "ok"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--students", "0"], "from 1 to 2000"),
        (["--students", "99999"], "from 1 to 2000"),
        (["--students", "many"], "not 'many'"),
        (["--students", "²"], "not '²'"),
        (["--lessons", "42"], "Unknown lesson '42'"),
        (["--lessons", "00", "--all"], "not allowed with"),
    ],
)
def test_wrong_arguments_are_exit_code_2(capsys, arguments, part):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["preflight", *arguments])
    assert stopped.value.code == 2 and part in capsys.readouterr().err


def test_lessons_are_measured_and_a_failing_one_stops(monkeypatch, tmp_path, capsys):
    lessons = course_lessons()[:2]
    for lesson, code in zip(lessons, ("1 + 1", "1 / 0"), strict=True):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        nbformat.write(notebook, tmp_path / lesson.file)
    monkeypatch.setattr(lesson_times, "lessons_folder", lambda: tmp_path)
    before = [path.read_bytes() for path in tmp_path.iterdir()]
    good, bad = lesson_times.measured_times(lessons)
    assert capsys.readouterr().err.splitlines() == [
        "Running lesson 00 ...",
        "Running lesson 01 ...",
    ]
    assert good.verdict == "ok" and "measured (README: 17 s)" in good.found
    assert bad.verdict == "stop" and "ZeroDivisionError" in bad.found
    assert [path.read_bytes() for path in tmp_path.iterdir()] == before


def test_the_port_of_a_server_that_was_just_stopped_is_free(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        browser = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # the server closes first, and waits for late packets
    browser.close()
    monkeypatch.setattr(machine_checks, "_PORT", port)
    assert machine_checks.check_ports() == Finding("port", f"{port} is free")


def test_a_check_that_fails_itself_is_a_row():
    (row,) = ask("memory", lambda: 1 / 0)
    assert row.verdict == "warn" and "division" in row.found
    assert "warn" in findings_as_text([row])
