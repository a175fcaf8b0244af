"""Section 4 of lesson 09: the checker of licences accepts right answers and names the mistakes."""

from __future__ import annotations

from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_09 as checks


def problems(licence, plan):
    found = set()
    if plan["commercial"] and not (licence.commercial and plan["revenue"] <= licence.revenue_limit):
        found.add("commercial")
    if licence.restricts and plan["listed_use"]:
        found.add("use")
    if plan["shares"] and not plan["keeps_notices"]:
        found.add("notices")
    if plan["shares"] and licence.restricts and not plan["passes_list"]:
        found.add("list")
    return found


def problems_as_list(licence, plan):
    limit = licence.revenue_limit if licence.commercial else -1
    pairs = [
        (plan["commercial"] and plan["revenue"] > limit, "commercial"),
        (licence.restricts and plan["listed_use"], "use"),
        (plan["shares"] and not plan["keeps_notices"], "notices"),
        (plan["shares"] and licence.restricts and not plan["passes_list"], "list"),
    ]
    return [word for wrong, word in pairs if wrong]


def problems_by_removal(licence, plan):
    found = {"commercial", "use", "notices", "list"}
    if not plan["shares"]:
        found -= {"notices", "list"}
    if not licence.restricts:
        found -= {"use", "list"}
    found -= {"notices"} if plan["keeps_notices"] else set()
    found -= {"list"} if plan["passes_list"] else set()
    found -= set() if plan["listed_use"] else {"use"}
    if not plan["commercial"] or (licence.commercial and plan["revenue"] <= licence.revenue_limit):
        found.discard("commercial")
    return frozenset(found)


def without(word):
    return lambda licence, plan: problems(licence, plan) - {word}


RIGHT = {checks.licence_problems: [problems, problems_as_list, problems_by_removal]}
WRONG = {
    checks.licence_problems: [
        (without("commercial"), "revenue = 2000000.0"),
        (without("use"), "listed_use = True"),
        (without("list"), "shares = True"),
        (lambda x, p: problems(x, p | {"shares": True}), "nothing else"),
        (lambda x, p: problems(x, p | {"commercial": True}), "revenue = 2000000.0"),
        (lambda x, p: problems(x, p | {"revenue": 0.0}), "revenue = 2000000.0"),
        (lambda x, p: not problems(x, p), "a set of words"),
        (lambda x, p: "commercial", "a set of words"),
    ]
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))


def test_answers_that_change_their_inputs_are_told():
    expect_spoilers_noticed(RIGHT)
