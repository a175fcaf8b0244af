"""The pages of the book, prepared for Sphinx: copies of the course's own, which stay as they are.

The folder of copies has the layout of the repository, so that links between pages stay as they are.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import nbformat
from launch_cells import Address
from lesson_widgets import Widget, picture_of, read_lesson
from nbformat import NotebookNode

PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/instructor/*.md", "notebooks/*.md",
         "data/models/*/README.md", "data/portraits/README.md")  # fmt: skip
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_LESSON = re.compile(r'(?<=href=")([0-9]{2}_\w+)\.ipynb(?=")')
_COPIED = 300_000  # bytes: a linked file that is no page, such as a licence, is copied up to here
_ENDING = {"image/png": "png", "image/jpeg": "jpg"}


def lessons_in(root: Path) -> list[Path]:
    """The lessons in order."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def stage(
    root: Path, work: Path, widgets: Mapping[str, Sequence[Widget]], address: Address | None
) -> None:
    """Fill the folder `work` with all that Sphinx reads.

    Parameters
    ----------
    root : Path
        The course's folder; nothing in it is changed.
    work : Path
        A new folder.
    widgets : mapping of str to sequence of Widget
        Name of a lesson's file to its widgets.
    address : Address, optional
        Where the course is published.
    """
    shutil.copytree(root / "docs" / "book", work, dirs_exist_ok=True)
    lessons, front = lessons_in(root), work / "index.md"
    pages = sorted({path for pattern in PAGES for path in root.glob(pattern)})
    known = {path.resolve() for path in (*lessons, *pages)}
    links = Links(root, work, known, address)
    for path in pages:
        copy = work / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = links.rewrite(path.read_text(encoding="utf-8"), path)
        copy.write_text(text.replace("- [ ] ", "- \u2610 "), encoding="utf-8")  # boxes to tick
    text = links.rewrite(front.read_text(encoding="utf-8"), root / "docs" / "book" / front.name)
    text = text.replace("](../../", "](").replace("](../", "](docs/")  # it moves up two folders
    (work / "notebooks").mkdir(exist_ok=True)
    notebooks = {path.name: read_lesson(path) for path in lessons}
    for path in lessons:
        ours = widgets.get(path.name, ())
        text = _pictures(text, path.name[:2], notebooks[path.name], ours, work)
        for cell in notebooks[path.name].cells:
            if cell.cell_type == "markdown":
                cell.source = links.rewrite(cell.source, path)
        nbformat.write(as_page(notebooks[path.name], ours), work / "notebooks" / path.name)
    front.write_text(_with_readme(text, root), encoding="utf-8")


class Links:
    """Relative links of a page, led to the book's pages, to copies, or to the repository."""

    def __init__(self, root: Path, work: Path, pages: set[Path], address: Address | None) -> None:
        self.root, self.work, self.pages, self.address = root, work, pages, address

    def rewrite(self, text: str, page: Path) -> str:
        """The page's Markdown with links that hold inside the book."""
        return _LINK.sub(lambda match: self._one(match, page), text)

    def _one(self, match: re.Match[str], page: Path) -> str:
        bang, text, target, anchor = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = (page.parent / unquote(target)).resolve()
        if path in self.pages or not path.is_relative_to(self.root) or not path.exists():
            return match[0]  # Sphinx warns of a link that leads nowhere
        inside = path.relative_to(self.root)
        if not bang and self.address and self.address.host in ("github.com", "gitlab.com"):
            return f"[{text}]({self.address.page(quote(inside.as_posix()))}{anchor or ''})"
        if path.is_dir() or (not bang and path.stat().st_size > _COPIED):
            return text
        (self.work / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, self.work / inside)
        return match[0]


def as_page(notebook: NotebookNode, widgets: Sequence[Widget] = ()) -> NotebookNode:
    """The notebook as the book shows it: folded where JupyterLab folds it, widgets as HTML.

    Cells that fetch the course for Colab (tag ``launch``) are left out.
    """
    pages = {widget.cell: widget.html for widget in widgets if widget.html}
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        tags, jupyter = cell.metadata.setdefault("tags", []), cell.metadata.get("jupyter", {})
        for output in cell.outputs:  # the course map's links, which Sphinx does not see
            if page := output.get("data", {}).get("text/html"):
                output.data["text/html"] = _LESSON.sub(r"\1.html", page)
        if index in pages:
            picture_of(cell).data = NotebookNode({"text/html": pages[index]})
        if jupyter.get("source_hidden"):
            title = cell.source.partition("\n")[0].removeprefix("# @title").strip()
            _fold(cell, tags, "hide-input", title)
        if jupyter.get("outputs_hidden") and cell.outputs:
            _fold(cell, tags, "hide-output", "Answer (open to see)")
    notebook.cells = [c for c in notebook.cells if "launch" not in c.metadata.get("tags", ())]
    return notebook


def _fold(cell: NotebookNode, tags: list[str], tag: str, title: str) -> None:
    tags.append(tag)
    cell.metadata["mystnb"] = {"code_prompt_show": title, "code_prompt_hide": title}


def _pictures(
    text: str, lesson: str, notebook: NotebookNode, widgets: Sequence[Widget], work: Path
) -> str:
    """Fill the front page's places ``<!-- picture: NN words of the cell -->`` of one lesson.

    With ``stepper`` in place of ``picture`` the cell's widget is shown, if it was computed.
    """

    def fill(match: re.Match[str]) -> str:
        kind, words = match.groups()
        cells = [(k, c) for k, c in enumerate(notebook.cells) if c.cell_type == "code"]
        found = [(k, c) for k, c in cells if words in c.source and picture_of(c)]
        if not found:
            raise ValueError(f"index.md: no picture of lesson {lesson} has {words!r} in its cell.")
        index, cell = found[0]
        page = next((w.html for w in widgets if w.cell == index), "")
        output = picture_of(cell)
        mime = next(kind for kind in _ENDING if kind in output.data)
        name = f"_front/{lesson}_{index}"
        (work / "_front").mkdir(exist_ok=True)
        if kind == "stepper" and page:
            (work / f"{name}.html").write_text(page, encoding="utf-8")
            return f"```{{raw}} html\n:file: {name}.html\n```"
        (work / f"{name}.{_ENDING[mime]}").write_bytes(base64.b64decode(output.data[mime]))
        alt = output.metadata.get(mime, {}).get("alt", "")
        return f"![{re.sub(r'[][]', '', alt)}]({name}.{_ENDING[mime]})"

    return re.sub(rf"<!-- (picture|stepper): {lesson} (.*?) -->", fill, text)


def _with_readme(text: str, root: Path) -> str:
    """The front page with the README's table of lessons and its two commands."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    table = re.search(r"^\| lesson \|.*?(?=\n\n)", readme, re.M | re.S)
    commands = re.findall(r"^    (python3 start\.py.*)$", readme, re.M)
    if not table or len(commands) < 2:
        raise ValueError("README.md has no table that begins '| lesson |', or no two commands.")
    text = text.replace("<!-- lessons -->", table[0])
    return text.replace("<!-- commands -->", "```sh\n" + "\n".join(commands[:2]) + "\n```")


def stage_quizzes(root: Path, work: Path) -> list[str]:
    """A page for each lesson's quiz, as the widget that needs no kernel; their names."""
    files = sorted((root / "course_lib" / "classroom" / "quiz").glob("lesson_[0-9][0-9].json"))
    if not files:
        return []
    from course_lib.widgets import Quiz

    (work / "quizzes").mkdir()
    titles = {path.name[:2]: path for path in lessons_in(root)}
    names = []
    for path in files:
        lesson = json.loads(path.read_text(encoding="utf-8"))["lesson"]
        title = read_lesson(titles[lesson]).cells[0].source.splitlines()[0]
        page = Quiz(lesson)._repr_mimebundle_()[0]["text/html"]
        (work / "quizzes" / f"{path.stem}.html").write_text(page, encoding="utf-8")
        (work / "quizzes" / f"{path.stem}.md").write_text(
            f"# Quiz {title.removeprefix('# ')}\n\nFive questions on "
            f"[the lesson](../notebooks/{titles[lesson].name}). Every answer says why.\n\n"
            f"```{{raw}} html\n:file: {path.stem}.html\n```\n",
            encoding="utf-8",
        )
        names.append(path.stem)
    return names


def buttons(lesson: str, address: Address | None, quiz: bool) -> str:
    """The line under a lesson's title: the notebook, its quiz, and where it can be launched."""
    name = html.escape(lesson, quote=True)
    links = [f'<a href="{name}.ipynb" download>Download the notebook (.ipynb)</a>']
    if quiz:
        links.append(f'<a href="../quizzes/lesson_{name[:2]}.html">Quiz</a>')
    file = f"notebooks/{lesson}.ipynb"
    urls = {"Binder": address.binder(file), "Colab": address.colab(file)} if address else {}
    for label, url in urls.items():
        if url:
            links.append(f'<a href="{html.escape(url)}">Open in {label}</a>')
    return f'<p class="lesson-links">{" ".join(links)}</p>'
