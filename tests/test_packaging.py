"""The lists of packages agree, so that pip, conda and the README's commands install one course."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def project_list(key: str) -> list[str]:
    """A list of requirements in pyproject.toml, read without tomllib, which Python 3.10 lacks."""
    body = re.search(rf"^{key} = \[(.*?)\]", PYPROJECT, flags=re.MULTILINE | re.DOTALL).group(1)
    return re.findall(r'"([^"]+)"', body)


def required() -> set[str]:
    return {str(Requirement(r)) for r in project_list("dependencies") + project_list("test")}


def test_requirements_txt_lists_what_pyproject_requires_and_then_the_project():
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line[0] != "#"
    ]
    assert lines[-1] == "-e ."
    assert {str(Requirement(line)) for line in lines[:-1]} == required()
    assert all(">=" in line for line in lines[:-1])


def test_environment_yml_has_them_all():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))[
        "dependencies"
    ]
    pip = dependencies[-1]["pip"]
    names = {re.split(r"[>=]", entry)[0] for entry in [*dependencies[:-1], *pip]}
    renamed = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
    names = {renamed.get(name, name) for name in names}
    assert pip[-1] == "-e ."
    assert {Requirement(r).name for r in required()} <= names
    assert names - {Requirement(r).name for r in required()} == {"python", "pip", "-e ."}


def test_no_list_allows_an_older_version_than_pyproject():
    """The suite runs at exactly these bounds; see CONTRIBUTING.md for the command."""

    def lowest(text: str) -> tuple[str, Version]:
        requirement = Requirement(text)
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        return requirement.name, Version(bound.version)

    bounds = dict(lowest(entry) for entry in required())
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    entries = re.findall(r"^ +- ([\w-]+>=[\d.]+)$", environment, flags=re.MULTILINE)
    assert len(entries) == len(bounds)
    for name, version in map(lowest, entries):
        name = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}.get(name, name)
        assert version >= bounds[name], name


def test_contributing_says_how_to_run_at_the_lower_bounds():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    oldest = re.search(r'requires-python = ">=([\d.]+)"', PYPROJECT).group(1)
    assert (
        f"uvx --python {oldest} --resolution lowest-direct --with-editable '.[test]' pytest -n 0"
        in text
    )


def test_the_readme_has_exactly_the_two_set_up_commands_and_then_those_of_pip():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (python3? start.*|pip install .*)$", readme, flags=re.MULTILINE)
    assert commands == [
        "python3 start.py",
        "python3 start.py --test",
        "pip install -r requirements.txt && python -m course_lib start",
        "pip install -r requirements.txt && pytest",
    ]
    assert "python3 start.py --test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
