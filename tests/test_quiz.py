"""The quizzes: their files, the pages that the command writes, and what is no quiz."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from course_lib.__main__ import main
from course_lib.classroom import quiz as module
from course_lib.classroom.quiz import load_quiz, quiz_lessons
from course_lib.classroom.quiz_pages import inline, plain_part, print_page

ROOT = Path(__file__).resolve().parent.parent
QUIZZES = [load_quiz(lesson) for lesson in quiz_lessons()]


def example() -> dict:
    """A quiz as its file has it, with the right choice always first."""
    choices = [
        {"text": f"`{word}` of x₀ < 1", "right": word == "mean", "why": f"for the {word} & more"}
        for word in ("mean", "sum", "root")
    ]
    questions = [
        {"question": f"Which is number {k}?", "choices": copy.deepcopy(choices), "section": "3.2"}
        for k in range(1, 6)
    ]
    return {"lesson": "01", "questions": questions}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with one quiz, which the command reads, too."""
    (tmp_path / "quizzes").mkdir()
    write(tmp_path / "quizzes", example())
    monkeypatch.setattr(module, "FOLDER", tmp_path / "quizzes")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "quizzes"


def write(folder: Path, data: object) -> None:
    (folder / "lesson_01.json").write_text(json.dumps(data), encoding="utf-8")


def headings(lesson: str) -> list[str]:
    """The headings of a lesson's notebook, without their marks."""
    (path,) = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)


# ---- the course's own files


@pytest.mark.parametrize("quiz", QUIZZES, ids=lambda quiz: quiz.lesson)
def test_each_section_exists_and_letters_do_not_tell_the_answer(quiz):
    titles = headings(quiz.lesson)
    names = {*titles, *(title.split(" ")[0].rstrip(".") for title in titles)}
    assert {question.section for question in quiz.questions} <= names
    answers = [question.answer for question in quiz.questions]
    assert len(set(answers)) >= 2
    for question in quiz.questions:
        for choice in question.choices:  # their order is not that of the file
            assert not re.match(r"(all|none|both) of (the|these)", choice.text.lower())
            # Marks come in pairs.
            for text in (question.text, choice.text, choice.why):
                assert text.count("`") % 2 == 0 and text.count("$") % 2 == 0


# ---- reading


def test_a_number_may_be_written_as_one_likes(folder):
    assert load_quiz(1) == load_quiz("1")
    quiz = load_quiz("01")
    assert quiz.lesson == "01" and len(quiz.questions) == 5
    # One fixed order, in which the right choice is not always the first, as it is in the file
    assert len({question.answer for question in quiz.questions}) > 1
    assert quiz.questions[0].choices[quiz.questions[0].answer].text == "`mean` of x₀ < 1"
    assert quiz.questions[0].place == "section 3.2"


@pytest.mark.parametrize("lesson", ["2", 42, "one", "", True, None, "-1", "１"])
def test_a_lesson_without_a_quiz_is_named(folder, lesson):
    with pytest.raises(ValueError, match="no quiz of lesson .* The lessons with one are 01;"):
        load_quiz(lesson)


def spoil(path: str, value: object):
    """Change one place of the example, such as ``questions.0.section``."""

    def change(data: dict) -> dict:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        place = data
        for step in steps:
            place = place[step]
        place[last] = value
        return data

    return change


BAD = {
    "a list": (lambda data: [data], "the file is no object"),
    "another lesson": (spoil("lesson", "02"), "by its name it is '01'"),
    "four questions": (lambda data: data["questions"].pop() and data, "4 questions; a quiz has 5"),
    "the same twice": (spoil("questions.1.question", "Which is number 1?"), "same question twice"),
    "no section": (spoil("questions.2.section", " "), '"section" of question 3 must be a text'),
    "a key too many": (spoil("questions.2.hint", "x"), "question 3 has choices, hint, question"),
    "two choices": (
        lambda data: data["questions"][3]["choices"].pop() and data,
        "question 4 has 2 choices; give 3 or 4",
    ),
    "two right": (spoil("questions.0.choices.1.right", True), "question 1 has 2 right choices"),
    "none right": (spoil("questions.0.choices.0.right", False), "question 1 has 0 right choices"),
    "yes": (spoil("questions.0.choices.1.right", "yes"), "must be true or false, not 'yes'"),
    "no reason": (spoil("questions.4.choices.2.why", ""), '"why" of choice 3 of question 5'),
    "a twin": (spoil("questions.0.choices.1.text", "`mean` of x₀ < 1"), "the same choice twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_no_quiz_is_explained(folder, case):
    change, message = BAD[case]
    write(folder, change(example()))
    with pytest.raises(ValueError, match="lesson_01.json is not a quiz: .*" + re.escape(message)):
        load_quiz("01")


def test_a_file_that_was_cut_off_is_explained(folder):
    (folder / "lesson_01.json").write_text(json.dumps(example())[:200], encoding="utf-8")
    with pytest.raises(ValueError, match="lesson_01.json is not a quiz: .*line 1 column 201"):
        load_quiz("01")


# ---- pages


def test_the_sheet_for_the_class_keeps_the_answers_to_itself(folder):
    quiz = load_quiz("01")
    for_class, for_instructor = print_page(quiz), print_page(quiz, answers=True)
    assert for_class.count("<li>") == for_instructor.count("<li>") == 5 + 15
    assert "for the mean" not in for_class and "(right)" not in for_class
    assert for_instructor.count("for the mean &amp; more") == 5
    assert for_instructor.count("(right)") == 5
    letters = re.findall(r"Answer <strong>([A-D])</strong>, section 3.2\.", for_instructor)
    assert letters == ["ABCD"[question.answer] for question in quiz.questions]
    assert inline("`a<b` costs $x_0$ & more") == "<code>a&lt;b</code> costs x_0 &amp; more"


def test_a_notebook_holds_text_instead_of_a_picture(folder, monkeypatch):
    from course_lib.widgets import Quiz

    widget = Quiz(1)
    monkeypatch.setenv("COURSE_WIDGETS", "picture")
    data, metadata = widget._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"} and metadata == {}
    assert data["text/html"] == plain_part(load_quiz(1))
    monkeypatch.setenv("COURSE_WIDGETS", "page")
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert plain_part(load_quiz(1)) in page and "mountQuiz(" in page  # for readers without scripts
    monkeypatch.setenv("COURSE_WIDGETS", "live")
    assert "text/html" not in widget._repr_mimebundle_()[0]


# ---- the command


def test_the_command_writes_one_or_all(folder, capsys):
    assert main(["quiz", "1"]) == 0
    assert main(["quiz", "01", "--print", "-o", "sheet.html"]) == 0
    assert main(["quiz", "all", "--print", "--answers", "-o", "class"]) == 0
    made = ["quiz_01.html", "sheet.html", str(Path("class", "quiz_01_print_answers.html"))]
    assert capsys.readouterr().out.splitlines() == made
    assert all("<title>Quiz of lesson 01" in Path(name).read_text("utf-8") for name in made)
    assert main(["quiz", "01", "-o", "sheet.html"]) == 0  # ours may be replaced, by its other form
    assert "mountQuiz(" in Path("sheet.html").read_text("utf-8")


def test_what_is_in_the_way_stays(folder, capsys):
    Path("thesis.html").write_text("<title>My thesis</title>")
    Path("class").mkdir()
    Path("class", "quiz_01.html").write_text("mine")
    cases = {
        ("01", "-o", "thesis.html"): "exists and is no quiz of this course; it was left as it is",
        ("01", "-o", "class"): "class is a folder; give a file, such as",
        ("01", "-o", "quiz.pdf"): "must end in .html, not 'quiz.pdf'",
        ("all", "-o", "class"): "exists and is no quiz",
        ("all", "-o", "thesis.html"): "thesis.html is a file",
        ("77",): "there is no quiz of lesson '77'. The lessons with one are 01; give its number",
        ("01", "--answers"): "add --print",
    }
    for arguments, message in cases.items():
        assert main(["quiz", *arguments]) == 1
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    assert Path("thesis.html").read_text() == "<title>My thesis</title>"
    assert Path("class", "quiz_01.html").read_text() == "mine"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["class", "quizzes", "thesis.html"]
