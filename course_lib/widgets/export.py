"""A widget as HTML that needs no kernel and no network: a part of a page, or a page of its own.

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

# In a notebook whose outputs are not trusted, JupyterLab removes scripts and styles, and the
# picture stays.
_PART = """<style>
{css}
</style>
<div data-course-widget="{key}">{still}<script type="application/json">{state}</script></div>
<script type="module">
{script}
</script>"""
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
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<div id="widget">
{part}
</div>
</main>
</body>
</html>
"""


def read_parts(*names: str) -> str:
    """Join JavaScript or CSS files of this folder into one text, in the given order."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


def page_part(
    *,
    scripts: Sequence[str],
    styles: Sequence[str],
    mount: str,
    state: Mapping[str, Any],
    blobs: Mapping[str, tuple[str, bytes]] | None = None,
    still: bytes = b"",
    alt: str = "",
    plain: str = "",
    key: str = "page",
) -> str:
    """A widget with all of its data, as HTML for an output of a notebook.

    Parameters
    ----------
    scripts, styles : sequence of str
        File names in this folder; offline.js is added.
    mount : str
        Name of the function ``(root, state)`` that the scripts define.
    state : dict
        What `mount` gets, as JSON.
    blobs : dict of str to (MIME type, bytes), optional
        Binary entries of the state; the page hands them to `mount` as ``Blob``.
    still : bytes
        A PNG for readers without scripts.
    alt : str
        Its text alternative.
    plain : str
        HTML for readers without scripts, where that says more than a picture.
    key : str
        Letters and digits that tell this widget from others on the same page.
    """
    if not mount.isidentifier():
        raise ValueError(f"mount must be the name of a JavaScript function, not {mount!r}.")
    if not key.isalnum():
        raise ValueError(f"key must be made of letters and digits, not {key!r}.")
    data = {
        "state": dict(state),
        "blobs": {
            name: {"mime": mime, "base64": base64.b64encode(content).decode("ascii")}
            for name, (mime, content) in (blobs or {}).items()
        },
    }
    picture = ""
    if still:
        source = base64.b64encode(still).decode("ascii")
        picture = f'<img src="data:image/png;base64,{source}" alt="{html.escape(alt)}">'
    script = read_parts(*scripts, "offline.js")
    return _PART.format(
        css=read_parts(*styles),
        key=key,
        still=picture + plain,
        # "</script>" inside the data would end the script element, "<!--" would open a comment.
        state=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        script=script.replace("MOUNT(", f"{mount}(").replace("=KEY]", f"='{key}']"),
    )


def standalone_page(*, title: str, **options: Any) -> str:
    """Write one HTML page that holds a widget and all of its data.

    Parameters
    ----------
    title : str
        Title of the page.
    **options
        Those of `page_part`.

    Returns
    -------
    str
        A page that can be opened from a disk.
    """
    return _PAGE.format(title=html.escape(title), part=page_part(**options))
