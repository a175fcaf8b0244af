"""The package's layers, its light import, and rules of the house that a machine can hold."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "course_lib"

# A module may import from lower levels and, among equals, from those before it in its level's line.
# A package counts as one; inside it anything goes, as long as Python can load it.
LEVELS = (
    (
        "lazy", "errors", "tables", "memory", "device", "hosted", "tensors", "file_writing",
        "weights",
    ),  # fmt: skip
    ("schedules", "unet", "dit", "portraits"),
    ("process", "flow"),
    (
        "guidance", "sampler_steps", "sampler_grids", "samplers", "losses", "ema",
        "training_options", "training_run", "training_loop", "training", "gan", "diffusion",
        "metrics", "pipelines", "provenance", "mini", "safety", "plotting",
    ),
    ("checks", "lesson_copies", "doctor", "classroom", "widgets"),
    ("__main__",),
)  # fmt: skip
ORDER = {name: i for i, name in enumerate(name for level in LEVELS for name in level)}
HEAVY = (
    "accelerate", "anywidget", "diffusers", "ipywidgets", "matplotlib", "resvg_py", "torchmetrics",
    "torchvision", "transformers",
)  # fmt: skip


def top_module(path: Path) -> str:
    """``course_lib/portraits/painter.py`` -> ``portraits``."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_modules(tree: ast.AST, path: Path) -> set[str]:
    """Names of the modules of course_lib that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                base = ["course_lib", *path.relative_to(PACKAGE).parts][: -node.level]
                package = ".".join([*base, package]).rstrip(".")
            names = [f"{package}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {p[1] for p in parts if p[0] == "course_lib" and len(p) > 1}
        found |= {"course_lib itself" for p in parts if p == ["course_lib"]}
    return found


def violations(source: str, path: Path) -> list[str]:
    """One sentence for each import that does not go downward."""
    own = top_module(path)
    wrong = []
    for name in sorted(imported_modules(ast.parse(source), path) - {own, "__version__"}):
        if name not in ORDER:
            wrong.append(f"{path.name} imports {name}, which has no level in {Path(__file__).name}")
        elif ORDER[name] >= ORDER[own]:
            wrong.append(f"{path.name} imports {name}, which stands above it")
    return wrong


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downward(path):
    assert top_module(path) in ORDER, f"give {path.name} a level in LEVELS"
    assert not violations(path.read_text(encoding="utf-8"), path)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("process.py", "def f():\n    from course_lib.samplers import sample"),
        ("tensors.py", "import course_lib.schedules"),
        ("errors.py", "from course_lib import device"),
        ("device.py", "import course_lib as cl"),
        ("device.py", "from . import samplers"),
        ("portraits/painter.py", "from ..training import train"),
        ("samplers.py", "from course_lib.unknown import x"),
    ],
)
def test_the_rule_notices_an_upward_import(file, source):
    assert violations(source, PACKAGE / file)


def test_importing_the_package_stays_light():
    code = (
        "import sys, torch; before = set(sys.modules); import course_lib; "
        f"print([m for m in {HEAVY} if m in set(sys.modules) - before])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_public_name_resolves():
    import course_lib as cl

    missing = [name for name in cl.__all__ if not hasattr(cl, name)]
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_readable(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 300
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[0].end_lineno + 1 if documented else node.lineno
            assert node.end_lineno - first < 50, f"{node.name} has more than 50 lines"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), "no star imports"
