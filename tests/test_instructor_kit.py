"""The instructor's kit: minutes that add up, and nothing named that the course does not have."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nbformat
import pytest

from course_lib import __main__ as command_line
from course_lib.classroom.quiz import load_quiz

ROOT = Path(__file__).resolve().parent.parent
KIT = ROOT / "docs" / "instructor"
LESSONS = {p.name[:2]: p for p in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
HEADINGS = ["Purpose", "Time", "Demonstrate", "Predictions to collect", "Stumbling blocks",
            "Discussion", "Skip if short of time", "Exercises"]  # fmt: skip


def read(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def guide(number: str) -> str:
    return read(KIT / f"lesson_{number}.md")


def lesson(number: str) -> tuple[str, set[str]]:
    """All of a lesson's text with the printed outputs, and its numbered sections."""
    text = ""
    for cell in nbformat.read(LESSONS[number], as_version=4).cells:
        text += cell.source + "\n"
        for output in cell.get("outputs", []):
            text += output.get("text", "") + output.get("data", {}).get("text/plain", "") + "\n"
    return text, set(re.findall(r"^#{2,3} (\d[\d.]*?)\.? \S", text, re.M))


def timetables(text: str) -> list[tuple[int, list[list[str]]]]:
    """Each stated length and the rows below it; none where parts of their own follow."""
    found, inside = [], False
    for line in text.splitlines():
        if stated := re.match(r"(?:#+ |\*\*|Plan).*?, (\d+) minutes", line):
            found.append((int(stated[1]), []))
        inside = line.startswith("| minutes") or (inside and line.startswith("|"))
        if inside and re.match(r"\| \d+ \|", line):
            found[-1][1].append([cell.strip() for cell in line.strip()[1:-1].split("|")])
    return found


@pytest.mark.parametrize("number", LESSONS)
def test_a_guide_has_all_headings_and_names_existing_sections(number):
    text, (content, sections) = guide(number), lesson(number)
    assert text.startswith(f"{content.partition(chr(10))[0]}: instructor's guide\n")
    assert re.findall(r"^## (.+)$", text, re.M) == HEADINGS
    named = re.findall(r"\bsections? ((?:\d+(?:\.\d+)?(?:, | and | to )?)+)(?! of l)", text, re.I)
    named += [row[1] for _, table in timetables(text) for row in table]
    named += re.findall(r'^\| ([\d.]+) \| [^|]+\| "', text, re.M)  # of a prediction
    unknown = {s for part in named for s in re.findall(r"\d+(?:\.\d+)?", part)} - sections
    assert named and not unknown, f"sections that lesson {number} does not have: {unknown}"


@pytest.mark.parametrize("path", sorted(KIT.glob("lesson_*.md")) + [KIT / "README.md"])
def test_minutes_add_up(path):
    parts_left = 0  # minutes of a heading whose evenings or weeks follow
    tables = timetables(read(path))
    assert tables and tables[-1][1]
    for total, table in tables:
        if table:
            assert sum(int(row[0]) for row in table) == total
            parts_left -= total if parts_left else 0
        else:
            assert parts_left == 0, "the parts before do not add up"
            parts_left = total
    assert parts_left == 0, "the last parts do not add up"


def test_timetables_name_existing_sections_and_have_breaks():
    for total, table in timetables(read(KIT / "README.md")):
        since = 0
        for minutes, what, _ in table:
            since = 0 if what == "break" else since + int(minutes)
            assert since <= 120, f"more than two hours without a break, of {total} minutes"
            number, colon, named = what.partition(": ")
            assert not colon or set(named.split(", ")) <= lesson(number)[1], what


def test_times_and_memory_are_those_of_the_readme():
    row = re.compile(r"^\| \[(\d\d) .*\| ([\d.]+ (?:s|min)) \| ([\d.]+ GB) \|$", re.M)
    measured = row.findall(read("README.md"))
    assert [line[0] for line in measured] == list(LESSONS)
    assert measured == row.findall(read(KIT / "README.md"))
    for number, seconds, memory in measured:
        said = f"the cells take {seconds} and {memory}"
        assert said in guide(number).replace("minutes and", "min and"), said


@pytest.mark.parametrize("number", LESSONS)
def test_numbers_of_the_experiments_are_in_the_lesson(number):
    """Decimals and percentages of Demonstrate and Predictions, as the cells print or say them."""
    part = guide(number).partition("## Demonstrate")[2].partition("## Stumbling")[0]
    numbers = {n.replace(" ", "") for n in re.findall(r"\d+\.\d+(?: ?%)?|\d+ ?%", part)}
    text, sections = lesson(number)
    missing = [n for n in numbers - sections if n not in text.replace(" %", "%")]
    assert numbers and not missing, f"not in lesson {number}: {missing}"


def test_quoted_verdicts_are_the_checkers_own():
    files = [*ROOT.glob("course_lib/checks/lesson_*.py"), *ROOT.glob("tests/test_checks_*.py")]
    known = re.sub(r'"\s*\n\s*f?"', "", "".join(map(read, files))).lower()
    for number in LESSONS:
        for item in re.findall(r"^- \*\*Exercise.*?(?=^- |^#)", guide(number), re.M | re.S):
            for quote in re.findall(r'"([^"]+)"', re.sub(r"\s+", " ", item)):
                assert quote.lower().strip("… ") in known, f"{number}: no check says {quote!r}"


@pytest.mark.parametrize("path", sorted(KIT.glob("*.md")))
def test_commands_and_links_exist(path):
    for link in re.findall(r"\]\(([^)#]+)", read(path)):
        assert link.startswith("https:") or (path.parent / link).exists(), link
    for command in re.findall(r"`python ([^`]+)`", read(path)):
        module, *arguments = shlex.split(command)
        if module == "-m":
            assert arguments.pop(0) == "course_lib"
            command_line._parser().parse_args(arguments)  # exits where there is no such command
        else:
            assert all(a in read(module) for a in arguments if a.startswith("--")), command


@pytest.mark.parametrize("number", LESSONS)
def test_a_quiz_names_existing_sections_and_is_not_guessed_from_looks(number):
    places, longest = set(), 0
    for question in load_quiz(number).questions:
        lengths = [len(choice.text) for choice in question.choices]
        places.add(question.answer)
        longest += lengths[question.answer] == max(lengths)
        assert question.section in lesson(number)[1]
    assert len(places) >= 2 and longest <= 3
