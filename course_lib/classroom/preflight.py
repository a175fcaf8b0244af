"""``python -m course_lib preflight``: is this machine, or this hub, ready for the class?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from course_lib.classroom import lesson_times, machine_checks, network_checks
from course_lib.classroom.findings import VERDICTS, Finding, ask, findings_as_text
from course_lib.classroom.lessons import course_lessons
from course_lib.errors import check_choice, check_whole

_EPILOG = """\
Run it on the machine that will be used: a learner's computer, or the hub. --students says for how
many people memory, disk and network of one shared hub or classroom have to last; a hub gives each
3 GB of memory. Times of lessons are estimated, or measured with --lessons or --all (some 15 minutes
on two slow cores).

Exit code 0: nothing stops the class, 1: something does, 2: wrong arguments."""


def add_preflight(subparsers: argparse._SubParsersAction) -> None:
    """Add ``preflight`` to the command line."""
    preflight = subparsers.add_parser(
        "preflight", help="check network, disk, memory, versions and times before a class",
        description="Check network, disk, memory, versions and times before a class.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    preflight.add_argument(
        "--students", type=_students, default=1, metavar="N", help="learners at once (default: 1)"
    )
    measured = preflight.add_mutually_exclusive_group()
    measured.add_argument(
        "--lessons", type=_lesson, nargs="+", default=[], metavar="NN",
        help="run these lessons here and measure them",
    )  # fmt: skip
    measured.add_argument("--all", action="store_true", help="run and measure every lesson")
    preflight.add_argument("--offline", action="store_true", help="leave the network alone")
    preflight.add_argument("--json", action="store_true", help="print the table as JSON")
    preflight.set_defaults(run=run_preflight)


def _students(text: str) -> int:
    try:
        return check_whole("--students", int(text) if text.isdecimal() else text, high=2000)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _lesson(text: str) -> str:
    try:
        return check_choice("lesson", text, [lesson.number for lesson in course_lessons()])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run_preflight(options: argparse.Namespace) -> int:
    """Print the table; the exit code is 1 if something stops the class."""
    findings = list(check_all(options))
    worst = max((one.verdict for one in findings), key=VERDICTS.index)
    if options.json:
        table = {"students": options.students, "verdict": worst}
        table["findings"] = [asdict(one) for one in findings]
        print(json.dumps(table, indent=2, ensure_ascii=False))
    else:
        counts = ", ".join(f"{sum(one.verdict == v for one in findings)} {v}" for v in VERDICTS)
        print(findings_as_text(findings), f"\nVerdict: {worst} ({counts}).", sep="\n")
    return int(worst == "stop")


def check_all(options: argparse.Namespace) -> Iterator[Finding]:
    """All rows of the table."""
    students = options.students
    if options.offline:
        yield Finding("network", "not asked (--offline)")
        yield network_checks.download(students)
    else:
        yield from ask("network", partial(network_checks.check_network, students))
    yield from ask("versions", machine_checks.check_packages)
    yield from ask("memory", partial(machine_checks.check_memory, students))
    yield from ask("processors", partial(machine_checks.check_processors, students))
    yield from ask("disk", partial(machine_checks.check_disk, students))
    yield from ask("folders", machine_checks.check_folders)
    yield from ask("port", machine_checks.check_ports)
    yield from ask("models", machine_checks.check_models)
    yield from ask("clock", machine_checks.check_clock)
    wanted = [one for one in course_lessons() if options.all or one.number in options.lessons]
    if wanted:
        yield from ask("times of lessons", partial(lesson_times.measured_times, wanted))
    else:
        yield from ask("times of lessons", lesson_times.estimated_times)
