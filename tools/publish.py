"""Write the address of a copy of the course into its README, its lessons and its book.

    python tools/publish.py https://github.com/OWNER/REPO      # then commit and push
    python tools/publish.py --check                            # say what would change: exit code 1
    python tools/publish.py --remove                           # take it all out again

The README gets launch badges, each lesson its launch links and a folded cell that fetches the
course on Colab, and docs/address.json the address, for the book's launch buttons. Where none is
given, the address of docs/address.json is taken. A file with changes that are not committed is
never written to; what this command itself wrote does not count as a change.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from launch_cells import (  # noqa: E402  (after the path)
    EXAMPLE,
    Address,
    parse_lesson,
    read_address,
    stamp_lesson,
    stamp_readme,
    title_of,
)

from course_lib.file_writing import write_atomically  # noqa: E402

NOTE = "docs/address.json"
README = "README.md"


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if all is well, 1 if --check found something to change, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help=f"such as {EXAMPLE}")
    parser.add_argument("--branch", help="the branch that is published (default: main)")
    parser.add_argument("--check", action="store_true", help="write nothing, say what would change")
    parser.add_argument("--remove", action="store_true", help="take the address out again")
    options = parser.parse_args(arguments)
    try:
        lessons = tracked_lessons(ROOT)
        address = wanted_address(options)
        changes = changed_files(ROOT, lessons, address)
        for name, text in changes.items():
            print(f"{name} {'would change' if options.check else 'changes'}")
            if options.check:
                continue
            if text is None:
                (ROOT / name).unlink()
            else:
                write_atomically(ROOT / name, text.encode("utf-8"))
    except (ValueError, OSError) as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"publish.py: {error.name} is not installed; run python3 start.py", file=sys.stderr)
        return 2
    where = f"{address.repository} (branch {address.branch})" if address else "no address"
    if not changes:
        print(f"Nothing to change: README and lessons show {where}.")
    elif not options.check:
        print(f"They now show {where}. Commit these files and push.")
    return int(options.check and bool(changes))


def wanted_address(options: argparse.Namespace) -> Address | None:
    """The address that was given or, without one, that of docs/address.json."""
    note = ROOT / NOTE
    if options.remove:
        if options.address or options.branch:
            raise ValueError("--remove takes no address and no branch.")
        return None
    noted = {"repository": None, "branch": None}
    if note.exists() and not options.address:
        try:
            noted |= json.loads(note.read_text(encoding="utf-8"))
            if not {type(noted[key]) for key in ("repository", "branch")} <= {str, type(None)}:
                raise TypeError("no text")
        except (ValueError, TypeError):
            raise ValueError(f"{NOTE} cannot be read; give the address anew.") from None
    text = options.address or noted["repository"]
    branch = options.branch if options.branch is not None else noted["branch"] or "main"
    if not text:
        if options.check and not options.branch:
            return None  # not published: nothing should show
        raise ValueError(f"give the address of your copy, such as {EXAMPLE}.")
    allowed = subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"])
    if allowed.returncode or branch.startswith("-"):
        raise ValueError(f"{branch!r} cannot be the name of a branch in git; see `git branch`.")
    return read_address(text, branch)


def tracked_lessons(root: Path) -> list[str]:
    """Paths of the notebooks that git knows, from the root; copies beside them are nobody's."""
    top = git(root, "rev-parse", "--show-toplevel").strip()
    if Path(top).resolve() != root.resolve():
        raise ValueError(f"the course must be a git checkout of its own, and {top} holds it.")
    names = git(root, "ls-files", "-z", "--", "notebooks/*.ipynb").split("\0")
    return sorted(name for name in names if name)


def changed_files(root: Path, lessons: list[str], address: Address | None) -> dict[str, str | None]:
    """Name of each file that would change -> its new text, None for a file to remove.

    Raises
    ------
    ValueError
        If a file has changes of somebody's own, or a lesson is no valid notebook.
    """
    texts = {name: read(root, name) for name in [README, *lessons]}
    titles = {Path(name).name: title_of(parsed(name, texts[name])) for name in lessons}

    def stamped(name: str, text: str, address: Address | None) -> str:
        if name == README:
            return stamp_readme(text, address)
        return stamp_lesson(text, address, Path(name).name, titles)

    for name in git(root, "diff", "-z", "--name-only", "HEAD", "--", *texts).split("\0"):
        if name and not is_ours(root, name, texts[name], stamped):
            raise ValueError(
                f"{name} has changes that are not committed; commit them, or bring back the file "
                f"with `git checkout HEAD {name}`, then publish."
            )
    wanted: dict[str, str | None] = {n: stamped(n, text, address) for n, text in texts.items()}
    wanted[NOTE] = None
    if address:
        note = {"repository": address.repository, "branch": address.branch}
        wanted[NOTE] = json.dumps(note, indent=2) + "\n"
    texts[NOTE] = read(root, NOTE) if (root / NOTE).exists() else None
    return {name: text for name, text in wanted.items() if text != texts[name]}


def is_ours(root: Path, name: str, text: str, stamped) -> bool:
    """Whether a file differs from the committed one by launch links alone."""
    try:
        return stamped(name, git(root, "show", f"HEAD:{name}"), None) == stamped(name, text, None)
    except ValueError:  # not committed yet, or committed broken
        return False


def parsed(name: str, text: str) -> dict:
    """A lesson's notebook; what is wrong with it is said with its name."""
    try:
        return parse_lesson(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def read(root: Path, name: str) -> str:
    """A file's text with its line ends as they are."""
    try:
        return (root / name).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ValueError(f"{name} is missing; bring it back with `git checkout HEAD`.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text; mend or restore it first.") from None


def git(root: Path, *arguments: str) -> str:
    """What a git command prints; ValueError if it fails."""
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True)
    except FileNotFoundError:
        raise ValueError("git is not installed, and publishing needs it.") from None
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise ValueError(
            f"publishing needs a git checkout of the course with a commit; git says: {reason}"
        )
    return done.stdout.decode("utf-8")


if __name__ == "__main__":
    sys.exit(main())
