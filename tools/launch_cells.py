"""Addresses of a published copy, and what they put into the README and into a lesson.

`publish.py` is the command. Here are the addresses themselves, the links to Colab and Binder, and
functions from a file's text to the text with, or without, its launch links.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

EXAMPLE = "https://github.com/OWNER/REPO"
FIRST = "notebooks/00_start_here.ipynb"
TAG = "launch"
BEGIN, END = "<!-- launch links: written by tools/publish.py -->", "<!-- end of launch links -->"
_PAGES = {"tree", "blob", "raw", "src", "commit", "commits", "branch", "edit", "-"}
# The course is there where it can be imported, where this is its own folder, or once it is cloned
_SETUP = """# @title Set-up on Colab and the like (does nothing where the course is installed)
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("course_lib") is None:
    address, branch = {address}, {branch}
    course = Path("..") if Path("../course_lib/hosted.py").exists() else Path({folder})
    course = course.resolve()
    if not (course / "course_lib").exists():
        clone = ["git", "clone", "--depth", "1", "--branch", branch, address, str(course)]
        git = subprocess.run(clone, capture_output=True, text=True)
        if git.returncode:
            sys.exit(f"{{address}} could not be cloned: {{git.stderr.strip()}}")
    sys.path.append(str(course))
    from course_lib.hosted import prepare

    prepare(course)"""


@dataclass(frozen=True)
class Address:
    """Where a copy of the course can be cloned from: a URL without a final slash, and a branch."""

    repository: str
    branch: str

    @property
    def host(self) -> str:
        return urlsplit(self.repository).netloc

    @property
    def path(self) -> str:
        return urlsplit(self.repository).path.strip("/")

    def colab(self, file: str) -> str | None:
        """Link that opens a notebook in Colab, which reads from GitHub alone."""
        if self.host != "github.com":
            return None
        branch = quote(self.branch)
        return f"https://colab.research.google.com/github/{self.path}/blob/{branch}/{file}"

    def binder(self, file: str) -> str | None:
        """Link that opens a notebook in JupyterLab on Binder, which clones from the web."""
        if self.repository.startswith("file:"):
            return None
        place = {
            "github.com": f"gh/{self.path}",
            "gitlab.com": f"gl/{quote(self.path, safe='')}",
        }.get(self.host, f"git/{quote(self.repository, safe='')}")
        branch = quote(self.branch, safe="")
        return f"https://mybinder.org/v2/{place}/{branch}?urlpath=lab/tree/{file}"

    def page(self, file: str) -> str:
        """The page of a file on GitHub."""
        return f"{self.repository}/blob/{quote(self.branch)}/{file}"


def read_address(text: str, branch: str) -> Address:
    """The address that somebody typed, brought to one form.

    ``git@HOST:PATH`` and ``ssh://`` become https; on GitHub and GitLab a final ``.git`` goes.

    Raises
    ------
    ValueError
        If it is no URL, names a page inside a repository, or holds a user name or a password.
    """
    text = re.sub(r"^git@([\w.-]+):(?!/)", r"https://\1/", text.strip())
    text = re.sub(r"^ssh://(?:git@)?([^/:@]+)(?::\d+)?/", r"https://\1/", text)
    if re.match(r"file:///.", text):
        return Address(text.rstrip("/"), branch)
    try:
        parts = urlsplit(text)
    except ValueError:  # "http://[" and the like
        parts = urlsplit("")
    segments = parts.path.strip("/").split("/")
    named = all(re.fullmatch(r"(?!\.+$)[\w.~+-]+", part, re.ASCII) for part in segments)
    if "@" in parts.netloc:
        raise ValueError(
            f"the address of {parts.hostname} holds a user name or a password, which would be "
            f"published in every lesson; leave it out, as in {EXAMPLE}."
        )
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:-]+", parts.netloc):
        raise ValueError(f"{text!r} is no URL of a git repository; give one such as {EXAMPLE}.")
    host = parts.netloc.lower().removeprefix("www.")
    hub = host in ("github.com", "gitlab.com")
    inside = _PAGES & set(segments[2:]) or (host == "github.com" and len(segments) > 2)
    if inside or parts.query or parts.fragment:
        raise ValueError(
            f"{text!r} is a page inside a repository; give the repository's own address, such as "
            f"https://{host}/{'/'.join(segments[:2])} (and --branch for a branch)."
        )
    if not named or len(segments) < (2 if hub else 1):
        raise ValueError(f"{text!r} names no repository; give an address such as {EXAMPLE}.")
    path = "/".join(segments)
    path = path.removesuffix(".git") if hub else path
    return Address(f"{'https' if hub else parts.scheme}://{host}/{path}", branch)


def stamp_readme(text: str, address: Address | None) -> str:
    """The README with its launch badges below the title, or, without an address, without any."""
    block = f"{re.escape(BEGIN)}.*?{re.escape(END)}\n"
    colab, binder = (address.colab(FIRST), address.binder(FIRST)) if address else (None, None)
    # The pictures lie in docs/: a page that is read offline asks nobody for them
    badges = [
        f"[![Open {where}](docs/launch_{name}.svg)]({link})"
        for where, name, link in (("in Colab", "colab", colab), ("on Binder", "binder", binder))
        if link
    ]
    new = f"{BEGIN}\n{' '.join(badges)}\n{END}\n"
    if not badges:
        return re.sub(f"{block}\n?", "", text, count=1, flags=re.DOTALL)
    if BEGIN in text:
        return re.sub(block, lambda _: new, text, count=1, flags=re.DOTALL)
    title = re.search(r"\A# .*\n\n?", text)
    start = title.end() if title else 0
    return f"{text[:start]}{new}\n{text[start:]}"


@lru_cache(maxsize=64)  # nobody changes what it returns
def parse_lesson(text: str) -> dict[str, Any]:
    """A lesson's notebook as JSON.

    Raises
    ------
    ValueError
        If it is no valid notebook, or not laid out as Jupyter writes one.
    """
    import nbformat

    try:
        notebook = json.loads(text)
        nbformat.validate(notebook)
        title = "".join(notebook["cells"][0]["source"])
    except (ValueError, TypeError, LookupError, nbformat.ValidationError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"is no valid notebook ({reason}); mend or restore it first.") from None
    if not re.match(r"# \d\d\. \S", title):
        raise ValueError("does not begin with a cell '# NN. Title'; mend or restore it first.")
    if _written(notebook, text) != text:
        raise ValueError("is not laid out as Jupyter writes it; open and save it in JupyterLab.")
    return notebook


def title_of(notebook: dict[str, Any]) -> str:
    """``01. Forward noising``, from the first cell."""
    return "".join(notebook["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")


def stamp_lesson(text: str, address: Address | None, name: str, titles: dict[str, str]) -> str:
    """A lesson's file with its launch cells below the title, or without any.

    Parameters
    ----------
    text : str
        The file. All but the launch cells stays as it is, byte by byte.
    address : Address or None
        The published address; None removes the cells.
    name : str
        The file's name.
    titles : dict
        Name of each lesson's file -> its title, in order.
    """
    notebook = parse_lesson(text)
    cells = [c for c in notebook["cells"] if TAG not in c["metadata"].get("tags", [])]
    if address:
        cells[1:1] = _launch_cells(address, name, titles)
    return _written({**notebook, "cells": cells}, text)


def _launch_cells(address: Address, name: str, titles: dict[str, str]) -> list[dict[str, Any]]:
    metadata: dict[str, Any] = {"tags": [TAG]}
    folder = address.path.rpartition("/")[2].removesuffix(".git")
    source = _SETUP.format(
        address=_quoted(address.repository), branch=_quoted(address.branch), folder=_quoted(folder)
    )
    links = {"id": "launch-links", "metadata": metadata, "cell_type": "markdown"}
    links["source"] = _launch_links(address, name, titles).splitlines(keepends=True)
    setup = {"id": "launch-setup", "cell_type": "code", "execution_count": None, "outputs": []}
    setup["metadata"] = {"cellView": "form", "jupyter": {"source_hidden": True}, **metadata}
    setup["source"] = source.splitlines(keepends=True)
    cells = [links, setup] if links["source"] else [setup]
    return [dict(sorted(cell.items())) for cell in cells]  # in nbformat's order


def _launch_links(address: Address, name: str, titles: dict[str, str]) -> str:
    file = f"notebooks/{name}"
    colab, binder = address.colab(file), address.binder(file)
    places = [f"[in Colab]({colab})"] * bool(colab) + [f"[on Binder]({binder})"] * bool(binder)
    if not places:
        return ""
    text = (
        f"Run this lesson {' or '.join(places)}. The folded cell below fetches the course where it "
        "is missing, and does nothing where it is installed."
    )
    if not colab:
        return text
    names = list(titles)
    here = names.index(name)
    near = [("previous", here - 1)] * (here > 0) + [("next", here + 1)] * (here + 1 < len(names))
    links = {other: f"({address.colab(f'notebooks/{other}')})" for other in names}
    steps = [f"{word} lesson [{titles[names[k]]}]{links[names[k]]}" for word, k in near]
    others = [f"[{other[:2]}]{link}" for other, link in links.items()]
    glossary = address.page("notebooks/glossary.md")
    return (
        f"{text}\n\nIn Colab, links between the lessons do not work. Use these: "
        f"{', '.join(steps)}, all lessons {' '.join(others)}, [glossary]({glossary})."
    )


def _quoted(text: str) -> str:
    """A string in Python source, in double quotes as the formatter wants them."""
    return json.dumps(text, ensure_ascii=False)


def _written(notebook: dict[str, Any], like: str) -> str:
    """JSON laid out as the file `like`: its indent, its escapes, its last line's end."""
    indent = re.match(r"\{\n( *)", like)
    text = json.dumps(
        notebook, indent=len(indent[1]) if indent else None, ensure_ascii=like.isascii()
    )
    return text + like[len(like.rstrip()) :]
