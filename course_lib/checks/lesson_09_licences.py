"""Check of lesson 09, section 4: what a licence has against a plan."""

from __future__ import annotations

from course_lib.checks import exercise, expect
from course_lib.pipelines import licence_of


@exercise(
    hints=(
        "Go through the questions one after the other, and collect the words. Which of them only "
        "matter if the plan shares the model?",
        "Commercial use is a problem in two cases: the licence does not allow it at all, or the "
        "revenue is above its limit. Without commercial use the revenue does not matter.",
        "problems = set(); if plan['commercial'] and not (licence.commercial and plan['revenue'] "
        "<= licence.revenue_limit): problems.add('commercial'); ...",
    ),
    success="Your function agrees with a list of cases that was written by hand.",
)
def licence_problems(answer) -> None:
    """answer(licence, plan): the set of what stands against a plan."""
    plain = {
        "commercial": False, "revenue": 0.0, "listed_use": False, "shares": False,
        "keeps_notices": False, "passes_list": False,
    }  # fmt: skip
    sells, shares = {"commercial": True}, {"shares": True}
    careful = shares | {"keeps_notices": True, "passes_list": True}
    for model, changes, problems in (
        ("mini", {}, ""),
        ("mini", sells | {"revenue": 1e9}, ""),
        ("mini", shares, "notices"),
        ("mini", shares | {"keeps_notices": True}, ""),
        ("mini", {"listed_use": True}, ""),
        ("sd15", {"listed_use": True}, "use"),
        ("sd15", shares, "list notices"),
        ("sd15", shares | {"keeps_notices": True}, "list"),
        ("sd15", careful | sells | {"revenue": 1e9}, ""),
        ("sd-turbo", sells | {"revenue": 9e5}, ""),
        ("sd-turbo", sells | {"revenue": 1e6}, ""),
        ("sd-turbo", sells | {"revenue": 2e6}, "commercial"),
        ("sd-turbo", {"revenue": 2e6}, ""),
        ("sdxl-turbo", sells, "commercial"),
        ("sdxl-turbo", {"revenue": 2e6}, ""),
        ("sdxl-turbo", sells | shares | {"listed_use": True}, "commercial list notices use"),
        ("flux2-klein", shares | {"passes_list": True}, "notices"),
    ):
        given = answer(licence_of(model), plain | changes)
        expect(
            isinstance(given, (set, frozenset, list, tuple))
            and all(isinstance(word, str) for word in given),
            f"return a set of words such as {{'commercial'}}, not {given!r}",
        )
        said = ", ".join(f"{name} = {value}" for name, value in changes.items()) or "nothing else"
        expect(
            set(given) == set(problems.split()),
            f"under {licence_of(model).name} a plan with {said} has the problems "
            f"{set(problems.split()) or 'none'}, not {set(given) or 'none'}",
        )
