"""What the check of a hub asks a JupyterHub and the servers behind it, over HTTP and WebSocket."""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager


class Problem(Exception):
    """Something that the instructor can mend; its text says how."""


class _Answer(dict):
    """JSON of a hub or of a server; what it should have and lacks is told."""

    def __missing__(self, name: str):
        raise Problem(f"the answer has no {name!r}, so it is no JupyterHub's. Is it the address?")


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
        try:
            parts = urllib.parse.urlsplit(address)
        except ValueError:  # "http://[" and the like
            parts = urllib.parse.urlsplit("")
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
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Problem(f"{self.origin} does not answer: {reason}. Is it the address?") from None
        try:
            answer = json.loads(text or b"{}")
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Problem(f"{url} answers, but not as a JupyterHub does. Is it the hub's address?")
        return _Answer(answer, status=status)

    def _delete(self, path: str) -> None:
        """Stop a kernel or a server; if that fails, it hides no failure before it."""
        before = sys.exc_info()[1]
        try:
            self.ask("DELETE", path, allow=(400, 404))
        except Problem as error:
            raise before or error from None

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
                self._delete(f"{self.prefix}/hub/api{account}/server")

    def _ready(self, account: str, begun: float) -> str:
        while time.monotonic() - begun < self.patience:
            answer = self.api("GET", account)
            server = answer.get("servers", {}).get("")
            if server and server.get("ready"):
                if not server["url"].startswith("/"):
                    raise Problem(f"only servers below {self.origin} can be checked, and this is "
                                  f"at {server['url']}. Run lesson 00 there by hand.")  # fmt: skip
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
            self._delete(f"{server}api/kernels/{kernel}")

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
