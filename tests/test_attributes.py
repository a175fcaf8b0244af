"""Who is drawn at random: hair by age, nothing by skin, and always what was asked for."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import numpy as np
import pytest

from course_lib.portraits.attributes import (
    HAIR_COLOR_BY_AGE,
    VOCABULARY,
    Attributes,
    can_have_facial_hair,
    check_only,
    sample_attributes,
)

N = 20_000
GROWN_MEN = {(age, "man") for age in ("young", "adult", "elderly")}


@pytest.fixture(scope="module")
def crowd() -> list[Attributes]:
    rng = np.random.default_rng(0)
    return [sample_attributes(rng) for _ in range(N)]


def draw(n: int = 200, **only: list[str]) -> list[Attributes]:
    rng = np.random.default_rng(1)
    return [sample_attributes(rng, only=only) for _ in range(n)]


def assert_share(count: int, total: int, share: float, what: object) -> None:
    """Within four standard deviations of a binomial; 200 such tests fail by chance once in 80."""
    bound = 4 * sqrt(total * share * (1 - share))
    assert abs(count - total * share) <= bound, f"{what}: {count} of {total}, not {share:.1%}"


def independent(crowd: list[Attributes], first: str, second: str) -> bool:
    """Pearson's chi-squared test of independence, rejected at p < 0.0001."""
    rows, columns = VOCABULARY[first], VOCABULARY[second]
    table = np.zeros((len(rows), len(columns)))
    for person in crowd:
        table[rows.index(getattr(person, first)), columns.index(getattr(person, second))] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    freedom = (len(rows) - 1) * (len(columns) - 1)
    # Wilson and Hilferty (1931): the cube root of chi-squared / freedom is nearly normal.
    ninth, quantile = 2 / (9 * freedom), 3.719  # the normal's at 0.9999
    return ((table - expected) ** 2 / expected).sum() < freedom * (
        1 - ninth + quantile * sqrt(ninth)
    ) ** 3


def test_hair_colors_come_with_age(crowd):
    for age, percents in HAIR_COLOR_BY_AGE.items():
        assert sum(percents) == 100
        group = [person for person in crowd if person.age == age]
        counts = Counter(person.hair_color for person in group)
        for color, percent in zip(VOCABULARY["hair_color"], percents, strict=True):
            assert_share(counts[color], len(group), percent / 100, (age, color))
    dyed = sum(person.hair_color in ("blue", "pink") for person in crowd)
    assert_share(dyed, N, 0.05, "dyed hair")


def test_beards_have_plausible_colors(crowd):
    """A beard has the colour of the hair; this is the share that a prompt for a beard gets."""
    beards = Counter(person.hair_color for person in crowd if person.facial_hair != "none")
    total = sum(beards.values())
    assert total > 3000
    # Grown men's ages have the odds 2 : 2 : 1.5.
    for color in VOCABULARY["hair_color"]:
        percents = [
            HAIR_COLOR_BY_AGE[age][VOCABULARY["hair_color"].index(color)] / 100
            for age in ("young", "adult", "elderly")
        ]
        assert_share(beards[color], total, float(np.dot(percents, (2, 2, 1.5)) / 5.5), color)
    assert (beards["blue"] + beards["pink"]) / total < 0.07
    assert (beards["gray"] + beards["white"]) / total < 0.28


def test_skin_is_drawn_evenly_and_depends_on_nothing(crowd):
    for skin in VOCABULARY["skin"]:
        assert_share(sum(person.skin == skin for person in crowd), N, 1 / 6, skin)
    for name in VOCABULARY:
        # 17 tests at this level fail by chance once in 600 crowds.
        assert name == "skin" or independent(crowd, "skin", name), f"{name} depends on skin"
    # Hair does depend on age, and the test shows it.
    assert not independent(crowd, "age", "hair_color")


def test_only_grown_men_have_beards_and_few_others_are_bald(crowd):
    groups = {True: Counter(), False: Counter()}
    for person in crowd:
        grown_man = (person.age, person.gender) in GROWN_MEN
        assert can_have_facial_hair(person.age, person.gender) == grown_man
        assert grown_man or person.facial_hair == "none"
        groups[grown_man][person.hair_style] += 1
    assert_share(groups[True]["bald"], groups[True].total(), 0.1, "bald men")
    assert_share(groups[False]["bald"], groups[False].total(), 0.01, "bald women and children")
    assert_share(groups[False]["short"], groups[False].total(), 0.19, "short hair instead")


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in VOCABULARY.items() for v in vs])
def test_a_value_that_is_asked_for_is_given(name, value):
    assert {getattr(person, name) for person in draw(20, **{name: [value]})} == {value}


def test_what_never_occurs_by_chance_is_given_when_asked_for():
    gray = draw(age=["child"], hair_color=["gray"])
    assert {(p.age, p.hair_color) for p in gray} == {("child", "gray")}
    bald = draw(gender=["woman"], hair_style=["bald"])
    assert {(p.gender, p.hair_style) for p in bald} == {("woman", "bald")}
    # Both colours that do not occur among children: as often as each other
    both = Counter(p.hair_color for p in draw(400, age=["child"], hair_color=["gray", "white"]))
    assert_share(both["gray"], 400, 0.5, "gray")


def test_facial_hair_makes_grown_men_of_all_ages_that_are_left():
    people = draw(facial_hair=["beard", "goatee"], age=["child", "young", "elderly"])
    assert {(p.age, p.gender) for p in people} == {("young", "man"), ("elderly", "man")}
    assert {p.facial_hair for p in people} == {"beard", "goatee"}
    mixed = draw(facial_hair=["none", "beard"])
    assert {p.gender for p in mixed} == {"woman", "man"}


def test_restrictions_keep_the_odds_and_the_rest_of_the_person():
    free, restricted = draw(), draw(hair_color=["red"])
    for one, other in zip(free, restricted, strict=True):
        assert one.to_dict() | {"hair_color": "red"} == other.to_dict()


@pytest.mark.parametrize(
    ("only", "error", "words"),
    [
        ({"facial_hair": ["beard"], "gender": ["woman"]}, ValueError, "allows nobody.*'none'"),
        ({"facial_hair": ["beard"], "age": ["child"]}, ValueError, "allows nobody.*'child'"),
        ({"hair_color": ["violet"]}, ValueError, "hair_color"),
        ({"hair_color": []}, ValueError, "hair_color is empty"),
        ({"hair_color": "gray"}, TypeError, r"write hair_color=\['gray'\]"),
    ],
)
def test_bad_restrictions_are_explained(only, error, words):
    with pytest.raises(error, match=words):
        check_only(only)
