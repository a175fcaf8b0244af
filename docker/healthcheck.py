"""Whether this container's Jupyter server answers: exit code 0 or 1, for HEALTHCHECK."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.parse
import urllib.request


def address() -> str:
    """Of the server's version, which needs no token; a hub says where its server listens."""
    given = os.environ.get("JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:8888/")
    parts = urllib.parse.urlsplit(given)
    return f"http://127.0.0.1:{parts.port or 8888}{parts.path.rstrip('/')}/api"


def main() -> int:
    try:
        with urllib.request.urlopen(address(), timeout=8):
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"{address()}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
