"""Requests to the model hub: http and https only, each with a deadline and one-sentence errors.

``HF_ENDPOINT`` (another hub), ``HF_HUB_OFFLINE=1`` (no network) and ``COURSE_HUB_TIMEOUT`` (in
seconds) are read at each request.
"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

Answer = TypeVar("Answer")
_NETWORK_ERRORS = (OSError, http.client.HTTPException)  # URLError is an OSError
_SCHEMES = ("http", "https")


class HubError(Exception):
    """A request to the hub that failed.

    `kind` is one of offline, unreachable, slow, portal (these concern the whole hub), gone,
    revision, gated, server, missing, pickles, broken, stalled, damaged, disk.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def endpoint() -> str:
    """Address of the hub.

    Raises
    ------
    ValueError
        If ``HF_ENDPOINT`` is no address of http or https.
    """
    given = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    try:
        parts = urllib.parse.urlsplit(given)
        valid = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an open bracket, a port that is no number
        valid = False
    if not valid or not given.isprintable() or " " in given:
        raise ValueError(
            f"HF_ENDPOINT must be an address such as https://huggingface.co, not {given!r}. Unset "
            "it to use the usual hub."
        )
    return given


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


def open_url(url: str, *, start: int = 0):
    """Open an address for reading, from byte `start` on; HubError if that fails.

    The answer may be 206 (from `start` on) or 200 (from the beginning): look at its `status`.
    """
    seconds = patience()
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
        return _opener().open(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        raise _http_error(error) from None
    except (*_NETWORK_ERRORS, ValueError) as error:  # ValueError: redirected to no address at all
        raise network_error(error) from None


@lru_cache(maxsize=1)
def _opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    try:  # some Pythons on macOS come without certificates of their own
        import certifi

        context.load_verify_locations(certifi.where())
    except ImportError:
        pass
    # Not build_opener, which opens file:, ftp: and data: addresses as well, also after a redirect
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


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
        return HubError("portal", "a redirect that is not followed: a circle, or no http")
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
