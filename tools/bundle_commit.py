"""The commit that is bundled: which one it is, and what packages it asks for."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from bundle_wheels import BundleError

ROOT = Path(__file__).resolve().parent.parent


def clean_commit(allow_dirty: bool) -> str:
    """The commit that is checked out; uncommitted changes are refused, or told."""
    top, commit = os.fsdecode(git("rev-parse", "--show-toplevel", "HEAD")).splitlines()
    if Path(top).resolve() != ROOT:
        raise BundleError(f"the course must be a git clone of its own, and {top} holds it.")
    names = [line[3:] for line in os.fsdecode(git("status", "--porcelain")).splitlines()]
    if names:
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        if not allow_dirty:
            raise BundleError(
                f"{len(names)} files are not committed ({listed}). Commit them, or bundle without "
                "them with --allow-dirty."
            )
        print(f"Left out, since uncommitted: the changes of {len(names)} files ({listed})")
    return commit


def git(*arguments: str) -> bytes:
    """What a git command prints; BundleError if it fails."""
    command = ["git", "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True)
    except FileNotFoundError:
        raise BundleError("git is not installed, and the bundle is made with it.") from None
    if done.returncode:
        reason = os.fsdecode(done.stderr).strip().partition("\n")[0]
        raise BundleError(f"{ROOT} must be a git clone of the course; git says: {reason}")
    return done.stdout


def lists_of(commit: str) -> list[bytes]:
    """The commit's lists of packages: those in the clone may have changed since."""
    return [git("show", f"{commit}:{name}") for name in ("requirements.txt", "pyproject.toml")]


def requirements_of(commit: str) -> list[str]:
    """What the course needs, and what builds it."""
    needed, project = (text.decode("utf-8") for text in lists_of(commit))
    lines = [line for line in needed.splitlines() if re.match(r"\w", line)]
    builders = re.search(r"^requires = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)
    return lines + re.findall(r'"([^"]+)"', builders.group(1) if builders else "")
