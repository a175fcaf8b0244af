"""The check of a hub against a small hub on this machine, whose kernel runs what it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import sys
import threading
from pathlib import Path

import pytest
from tornado import httpserver, netutil, web, websocket

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check_hub  # noqa: E402  (after the path)

TOKEN = "of-ann"


class Answers(web.RequestHandler):
    """The hub's and the server's REST interface, as far as the check asks."""

    def prepare(self):
        self.hub = self.settings["hub"]
        self.hub.asked.append((self.request.method, self.request.path))
        if self.hub.mode == "moved":
            self.redirect(f"https://elsewhere.example{self.request.path}")
        elif self.hub.mode == "no hub":
            self.finish("<html>hello</html>")
        elif self.hub.mode == "other service":
            self.finish({"hello": "world"})
        elif self.request.path != "/hub/api" and self.request.headers["Authorization"] != (
            f"token {TOKEN}"
        ):
            self.set_status(403)
            self.finish({"message": "Forbidden"})

    def get(self, path):
        if path == "hub/api":
            return self.finish({"version": "5.3.0"})
        if path == "hub/api/user":
            return self.finish({"name": "ann", "kind": self.hub.kind})
        host = "https://ann.example" if self.hub.mode == "subdomains" else ""
        server = {"": {"ready": self.hub.mode != "slow", "url": f"{host}/user/ann/"}}
        failed = self.hub.mode == "spawn fails"
        self.finish({"servers": {} if failed else server, "pending": None})

    def post(self, path):
        if path.endswith("/kernels"):
            return self.finish({"id": "k1"})
        if "nobody" in path:
            return self.send_error(404)
        self.set_status(400 if self.hub.mode == "running" else 201)

    def delete(self, path):
        self.set_status(500 if self.hub.mode == "all dies" else 204)


class Kernel(websocket.WebSocketHandler):
    """Runs each cell in this process and answers in Jupyter's messages."""

    def open(self):
        self.names = {}

    def on_message(self, text):
        message = json.loads(text)
        code, mode = message["content"]["code"], self.settings["hub"].mode

        def say(kind, **content):
            parent = {"parent_header": message["header"]}
            self.write_message(json.dumps({"msg_type": kind, "content": content} | parent))

        if mode in ("kernel dies", "all dies"):
            return self.write_message(
                json.dumps({"msg_type": "status", "content": {"execution_state": "restarting"}})
            )
        if mode == "no course":
            return say("error", ename="ModuleNotFoundError", evalue="No module named 'course_lib'")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self.names)
        if mode != "silent":
            say("stream", name="stdout", text=printed.getvalue())
        say("status", execution_state="idle")


class FakeHub:
    """A hub at 127.0.0.1 in a thread of its own; `mode` is the name of what is wrong with it."""

    def __init__(self):
        self.mode, self.kind, self.asked = "normal", "user", []
        self.loop = asyncio.new_event_loop()
        (self.socket,) = netutil.bind_sockets(0, "127.0.0.1", socket.AF_INET)
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        asyncio.set_event_loop(self.loop)
        routes = [("/user/ann/api/kernels/k1/channels", Kernel), (r"/(.*)", Answers)]
        server = httpserver.HTTPServer(web.Application(routes, hub=self, log_function=lambda *_: 0))
        server.add_sockets([self.socket])
        self.loop.run_forever()
        self.loop.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.socket.close()


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    monkeypatch.delenv("CPU_LIMIT", raising=False)
    fake = FakeHub()
    yield fake
    fake.stop()


def run(hub: FakeHub, *options: str, address: str | None = None) -> int:
    return check_hub.main([address or hub.address, "--token", TOKEN, "--patience", "120", *options])


def test_a_hub_in_order_is_described_and_left_as_it_was(hub, capsys):
    code = run(hub)
    lines = capsys.readouterr().out.splitlines()
    found = {line[7:17].strip(): line for line in lines[:-1]}
    assert list(found) == ["hub", "token", "server", "lesson 00", "memory", "threads", "models",
                           "portraits", "packages"]  # fmt: skip
    assert "JupyterHub 5.3.0" in found["hub"] and "mini" in found["models"]
    # The kernel here is this process: what it says of itself is true
    import torch

    assert f"torch {torch.__version__}" in found["packages"]
    assert f"{torch.get_num_threads()} for" in found["threads"]
    assert code == 0 and lines[-1] == "A learner can begin."
    assert hub.asked[-2:] == [
        ("DELETE", "/user/ann/api/kernels/k1"),
        ("DELETE", "/hub/api/users/ann/server"),
    ]


def test_a_server_that_ran_before_stays(hub, capsys):
    hub.mode = "running"
    assert run(hub) == 0
    assert "ran before, and stays" in capsys.readouterr().out
    assert ("DELETE", "/hub/api/users/ann/server") not in hub.asked


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("moved", "sends you on to https://elsewhere.example/hub/api. Give the address"),
        ("no hub", "not as a JupyterHub does. Is it the hub's address?"),
        ("other service", "the answer has no 'version', so it is no JupyterHub's."),
        ("subdomains", "this is at https://ann.example/user/ann/. Run lesson 00 there by hand."),
        ("silent", "nothing that it printed came back"),
        ("all dies", "the kernel ended: most likely the memory limit is too low."),
        ("spawn fails", "the server did not start. The hub's log says why."),
        ("slow", "was not ready after 1 s"),
        ("no course", "No module named 'course_lib'. Install the course there"),
        ("kernel dies", "the kernel ended: most likely the memory limit is too low."),
    ],
)
def test_what_is_wrong_is_one_sentence(hub, capsys, mode, words):
    hub.mode = mode
    assert run(hub, *(["--patience", "1"] if mode == "slow" else [])) == 1
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1
    started = ("POST", "/hub/api/users/ann/server") in hub.asked
    assert (("DELETE", "/hub/api/users/ann/server") in hub.asked) == started


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hub.example.org", "--token", "x"], "'hub.example.org' is no address. Give one such as"),
        (["HERE"], "set JUPYTERHUB_API_TOKEN, or give --token"),
        (["HERE", "--token", "wrong"], r"refuses this token for GET /hub/api/user (403)"),
        (["HERE", "--token", TOKEN, "--user", "nobody"], "A user exists once logged in."),
        (["http://127.0.0.1:9", "--token", "x"], "http://127.0.0.1:9 does not answer"),
        (["http://[", "--token", "x"], "'http://[' is no address."),
        (["http://127.0.0.1:9/a b", "--token", "x"], "URL can't contain control characters"),
    ],
)
def test_bad_input_is_one_sentence(hub, capsys, arguments, words):
    assert check_hub.main([hub.address if a == "HERE" else a for a in arguments]) == 1
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1


def test_a_services_token_needs_a_user(hub, capsys):
    hub.kind = "service"
    assert run(hub) == 1
    assert "the token is the service's: say with --user whose server." in capsys.readouterr().err


def test_too_little_memory_and_too_many_threads_are_wrong():
    found = {
        "memory": 2**30, "threads": 8, "quota": "1.5", "cores": 16, "models": [], "course": "1",
        "models_folder": None, "cache": None, "python": "3.12", "torch": "2.6", "problems": ["x."],
    }  # fmt: skip
    rows = {label: (good, text) for good, label, text in check_hub.kernel_rows(found)}
    assert rows["memory"] == (False, "1.0 GB; the lessons need 2 GB, better 3")
    assert rows["threads"] == (False, "8 for a quota of 1.5; set OMP_NUM_THREADS=1")
    assert not rows["models"][0] and not rows["packages"][0] and rows["portraits"][0]
    for odd in ("2 cores", "inf", "nan"):
        (_, row, *rest) = check_hub.kernel_rows(found | {"quota": odd})
        assert row[:2] == (False, "threads") and f"CPU_LIMIT is {odd!r}" in row[2] and rest
