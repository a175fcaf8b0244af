"""A model hub on this machine, well-behaved or not, for tests of what fetches models.

It speaks as much of the hub's protocol as the course and `huggingface_hub` use: the list of files
of a repository at a revision, and the files themselves, whole or from a byte on.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = (".safetensors", ".bin", ".ckpt")  # stored apart and named by SHA-256, as the hub does


class HubServer(ThreadingHTTPServer):
    """Serve `repositories`, a mapping from id to a folder or to {name: bytes}.

    `mode` is the name of the misbehaviour, "normal" for none; it may change while the server runs.
    `listing` replaces the list of files, and `location` is where files are redirected to.
    `requests` collects (path, headers) of everything that was asked, `sent` counts bytes of files.
    """

    daemon_threads = True

    def __init__(self, repositories, mode: str = "normal") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {key: _contents(value) for key, value in repositories.items()}
        self.mode = mode
        self.listing: bytes | None = None
        self.location: str | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        self.closing = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *details) -> None:
        self.closing.set()  # handlers that stand still go on and end
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is what some tests are about."""

    def asked(self, part: str) -> list[str]:
        return [path for path, _ in self.requests if part in path]


def _contents(value) -> dict[str, bytes]:
    if isinstance(value, dict):
        return value
    files = (path for path in Path(value).rglob("*") if path.is_file())
    return {path.relative_to(value).as_posix(): path.read_bytes() for path in files}


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *details) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        """The same headers without a body, which is where huggingface_hub begins."""
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.requests.append((path, dict(self.headers)))
        mode = self.server.mode
        if mode == "portal":
            return self._send(b"<html>Please log in</html>", kind="text/html")
        if mode == "error500":
            return self._fail(500)
        if mode == "stalled":
            return self._stand_still()
        if mode == "gone":
            return self._fail(404, "RepoNotFound")
        if "/tree/" in path:
            return self._tree(path.removeprefix("/api/models/").partition("/tree/")[0])
        if path.startswith("/api/models/"):
            return self._list(*path.removeprefix("/api/models/").split("/revision/"))
        if path.startswith("/storage/"):
            return self._file(path.removeprefix("/storage/"))
        if mode == "gated":
            return self._fail(401, "GatedRepo")
        if mode == "redirect":
            # Another host, as far as names go: the storage behind the hub
            target = f"http://localhost:{self.server.server_port}/storage{self.path}"
            self.send_response(302)
            self.send_header("Location", self.server.location or target)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self._file(path.removeprefix("/"))

    def _list(self, repo: str, revision: str = "main") -> None:
        if repo not in self.server.repositories:
            return self._fail(401, "RepoNotFound")
        if self.server.mode == "revision" and revision not in ("main", COMMIT):
            return self._fail(404, "RevisionNotFound")
        if self.server.listing is not None:
            return self._send(self.server.listing, kind="application/json")
        siblings = []
        for name, data in sorted(self.server.repositories[repo].items()):
            entry = {"rfilename": name, "size": len(data), "blobId": _git_sha1(data)}
            if name.endswith(_LARGE):
                entry["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        answer = {"id": repo, "sha": COMMIT, "gated": False, "siblings": siblings}
        self._send(json.dumps(answer).encode(), kind="application/json")

    def _tree(self, repo: str) -> None:
        """The list of files in the form that `snapshot_download` asks for."""
        tree = []
        for name, data in sorted(self.server.repositories[repo].items()):
            entry = {"type": "file", "path": name, "size": len(data), "oid": _git_sha1(data)}
            if name.endswith(_LARGE):
                entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
            tree.append(entry)
        self._send(json.dumps(tree).encode(), kind="application/json")

    def _file(self, path: str) -> None:
        repo, _, rest = path.partition("/resolve/")
        data = self.server.repositories.get(repo, {}).get(rest.partition("/")[2])
        if data is None:
            return self._fail(404, "EntryNotFound")
        mode, weights = self.server.mode, path.endswith(".safetensors")
        large = path.endswith(_LARGE)
        etag = _sha256(data) if large else _git_sha1(data)
        if mode == "wrong" and weights:
            data = bytes([data[0] ^ 1]) + data[1:]
        start, status = 0, 200
        asked = self.headers.get("Range")
        if asked and mode != "no range":
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        body, length = data[start:], len(data) - start
        if weights and mode in ("truncated", "truncated once", "stalled file"):
            if mode != "truncated once" or not start:
                body = body[: len(body) // 2 if mode != "truncated" else 0]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if mode == "drip" and weights:
            return self._drip(body)
        self.server.sent += len(body)
        self.wfile.write(body)
        if mode == "stalled file" and weights:
            self._stand_still()

    def _drip(self, body: bytes) -> None:
        for k in range(len(body)):
            if self.server.closing.is_set():
                return
            self.wfile.write(body[k : k + 1])
            self.wfile.flush()
            time.sleep(0.02)

    def _stand_still(self) -> None:
        self.server.closing.wait(120)
        self.close_connection = True

    def _send(self, body: bytes, *, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fail(self, status: int, code: str | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
