"""The rules of CONTRIBUTING.md that a committed notebook must keep, as plain functions.

Each rule takes the notebook and its path and yields one sentence for each breach.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode

MAX_BYTES = 1_500_000
MAX_LINES = 20
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
HEADINGS = (
    "Objectives", "Prerequisites", "Time and hardware", "Misconceptions", "Recap", "References",
    "Next",
)  # fmt: skip
NOT_IN_LESSON_00 = {"Misconceptions", "References"}
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~/:<])/(?:home|Users|root|tmp|work|mnt|content|usr)/|\b[C-Z]:\\"
)


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    """The lesson's own; the launch cells of a published copy come from tools/publish.py."""
    return [cell for cell in nb.cells if cell.cell_type == "code" and "launch" not in tags(cell)]


def output_text(cell: NotebookNode) -> str:
    """All the text that a cell shows, printed or displayed."""
    parts = [o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return "\n".join(parts)


def section(nb: NotebookNode, heading: str) -> str | None:
    """The Markdown from a heading to the next of level 1 to 3; None if there is no such heading."""
    markdown = "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    found = re.search(rf"^#{{2,3}} {heading}\s*$(.*?)(?=^#{{1,3}} |\Z)", markdown, re.M | re.S)
    return found.group(1).strip() if found else None


def items(text: str) -> int:
    """How many entries a Markdown list has."""
    return len(re.findall(r"^(?:[-*]|\d+\.) ", text, re.MULTILINE))


def parts(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Title, headings in order, objectives answered by the recap, predictions, references."""
    number = path.name[:2]
    if not re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name):
        yield "the file is not named NN_name.ipynb"
    if not re.match(rf"# {number}\. \S", nb.cells[0].source):
        yield f"the first cell does not begin with '# {number}. Title'"
    wanted = [h for h in HEADINGS if number != "00" or h not in NOT_IN_LESSON_00]
    markdown = "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    found = re.findall(r"^#{2,3} (.*?)\s*$", markdown, re.MULTILINE)
    missing = [h for h in wanted if h not in found]
    if missing:
        yield f"headings missing: {', '.join(missing)}"
        return
    if [h for h in found if h in wanted] != wanted:
        yield f"the headings do not stand once each in the order {', '.join(wanted)}"
    objectives, recap = items(section(nb, "Objectives")), items(section(nb, "Recap"))
    if objectives < 2 or recap < objectives:
        yield f"{objectives} objectives but {recap} points in the recap"
    time = section(nb, "Time and hardware")
    if "CPU" not in time or not re.search(r"\d", time):
        yield "'Time and hardware' names no measured number or no CPU"
    if "**Predict.**" not in markdown:
        yield "no question begins with **Predict.**"
    if number != "00" and not re.search(r"arXiv:\d{4}\.\d{4,5}", section(nb, "References")):
        yield "the references name no arXiv id"


def links(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Relative links lead somewhere, pictures have alt text, the next lesson is linked."""
    markdown = "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    for bang, text, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)[^)]*\)", markdown):
        if bang and not text.strip():
            yield f"the picture {target} has no alt text"
        if re.match(r"[a-z]+:|#", target):
            continue
        if not (path.parent / unquote(target.split("#")[0])).exists():
            yield f"the link to {target} leads nowhere"
    following = sorted(path.parent.glob(f"{int(path.name[:2]) + 1:02d}_*.ipynb"))
    if following and following[0].name not in (section(nb, "Next") or ""):
        yield f"'Next' does not link to {following[0].name}"


def numbers_of_sections(nb: NotebookNode) -> set[str]:
    """ "3" and "3.1" of the headings "## 3. Title" and "### 3.1 Title"."""
    markdown = "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    return set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", markdown, re.MULTILINE))


def sections(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Sections that the prose names exist, in this lesson and behind a link to another."""
    markdown = "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    named = re.findall(
        r"(?:\]\((\d\d_\w+\.ipynb)\), )?\b[Ss]ections? (\d+(?:\.\d+)?)(?![\d.]*\d)", markdown
    )
    for target, number in named:
        there = path.with_name(target) if target else None
        if there and not there.exists():
            continue  # `links` says so
        lesson = nbformat.read(there, as_version=4) if there else nb
        if number not in numbers_of_sections(lesson):
            yield f"there is no section {number} in {target or 'this lesson'}"


def cells(nb: NotebookNode, path: Path) -> Iterator[str]:
    """One set-up cell first, short cells, no absolute paths, enough numbers checked by nbval."""
    code = code_cells(nb)
    if not code or "setup" not in tags(code[0]) or sum("setup" in tags(c) for c in code) != 1:
        yield "the first code cell, and no other, must be tagged 'setup'"
    for index, cell in enumerate(nb.cells):
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line.strip()]
            if not lines:
                yield f"cell {index} is empty"
            if len(lines) > MAX_LINES:
                yield f"cell {index} has {len(lines)} lines; {MAX_LINES} are allowed"
        text = cell.source + (output_text(cell) if cell.cell_type == "code" else "")
        if found := ABSOLUTE_PATH.search(text):
            yield f"cell {index} contains an absolute path, {found.group()!r}"
    checked = [c for c in code if "nbval-check-output" in tags(c)]
    if sum("exercise-check" not in tags(c) for c in checked) < 2:
        yield "fewer than two cells are tagged nbval-check-output, exercises aside"
    if any(not c.outputs for c in checked):
        yield "a cell tagged nbval-check-output prints nothing"


def outputs(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Executed in order, no errors, nothing on stderr, no orphaned widgets, figures described."""
    counts = [cell.execution_count for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the cells were not executed in order: {counts}"
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"cell {index} shows an error or a warning"
            if WIDGET_MIME in output.get("data", {}):
                yield f"cell {index} holds a widget view; use tools/execute_notebooks.py"
            for kind in output.get("data", {}):
                if kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt"):
                    yield f"cell {index} shows a picture without alt in the output's metadata"
        shown = [kind for output in cell.get("outputs", []) for kind in output.get("data", {})]
        if any(kind.startswith("image/") for kind in shown):
            near = [c.source for c in nb.cells[index + 1 : index + 3] if c.cell_type == "markdown"]
            if not any("*Figure: " in source for source in near):
                yield f"cell {index} shows a picture that no '*Figure: ...*' describes"


def predictions(nb: NotebookNode, path: Path) -> Iterator[str]:
    """What answers a question is collapsed until it is run or opened; nothing else is."""
    asked = answered = False  # a question is open; one of its answers was shown
    for index, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            asked = "**Predict.**" in cell.source or (asked and not answered)
            answered = False
            continue
        exercise = any(tag.startswith("exercise-") for tag in tags(cell))
        answer = asked and bool(cell.outputs) and not exercise
        answered = answered or answer
        folds = (
            cell.metadata.get("collapsed"),
            cell.metadata.get("jupyter", {}).get("outputs_hidden"),
        )
        if answer and folds != (True, True):
            yield f"cell {index} answers a prediction in the open; use tools/execute_notebooks.py"
        if not answer and any(folds):
            yield f"cell {index} hides an output that answers no prediction"


def metadata(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Small, no widget state, no Python version, the kernel that every installation has."""
    if path.stat().st_size > MAX_BYTES:
        yield f"the file has {path.stat().st_size} bytes; {MAX_BYTES} are allowed"
    if "widgets" in nb.metadata:
        yield "the file holds widget state"
    if nb.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not python3"
    if "version" in nb.metadata.get("language_info", {}):
        yield "the file names a Python version; use tools/execute_notebooks.py"


def exercises(nb: NotebookNode, path: Path) -> Iterator[str]:
    """At least three exercises: stub, check that says not attempted, solution that passed."""
    kinds = ("exercise-stub", "exercise-check", "exercise-solution")
    setup = code_cells(nb)[0].source
    tagged = [(kind, c) for c in code_cells(nb) for kind in kinds if kind in tags(c)]
    if len(tagged) < 9 or [kind for kind, _ in tagged] != list(kinds) * (len(tagged) // 3):
        yield "fewer than three exercises, or not in the order stub, check, solution"
        return
    for number, ((_, stub), (_, check), (_, solution)) in enumerate(
        zip(tagged[::3], tagged[1::3], tagged[2::3], strict=True), start=1
    ):
        name = f"exercise {number}"
        checker = re.search(rf"cl\.checks\.lesson_{path.name[:2]}\.(\w+)\(", check.source)
        if "..." not in stub.source:
            yield f"{name}: the stub has no '...' to fill in"
        if not checker or f".{checker.group(1)}(" not in solution.source:
            yield f"{name}: check and solution do not call one checker of this lesson"
        for answer in re.findall(r"\bmy_\w+", check.source):
            if not re.search(rf"\b{answer} = .*\.\.\.", setup):
                yield f"{name}: the set-up cell does not begin with {answer} = ..."
        if "nbval-check-output" not in tags(check) or "not attempted" not in output_text(check):
            yield f"{name}: the check is not tagged nbval-check-output or was attempted"
        if ".require()" not in solution.source or "solution passes" not in output_text(solution):
            yield f"{name}: the solution does not .require() the check or did not pass"
        folded = solution.metadata.get("jupyter", {}).get("source_hidden") is True
        if not folded or solution.metadata.get("cellView") != "form":
            yield f"{name}: the solution is not folded away (source_hidden, cellView)"
        if not solution.source.startswith("# @title"):
            yield f"{name}: the solution does not begin with '# @title'"


RULES = (parts, links, sections, cells, outputs, predictions, metadata, exercises)


def breaches(nb: NotebookNode, path: Path) -> list[str]:
    """Every breach of every rule."""
    return [sentence for rule in RULES for sentence in rule(nb, path)]
