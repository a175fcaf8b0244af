"""A widget as a page of its own: no kernel, no network, and the same JavaScript as in a notebook.

Every widget of the course can use this. Its scripts must define a function ``mount(root, state)``
that knows nothing of Jupyter.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 8px; background: Canvas; color: CanvasText; }}
/* For screen readers; the widget shows its own caption. */
h1 {{ position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; }}
{css}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<div id="widget">{still}</div>
</main>
<script type="application/json" id="widget-state">{state}</script>
<script type="module">
{script}
</script>
</body>
</html>
"""


def read_parts(*names: str) -> str:
    """Join JavaScript or CSS files of this folder into one text, in the given order."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


def standalone_page(
    *,
    scripts: Sequence[str],
    styles: Sequence[str],
    mount: str,
    state: Mapping[str, Any],
    blobs: Mapping[str, tuple[str, bytes]],
    title: str,
    still: bytes = b"",
    alt: str = "",
) -> str:
    """Write one HTML page that holds a widget and all of its data.

    Parameters
    ----------
    scripts, styles : sequence of str
        File names in this folder; offline.js is added.
    mount : str
        Name of the function ``(root, state)`` that the scripts define.
    state : dict
        What `mount` gets, as JSON.
    blobs : dict of str to (MIME type, bytes)
        Binary entries of the state; the page hands them to `mount` as ``Blob``.
    title : str
        Title of the page.
    still : bytes
        A PNG for readers without scripts.
    alt : str
        Its text alternative.

    Returns
    -------
    str
        A page that can be opened from a disk.
    """
    if not mount.isidentifier():
        raise ValueError(f"mount must be the name of a JavaScript function, not {mount!r}.")
    data = {
        "state": dict(state),
        "blobs": {
            name: {"mime": mime, "base64": base64.b64encode(content).decode("ascii")}
            for name, (mime, content) in blobs.items()
        },
    }
    picture = ""
    if still:
        source = base64.b64encode(still).decode("ascii")
        picture = f'<img src="data:image/png;base64,{source}" alt="{html.escape(alt)}">'
    # "</script>" inside the data would end the script element, "<!--" would open a comment.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return _PAGE.format(
        title=html.escape(title),
        css=read_parts(*styles),
        still=picture,
        state=text,
        script=read_parts(*scripts, "offline.js").replace("MOUNT(", f"{mount}("),
    )


def framed(page: str, title: str, height: int) -> str:
    """The page inside an ``<iframe>``, for an output of a notebook or of a book.

    It takes the height of what it shows; `height` in pixels counts until then.
    """
    return (
        f'<iframe srcdoc="{html.escape(page, quote=True)}" title="{html.escape(title)}" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )
