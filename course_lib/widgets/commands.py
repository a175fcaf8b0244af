"""The command line's ``quiz``: pages to answer on a screen, or to print."""

from __future__ import annotations

import argparse
from pathlib import Path

from course_lib.classroom.quiz import load_quiz, quiz_lessons
from course_lib.classroom.quiz_pages import print_page
from course_lib.file_writing import write_atomically

_ABOUT = """\
Write the quiz of a lesson as one HTML file that works offline: five questions that say at once
whether a choice is right, and why. With --print, a page for paper. A file is replaced only if it
is a quiz that this command wrote."""


def add_quiz(subparsers: argparse._SubParsersAction) -> None:
    """Add ``quiz``."""
    quiz = subparsers.add_parser(
        "quiz", help="write the quiz of a lesson, to answer in a browser or to print",
        description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    quiz.add_argument("lesson", help='a number such as 01, or "all"')
    quiz.add_argument(
        "-o", "--output", type=Path,
        help='the file (default: quiz_01.html, or quiz_01_print.html for paper), or with "all" the '
        "folder (default: quizzes)",
    )  # fmt: skip
    quiz.add_argument("--print", action="store_true", dest="paper", help="a page for A4 paper")
    quiz.add_argument(
        "--answers", action="store_true", help="with --print: mark the right choices and say why"
    )
    quiz.set_defaults(run=run_quiz)


def run_quiz(options: argparse.Namespace) -> int:
    """Write one page, or one for each lesson; nothing is written if one of them cannot be."""
    if options.answers and not options.paper:
        raise ValueError("--answers is for paper: add --print. The page for a browser has them.")
    every = options.lesson == "all"
    quizzes = [load_quiz(lesson) for lesson in (quiz_lessons() if every else [options.lesson])]
    kind = f"{'_print' * options.paper}{'_answers' * options.answers}"
    names = [f"quiz_{quiz.lesson}{kind}.html" for quiz in quizzes]
    if every:
        folder = options.output or Path("quizzes")
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file; with all lessons --output names a folder.")
        paths = [folder / name for name in names]
    else:
        paths = [options.output or Path(names[0])]
    for path in paths:
        _require_ours(path)
    for path, quiz in zip(paths, quizzes, strict=True):
        if options.paper:
            page = print_page(quiz, answers=options.answers)
        else:
            from course_lib.widgets.quiz import Quiz  # brings ipywidgets

            page = Quiz(quiz).to_html()
        write_atomically(path, page.encode())
        print(path)
    return 0


def _require_ours(path: Path) -> None:
    """Refuse a place that holds anything but a quiz of this command."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file, such as {path / 'quiz.html'}.")
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--output must end in .html, not {path.name!r}.")
    if path.exists():
        with path.open("rb") as file:
            start = file.read(1000)
        if b"<title>Quiz of lesson" not in start:
            raise ValueError(
                f"{path} exists and is no quiz of this course; it was left as it is. "
                "Choose another name with --output."
            )
