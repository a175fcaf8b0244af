"""What a repository of the model hub holds, and errors that say what is wrong.

huggingface_hub finds what other programs have cached, and holds the token. Requests and downloads
are made here, because its `snapshot_download` hangs or loses data on a bad network. Measured by
``python benchmarks/hub_client.py`` with huggingface_hub 2.4, weights of 31.5 MB, and all time-outs
at 2 s:

=========================  ======================================  ==============================
the hub                    huggingface_hub                         the course
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

It also reads its settings once, at import.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.pipelines.files import parse_json, stays_inside
from course_lib.pipelines.http_requests import HubError, bounded, endpoint, open_url

WHOLE_HUB = ("offline", "unreachable", "slow", "portal")  # no other repository will do better
MINI_OFFER = (
    'To go on now: load_pipeline("mini") paints with the model that ships with the course, without '
    "a network. It is a small model of its own, no copy of the one you asked for."
)


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
        answer = parse_json(text)
        files = tuple(_remote_file(entry) for entry in answer["siblings"])
        return Listing(repo, _checksum(answer["sha"], 40), files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
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
    if not stays_inside(name):
        raise ValueError(f"the hub lists a file of the name {name!r}")
    lfs = entry.get("lfs") or {}
    size = lfs.get("size", entry.get("size"))
    if type(size) is not int or size < 0:
        raise ValueError(f"the hub gives {size!r} as the size of {name}")
    sha256, git_sha1 = lfs.get("sha256") or lfs.get("oid"), entry.get("blobId")
    return RemoteFile(
        name, size, sha256 and _checksum(sha256, 64), git_sha1 and _checksum(git_sha1, 40)
    )


def _checksum(text: Any, digits: int) -> str:
    """`text` if it is a checksum or commit of so many hexadecimal digits, else a ValueError."""
    if not isinstance(text, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", text):
        raise ValueError(f"the hub gives {text!r} as a checksum")
    return text


def file_url(repo: str, commit: str, name: str) -> str:
    """Address of one file's content."""
    return f"{endpoint()}/{repo}/resolve/{commit}/{urllib.parse.quote(name)}"
