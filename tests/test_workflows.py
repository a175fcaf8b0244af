"""The workflow runs what the README tells a learner to run, on every kind of machine it names."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load(TEXT)
README, LOWEST = WORKFLOW["jobs"]["readme"], WORKFLOW["jobs"]["lower-bounds"]


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def minor(version: str) -> int:
    """``"3.12"`` -> 12; a number would read 3.10 as 3.1."""
    assert isinstance(version, str)
    return int(re.fullmatch(r"3\.(\d+)", version).group(1))


def test_three_systems_run_the_readmes_two_commands_and_nothing_else():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^    (python3 start\.py.*)$", readme, flags=re.MULTILINE)
    assert commands(README) == [f"{told[0]} --check", told[1]]  # --check ends before JupyterLab
    systems = {name.split("-")[0] for name in README["strategy"]["matrix"]["os"]}
    assert systems == {"ubuntu", "windows", "macos"}
    assert README["runs-on"] == "${{ matrix.os }}"


def test_the_pythons_reach_from_the_oldest_that_is_allowed_to_beyond_the_bundles():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest = re.search(r'requires-python = ">=([\d.]+)"', project).group(1)
    tool = (ROOT / "tools" / "bundle.py").read_text(encoding="utf-8")
    bundled = re.search(r"^PYTHONS = \((.*)\)", tool, flags=re.MULTILINE)
    pythons = [minor(version) for version in README["strategy"]["matrix"]["python"]]
    assert min(pythons) == minor(oldest)
    assert max(pythons) >= max(minor(v) for v in re.findall(r'"([^"]+)"', bundled.group(1)))


def test_the_lower_bounds_run_as_contributing_says():
    told = re.search(
        r"^    (uvx .*)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert commands(LOWEST)[-1] == told.group(1)


def test_the_workflow_may_only_read_and_ends_by_itself():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "secrets" not in TEXT and "pull_request_target" not in TEXT
    for job in (README, LOWEST):
        assert "permissions" not in job and job["timeout-minutes"] <= 120
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"actions/(checkout|setup-python)@v\d+", name) for name in used)
        assert job["steps"][0]["with"]["persist-credentials"] is False
