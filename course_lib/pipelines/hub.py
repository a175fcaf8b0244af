"""Requests to the model hub, each with a deadline, and errors that say what is wrong.

huggingface_hub finds what other programs have cached, and holds the token. Requests and downloads
are made here, because its `snapshot_download` hangs or loses data on a bad network. Measured by
``python benchmarks/hub_client.py`` with huggingface_hub 2.4, weights of 31.5 MB, and all time-outs
at 2 s:

=========================  ======================================  ==============================
the hub                    huggingface_hub                         this module
=========================  ======================================  ==============================
does not answer            hangs (killed after 90 s)               error after 2 s
sends a byte each 20 ms    hangs (killed after 90 s)               error after 5 s
stops in mid-file          error after 23 s; 31.5 MB sent again    error after 4 s; 15.7 MB
flips a bit                keeps the wrong file, and does so       error; the file is discarded
                           in the next run as well
is a network's login page  JSONDecodeError                         one sentence
breaks once, is gone,      resumes or raises within 7 s            the same
gated, 5xx, unreachable
=========================  ======================================  ==============================

It also reads its settings once, at import. Here ``HF_ENDPOINT`` (another hub), ``HF_HUB_OFFLINE=1``
(no network) and ``COURSE_HUB_TIMEOUT`` (seconds) are read at each request.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

Answer = TypeVar("Answer")
_NETWORK_ERRORS = (OSError, http.client.HTTPException)  # URLError is an OSError
WHOLE_HUB = ("offline", "unreachable", "slow", "portal")  # no other repository will do better
MINI_OFFER = (
    'To go on now: load_pipeline("mini") paints with the model that ships with the course, without '
    "a network. It is a small model of its own, no copy of the one you asked for."
)


class HubError(Exception):
    """A request to the hub that failed.

    `kind` is one of offline, unreachable, slow, portal (these concern the whole hub), gone,
    revision, gated, server, missing, pickles, broken, stalled, damaged, disk.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class ModelUnavailable(OSError):
    """A model that could not be fetched: the reason for each place, what to do, and an offer.

    Attributes
    ----------
    attempts : list of (str, str, str)
        Place, kind of failure and reason, in the order in which they were tried.
    """

    def __init__(
        self, title: str, attempts: Sequence[tuple[str, str, str]], untried: Sequence[str] = ()
    ) -> None:
        self.attempts = list(attempts)
        kinds = [kind for _, kind, _ in self.attempts]
        places = "\n".join(f"  - {place}: {reason}" for place, _, reason in self.attempts)
        advice = "\n".join(f"  - {text}" for kind, text in _ADVICE.items() if kind in kinds)
        if untried:
            places += f"\n  - not asked, for the same reason: {', '.join(untried)}"
        super().__init__(
            f"{title} is not on this machine and could not be fetched. Tried, in this order:\n"
            f"{places}\nWhat to do:\n{advice}\n{MINI_OFFER}"
        )


_BUNDLE = (
    "get the model's folder from somebody who has it (python -m course_lib prefetch NAME --to "
    "FOLDER makes one) and pass its path, or set COURSE_MODELS to the folder that holds it."
)
_ADVICE = {
    "offline": f"The network is switched off by HF_HUB_OFFLINE: unset it, or {_BUNDLE}",
    "unreachable": "Check the network and the proxy settings (HTTPS_PROXY). HF_ENDPOINT can name "
    f"another hub that you trust. Without a network, {_BUNDLE}",
    "slow": "Try again later. COURSE_HUB_TIMEOUT=60 waits longer.",
    "stalled": "Try again: what has arrived is kept, and COURSE_HUB_TIMEOUT=60 waits longer.",
    "broken": "Try again: what has arrived is kept, and the download goes on from there.",
    "portal": "Log in to this network: open any page in a browser, then try again.",
    "gone": "Models vanish from hubs. Pass the id of a copy that you trust, or a local folder.",
    "revision": 'The pinned revision is gone; revision="main" takes the newest one, which may '
    "paint differently.",
    "gated": "Accept the licence on the model's page, make a token at "
    "https://huggingface.co/settings/tokens and run:  hf auth login",
    "server": "The hub has trouble: try again in some minutes.",
    "missing": "Files are missing in the repository: choose another copy of the model.",
    "pickles": "Only safetensors are loaded, because a pickle can run any code when it is opened. "
    "Choose a copy of the model that has safetensors.",
    "damaged": "Try again; a damaged file is never kept. If it stays so, choose another copy.",
    "disk": "Free some disk space, or set COURSE_MODELS to a folder on a larger disk.",
}


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub: its size in bytes and its SHA-256, or for small files its git hash."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]

    def get(self, name: str) -> RemoteFile | None:
        return next((file for file in self.files if file.name == name), None)


def endpoint() -> str:
    """Address of the hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` switches the hub off."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.strip().lower() in ("1", "on", "yes", "true")


def patience() -> float:
    """Seconds until a request without an answer, or a stalled download, is given up."""
    given = os.environ.get("COURSE_HUB_TIMEOUT", "")
    try:
        seconds = float(given or 10)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise ValueError(f"COURSE_HUB_TIMEOUT must be seconds between 0 and 3600, not {given!r}.")
    return seconds


def list_files(repo: str, revision: str | None = None) -> Listing:
    """List the files of a repository on the hub.

    Raises
    ------
    HubError
        Within `patience()` seconds, whatever is wrong.
    """
    quoted = urllib.parse.quote(revision or "main", safe="")
    url = f"{endpoint()}/api/models/{repo}/revision/{quoted}?blobs=true"
    text = bounded(lambda: _read_all(url))
    try:
        answer = json.loads(text)
        files = tuple(_remote_file(entry) for entry in answer["siblings"])
        return Listing(repo, str(answer["sha"]), files)
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(
            "portal",
            f"{endpoint()} answered with something that is no list of files: a login page of the "
            "network, most likely",
        ) from error


def _read_all(url: str) -> bytes:
    with open_url(url) as response:
        return response.read(32 * 2**20)


def _remote_file(entry: dict[str, Any]) -> RemoteFile:
    name = entry["rfilename"]
    path = PurePosixPath(name)
    # A name such as ../x or C:x would be written outside the folder.
    if path.is_absolute() or ".." in path.parts or re.search(r"[\\:\x00]", name):
        raise ValueError(f"the hub lists a file of the name {name!r}")
    lfs = entry.get("lfs") or {}
    size = lfs.get("size", entry.get("size"))
    return RemoteFile(name, int(size), lfs.get("sha256") or lfs.get("oid"), entry.get("blobId"))


def file_url(repo: str, commit: str, name: str) -> str:
    """Address of one file's content."""
    return f"{endpoint()}/{repo}/resolve/{commit}/{urllib.parse.quote(name)}"


def open_url(url: str, *, start: int = 0):
    """Open an address for reading, from byte `start` on; HubError if that fails.

    The answer may be 206 (from `start` on) or 200 (from the beginning): look at its `status`.
    """
    if is_offline():
        raise HubError("offline", "HF_HUB_OFFLINE is set, so the hub was not asked")
    request = urllib.request.Request(url, headers={"User-Agent": "portrait-diffusion"})
    token = _token(url)
    if token:
        # Unredirected: the token is for the hub, never for the storage that it redirects to.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        return _opener().open(request, timeout=patience())
    except urllib.error.HTTPError as error:
        raise _http_error(error) from None
    except _NETWORK_ERRORS as error:
        raise network_error(error) from None


@lru_cache(maxsize=1)
def _opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    try:  # some Pythons on macOS come without certificates of their own
        import certifi

        context.load_verify_locations(certifi.where())
    except ImportError:
        pass
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def _token(url: str) -> str | None:
    host = urllib.parse.urlsplit(url)
    if host.scheme != "https" and host.hostname not in ("localhost", "127.0.0.1"):
        return None  # never in the clear
    from huggingface_hub import get_token

    return get_token()


def network_error(error: BaseException) -> HubError:
    """The `HubError` for a failed connection."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError) or "timed out" in str(cause):
        return HubError("slow", f"no answer within {patience():g} s")
    return HubError("unreachable", f"{endpoint()} cannot be reached ({cause})")


def _http_error(error: urllib.error.HTTPError) -> HubError:
    code, name = error.code, error.headers.get("X-Error-Code", "")
    if name == "GatedRepo":
        return HubError("gated", "gated: it wants a login and its licence accepted")
    if name == "RevisionNotFound":
        return HubError("revision", "the repository is there, but not this revision")
    if name == "EntryNotFound":
        return HubError("missing", "a file of the model is missing there")
    if code in (401, 404, 410):
        return HubError("gone", f"gone: withdrawn, renamed or private (HTTP {code})")
    if code == 403:
        return HubError("gated", "access refused (HTTP 403)")
    if 300 <= code < 400:
        return HubError("portal", "the address redirects in a circle")
    return HubError("server", f"the hub answered with an error (HTTP {code})")


def bounded(question: Callable[[], Answer], seconds: float | None = None) -> Answer:
    """Run `question` in a thread and stop waiting after `seconds` (default: `patience()`).

    Socket time-outs do not cover the look-up of a name, nor an answer that comes byte by byte.
    """
    seconds = patience() if seconds is None else seconds
    result: list[Answer] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(question())
        except BaseException as error:  # handed over to the thread that asked
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hub question")
    thread.start()
    thread.join(seconds)
    if result:
        return result[0]
    if not failure:
        raise HubError("slow", f"no answer within {seconds:g} s")
    if isinstance(failure[0], _NETWORK_ERRORS):
        raise network_error(failure[0]) from failure[0]
    raise failure[0]
