"""Check a JupyterHub for a class, from the instructor's computer.

    python tools/check_hub.py https://hub.example.org --token TOKEN

The token comes from the page /hub/token of the hub, or from JUPYTERHUB_API_TOKEN. The check starts
the server of the token's owner (with a service's token: of --user), runs the set-up cell of
lesson 00 there, asks the kernel for its memory, threads, models and packages, and stops the server,
unless it ran before. Exit code 0: a learner can begin; 1: a line says what to mend.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

LESSON = Path(__file__).resolve().parent.parent / "notebooks" / "00_start_here.ipynb"
LEAST_GB = 2.0  # the largest lesson stays below it; docs/classroom.md has the table
MARK = "check_hub: "
# What the kernel is asked; it prints one line, since the set-up cell may print as well
PROBE = f"""
import json, os, platform
import course_lib, torch
from course_lib.doctor import check_packages
from course_lib.memory import system_memory
from course_lib.pipelines.shelf import model_states
print({MARK!r} + json.dumps({{
    "memory": system_memory(), "threads": torch.get_num_threads(),
    "quota": os.environ.get("CPU_LIMIT"), "cores": os.cpu_count(),
    "models": [state.spec.name for state in model_states() if state.path],
    "models_folder": os.environ.get("COURSE_MODELS"), "cache": os.environ.get("COURSE_CACHE"),
    "python": platform.python_version(), "torch": torch.__version__,
    "course": course_lib.__version__, "problems": check_packages(),
}}))
"""


class Problem(Exception):
    """Something that the instructor can mend; its text says how."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *details):
        return None  # the token is for the address that was given, and for no other


class Hub:
    """The REST interface of a hub and of the servers behind it.

    Parameters
    ----------
    address : str
        Of the hub, with https:// or http://, and with its prefix if it has one.
    token : str
    patience : float
        Seconds to wait for a server to start, and for a cell to run.
    """

    def __init__(self, address: str, token: str, patience: float):
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Problem(f"{address!r} is no address. Give one such as https://hub.example.org")
        prefix = parts.path.partition("/hub")[0].rstrip("/")
        self.origin, self.prefix = f"{parts.scheme}://{parts.netloc}", prefix
        self.headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        self.patience = patience
        self._open = urllib.request.build_opener(_NoRedirect).open

    def ask(self, method: str, path: str, body: dict | None = None, *, allow=()) -> dict:
        """Send one request and return the answer's JSON, with its status as "status".

        Raises
        ------
        Problem
            If there is no answer, or one above 299 that is not in `allow`.
        """
        data = None if body is None else json.dumps(body).encode()
        url = self.origin + path
        request = urllib.request.Request(url, data=data, headers=self.headers, method=method)
        try:
            with self._open(request, timeout=30) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
            if status not in allow:
                raise Problem(_explained(method, url, error)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Problem(f"{self.origin} does not answer: {reason}. Is it the address?") from None
        try:
            answer = json.loads(text or b"{}")
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Problem(f"{url} answers, but not as a JupyterHub does. Is it the hub's address?")
        return answer | {"status": status}

    def api(self, method: str, path: str, body: dict | None = None, *, allow=()) -> dict:
        return self.ask(method, f"{self.prefix}/hub/api{path}", body, allow=allow)

    @contextmanager
    def server(self, user: str) -> Iterator[tuple[str, float | None]]:
        """A running server: its path, and the seconds it took to start, None if it ran before."""
        account = f"/users/{urllib.parse.quote(user)}"
        begun = time.monotonic()
        ran = self.api("POST", f"{account}/server", allow=(400,))["status"] == 400
        try:
            path = self._ready(account, begun)
            yield path, None if ran else time.monotonic() - begun
        finally:
            if not ran:
                self.api("DELETE", f"{account}/server", allow=(400, 404))

    def _ready(self, account: str, begun: float) -> str:
        while time.monotonic() - begun < self.patience:
            answer = self.api("GET", account)
            server = answer.get("servers", {}).get("")
            if server and server.get("ready"):
                return server["url"]
            if not server and not answer.get("pending"):
                raise Problem("the server did not start. The hub's log says why.")
            time.sleep(0.5)
        raise Problem(
            f"the server was not ready after {self.patience:.0f} s. A first start may have to "
            "fetch the image: try again with a longer --patience, or look into the hub's log."
        )

    def run(self, server: str, cells: list[str]) -> list[str]:
        """Run cells in one fresh kernel; return what each printed."""
        kernel = self.ask("POST", f"{server}api/kernels", {})["id"]
        try:
            with closing(self._connect(f"{server}api/kernels/{kernel}/channels")) as channel:
                return [_run_cell(channel, code) for code in cells]
        finally:
            self.ask("DELETE", f"{server}api/kernels/{kernel}", allow=(404,))

    def _connect(self, path: str):
        import websocket  # comes with Jupyter's server

        address = self.origin.replace("http", "ws", 1) + path
        header = [f"Authorization: {self.headers['Authorization']}"]
        try:
            # No redirect here either: it would take the token along
            return websocket.create_connection(
                address, timeout=self.patience, header=header, redirect_limit=0
            )
        except (OSError, websocket.WebSocketException) as error:
            raise Problem(
                f"the kernel's channel cannot be opened ({error}). A proxy in front of the hub "
                "must let WebSocket connections through."
            ) from None


def _explained(method: str, url: str, error: urllib.error.HTTPError) -> str:
    target = error.headers.get("Location")
    if target:
        return f"{url} sends you on to {target}. Give the address that it leads to."
    if error.code in (401, 403):
        return (
            f"the hub refuses this token for {method} {urllib.parse.urlsplit(url).path} "
            f"({error.code}). Make a new one on its page /hub/token."
        )
    if error.code == 404:
        return f"{url} is not there (404). Is it the hub's address? A user exists once logged in."
    return f"{url} answers {error.code} {error.reason}. The hub's log says why."


def _run_cell(channel, code: str) -> str:
    """Send a cell to a kernel, by Jupyter's messaging protocol, and collect what it prints."""
    import websocket

    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "check_hub"}
    header |= {"username": "", "version": "5.3", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}}
    content |= {"allow_stdin": False, "stop_on_error": True}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}}
    printed = ""
    try:
        channel.send(json.dumps(message | {"content": content, "buffers": []}))
        while True:
            answer = json.loads(channel.recv())
            kind, said = answer.get("msg_type"), answer.get("content", {})
            if said.get("execution_state") in ("dead", "restarting"):
                raise Problem("the kernel ended: most likely the memory limit is too low.")
            if answer.get("parent_header", {}).get("msg_id") != header["msg_id"]:
                continue
            if kind == "stream" and said["name"] == "stdout":
                printed += said["text"]
            elif kind == "error":
                missing = said["ename"] == "ModuleNotFoundError"
                advice = ". Install the course there, as docs/classroom.md says." if missing else ""
                raise Problem(f"a cell fails there: {said['ename']}: {said['evalue']}{advice}")
            elif kind == "status" and said["execution_state"] == "idle":
                return printed
    except (OSError, ValueError, websocket.WebSocketException) as error:
        raise Problem(f"the kernel does not answer ({error or type(error).__name__}).") from None


def set_up_cell() -> str:
    """The code of lesson 00's set-up cell."""
    cells = json.loads(LESSON.read_text(encoding="utf-8"))["cells"]
    return next("".join(c["source"]) for c in cells if "setup" in c["metadata"].get("tags", []))


def check(hub: Hub, user: str | None) -> Iterator[tuple[bool, str, str]]:
    """One row after the other: whether it is well, what was checked, what was found."""
    yield True, "hub", f"JupyterHub {hub.api('GET', '')['version']}"
    owner = hub.api("GET", "/user")
    if not user and owner.get("kind") != "user":
        raise Problem(f"the token is the {owner.get('kind')}'s: say with --user whose server.")
    user = user or owner["name"]
    yield True, "token", f"of {owner['name']}; the server is that of {user}"
    with hub.server(user) as (path, seconds):
        took = "ran before, and stays" if seconds is None else f"started in {seconds:.0f} s"
        yield True, "server", took
        begun = time.monotonic()
        *_, printed = hub.run(path, [set_up_cell(), PROBE])
        yield (
            True,
            "lesson 00",
            f"the set-up cell ran; kernel and cell {time.monotonic() - begun:.0f} s",
        )
        line = next(line for line in printed.splitlines() if line.startswith(MARK))
        yield from kernel_rows(json.loads(line.removeprefix(MARK)))


def kernel_rows(found: dict) -> Iterator[tuple[bool, str, str]]:
    """Rows on what the kernel said of itself."""
    gigabytes = found["memory"] / 2**30
    enough = gigabytes >= LEAST_GB
    advice = "" if enough else f"; the lessons need {LEAST_GB:g} GB, better 3"
    yield enough, "memory", f"{gigabytes:.1f} GB{advice}"
    limit = float(found["quota"] or found["cores"])
    fits = found["threads"] <= max(1, math.ceil(limit))
    of = f"a quota of {limit:g}" if found["quota"] else f"{limit:g} cores; CPU_LIMIT is not set"
    advice = "" if fits else f"; set OMP_NUM_THREADS={max(1, int(limit))}"
    yield fits, "threads", f"{found['threads']} for {of}{advice}"
    mini = "mini" in found["models"]
    where = found["models_folder"] or "COURSE_MODELS is not set"
    yield mini, "models", f"{', '.join(found['models']) or 'none'} ({where})"
    cache = found["cache"] or "COURSE_CACHE is not set: lessons paint for themselves"
    yield True, "portraits", cache
    versions = f"course {found['course']}, Python {found['python']}, torch {found['torch']}"
    yield not found["problems"], "packages", " ".join([versions, *found["problems"]])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="the hub's, such as https://hub.example.org")
    parser.add_argument("--token", help="default: the variable JUPYTERHUB_API_TOKEN")
    parser.add_argument("--user", help="whose server to start; default: that of the token's owner")
    parser.add_argument(
        "--patience", type=float, default=300, metavar="SECONDS",
        help="how long the server may take to start, and a cell to run (default: 300)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    token = options.token or os.environ.get("JUPYTERHUB_API_TOKEN")
    well = True
    try:
        if not token:
            raise Problem("give a --token: the page /hub/token of the hub makes one.")
        for good, label, text in check(Hub(options.address, token, options.patience), options.user):
            well = well and good
            print(f"{'ok' if good else 'WRONG':<7}{label:<11}{text}", flush=True)
    except Problem as error:
        print(f"check_hub: {error}", file=sys.stderr)
        return 1
    print("A learner can begin." if well else "Mend the lines that begin with WRONG.")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
