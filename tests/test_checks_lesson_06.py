"""Lesson 06's checkers accept the solution and name the typical mistakes."""

from __future__ import annotations

import pytest
import torch

from course_lib.checks import lesson_06 as checks

PROMPT = (
    "a bust pastel of an old woman with a white bun and round glasses, "
    "in a green turtleneck, lit from the left"
)


def slerp(a, b, share):
    theta = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    ends = torch.sin((1 - share) * theta) * a + torch.sin(share * theta) * b
    return ends / torch.sin(theta)


def lerp(a, b, share):
    return (1 - share) * a + share * b


def normalised_lerp(a, b, share):
    c = lerp(a, b, share)
    return c / c.norm() * a.norm()


def slerp_backwards(a, b, share):
    return slerp(b, a, share)


def work(steps, guidance, pictures):
    return steps * pictures * (2 if guidance > 1 else 1)


def word_map(probabilities, positions, height, width):
    return probabilities.mean(dim=0)[:, positions].sum(dim=-1).reshape(height, width)


def cheapest(rows, slack):
    best = max(quality for _, _, quality in rows)
    return min((seconds, n) for n, seconds, quality in rows if quality >= best - slack)[1]


def fewest_steps(rows, slack):
    best = max(quality for _, _, quality in rows)
    return min(n for n, _, quality in rows if quality >= best - slack)


SOLUTIONS = {
    "write_a_prompt": PROMPT,
    "slerp": slerp,
    "unet_work": work,
    "word_map": word_map,
    "cheapest": cheapest,
}
MISTAKES = [
    ("write_a_prompt", PROMPT.replace(", lit from the left", ""), "light (left)"),
    ("write_a_prompt", PROMPT.replace("white bun", "blond bun"), "hair_color is read as 'blond'"),
    ("write_a_prompt", PROMPT.replace("green", "red"), "clothing_color is read as 'red'"),
    ("write_a_prompt", PROMPT + ", smiling", "nobody asked for: expression"),
    ("write_a_prompt", 3, "should be a text"),
    ("slerp", lerp, "of its length"),
    ("slerp", normalised_lerp, "at share 0.25"),
    ("slerp", slerp_backwards, "at share 0.0"),
    ("unet_work", lambda steps, guidance, pictures: steps * pictures, "3 steps, guidance 4"),
    ("unet_work", lambda steps, guidance, pictures: 2 * steps * pictures, "guidance 1"),
    ("unet_work", lambda steps, guidance, pictures: work(steps, guidance, 1), "3 pictures"),
    ("word_map", lambda p, at, h, w: 4 * word_map(p, at, h, w), "averaged, not added"),
    ("word_map", lambda p, at, h, w: word_map(p, at, h, w) / len(at), "added, not averaged"),
    ("word_map", lambda p, at, h, w: word_map(p, at, w, h), "shape"),
    ("word_map", lambda p, at, h, w: word_map(p, at, w, h).T, "off by"),
    ("cheapest", fewest_steps, "10 steps take less time than 5"),
    ("cheapest", lambda rows, slack: cheapest(rows, 0.0), "slack 0.02"),
    ("cheapest", lambda rows, slack: min(rows, key=lambda r: r[1])[0], "usual table"),
]


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solutions_pass_and_blanks_are_not_attempted(name):
    check, solution = getattr(checks, name), SOLUTIONS[name]
    assert check(solution).status == "passed", check(solution)
    assert check(...).status == "not attempted"
    if callable(solution):
        assert check(lambda *args: ...).status == "not attempted"


@pytest.mark.parametrize("name,answer,message", MISTAKES)
def test_typical_mistakes_are_named(name, answer, message):
    verdict = getattr(checks, name)(answer)
    assert verdict.status == "try again" and verdict.hint
    assert message.lower() in verdict.message.lower(), verdict
