"""The glossary defines what the lessons use, and the page of misconceptions says what they say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
GLOSSARY = ROOT / "notebooks" / "glossary.md"
ENTRY = re.compile(r"- \*\*(.+?)\*\*(?: \((.+?)\))?: (.+) Lessons?: (.+)")
# Names of products, papers, laws, file formats and units, which the glossary leaves to a dictionary
NO_TERMS = {
    "AI", "API", "AWQ", "BY", "CC", "CO2", "ComfyUI", "CONTRIBUTING", "CPU", "CUDA", "DINOv2",
    "ELVIS", "EU", "FitzGerald", "FLUX", "GB", "GDPR", "GPU", "HTML", "ID", "IP", "JiT", "JPEG",
    "JSON", "JupyterLab", "kB", "KiB", "kWh", "LAION", "LICENSE", "macOS", "MB", "McCann", "MiB",
    "MPS", "NAME", "NaN", "NumPy", "OpenAI", "OpenCLIP", "OpenRAIL", "PCIe", "PIL", "PNG",
    "PyTorch", "RAM", "README", "ResNet", "RGB", "RMSE", "SD", "SDXL", "SESEC", "SVD", "UK", "US",
    "USA", "WebP", "XL", "XS",
}  # fmt: skip
ABBREVIATION = re.compile(r"\b[A-Za-z]*[A-Z][A-Za-z]*[A-Z][A-Za-z0-9]*\b")


def prose(path: Path) -> str:
    """A lesson's Markdown without code, formulas, links' targets and the list of references."""
    notebook = nbformat.read(path, as_version=4)
    text = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    text = re.sub(r"^#{2,3} References\s*$.*?(?=^#{1,3} |\Z)", "", text, flags=re.M | re.S)
    text = re.sub(r"^    .*$", "", text, flags=re.MULTILINE)
    for code in (r"```.*?```", r"\$\$.*?\$\$", r"\$[^$\n]*\$", r"`[^`\n]*`", r"\]\([^)]*\)"):
        text = re.sub(code, " ", text, flags=re.DOTALL)
    return text


def entries(text: str) -> list[tuple[str, list[str], str, list[str]]]:
    """Term, its other names, definition, files of its lessons, for each line of the glossary."""
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    found = [ENTRY.fullmatch(line) for line in lines]
    wrong = [line for line, match in zip(lines, found, strict=True) if not match]
    assert not wrong, f"not '- **term** (other names): definition. Lessons: [NN](file).': {wrong}"
    return [
        (m[1], [n.strip() for n in (m[2] or "").split(",") if n.strip()], m[3], linked(m[4]))
        for m in found
    ]


def linked(text: str) -> list[str]:
    return re.findall(r"\]\((\d\d_\w+\.ipynb)\)", text)


def undefined(text: str, names: set[str]) -> set[str]:
    """Abbreviations of a text that are no name of the glossary, in either number."""
    known = {word for name in names for word in re.split(r"[^A-Za-z0-9]+", name)}
    known |= {name.replace("-", "") for name in names} | NO_TERMS
    found = set(ABBREVIATION.findall(text.replace("U-Net", "")))
    return {word for word in found if word not in known and word.removesuffix("s") not in known}


@pytest.fixture(scope="module")
def glossary():
    return entries(GLOSSARY.read_text(encoding="utf-8"))


def test_each_term_is_defined_once_and_in_order(glossary):
    names = [name for term, others, _, _ in glossary for name in (term, *others)]
    assert len({name.casefold() for name in names}) == len(names) > 100
    terms = [re.sub(r"[^a-z0-9]", "", term.casefold()) for term, *_ in glossary]
    assert terms == sorted(terms)


def test_each_term_is_used_in_the_lessons_that_it_names(glossary):
    texts = {
        path.name: " ".join(
            c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"
        ).casefold()
        for path in LESSONS
    }
    for term, others, _, lessons in glossary:
        assert lessons, f"{term} names no lesson"
        for lesson in lessons:
            used = [name for name in (term, *others) if name.casefold() in texts[lesson]]
            assert used, f"{lesson} does not use {term}"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_each_abbreviation_of_a_lesson_is_defined(path, glossary):
    names = {name for term, others, _, _ in glossary for name in (term, *others)}
    assert not undefined(prose(path), names)
    assert "(glossary.md)" in "".join(c.source for c in nbformat.read(path, as_version=4).cells)


def test_the_check_notices_an_undefined_abbreviation():
    assert undefined("LoRAs and the XYZW of a GAN", {"LoRA", "GAN (x)"}) == {"XYZW"}


def test_the_page_of_misconceptions_is_what_the_lessons_say():
    spec = importlib.util.spec_from_file_location(
        "gather_misconceptions", ROOT / "tools" / "gather_misconceptions.py"
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = (ROOT / "notebooks" / tool.PAGE).read_text(encoding="utf-8")
    assert page == tool.page(ROOT / "notebooks"), "run python tools/gather_misconceptions.py"
    assert all(path.name in page for path in LESSONS[1:])
