"""The checks of lesson 00 accept what is right and say what is wrong with the rest."""

from __future__ import annotations

import pytest

import course_lib as cl
from course_lib.checks import lesson_00

KING = {
    "age": "elderly",
    "gender": "man",
    "facial_hair": "beard",
    "hair_color": "white",
    "headwear": "crown",
    "style": "watercolor",
}


def _in_place(x):
    x[:] = x.flip(-1)
    return x


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (lesson_00.doubled, lambda x: 2 * x),
        (lesson_00.to_model_range, lambda pixels: pixels.float() / 127.5 - 1),
        (lesson_00.to_model_range, lambda pixels: cl.to_signed(pixels / 255)),
        (lesson_00.mirror, lambda x: x.flip(-1)),
        (lesson_00.mirror, lambda x: x[..., list(range(x.shape[-1]))[::-1]]),
        (lesson_00.old_king, cl.Attributes(**KING)),
    ],
)
def test_solutions_pass(check, answer):
    check(answer).require()


@pytest.mark.parametrize(
    "check", [lesson_00.doubled, lesson_00.to_model_range, lesson_00.mirror, lesson_00.old_king]
)
def test_blanks_are_not_attempted(check):
    assert check(...).status == "not attempted"


@pytest.mark.parametrize(
    ("check", "answer", "fragment"),
    [
        (lesson_00.doubled, lambda x: x, "off by as much as"),
        (lesson_00.to_model_range, lambda p: p / 255, "should become -1 but becomes 0"),
        (lesson_00.to_model_range, lambda p: p * 2 - 1, "torch.uint8"),
        (lesson_00.to_model_range, lambda p: p.float() / 128 - 1, "white, 255"),
        (lesson_00.to_model_range, lambda p: (p / 127.5 - 1).flatten(), "the shape changed"),
        (lesson_00.to_model_range, lambda p: (p / 127.5 - 1) ** 3, "the step between bytes"),
        (lesson_00.mirror, lambda x: x, "unchanged"),
        (lesson_00.mirror, lambda x: x.flip(-2), "on its head"),
        (lesson_00.mirror, lambda x: x.flip(1), "red and blue"),
        (lesson_00.mirror, lambda x: x.flip(0), "reversed the batch"),
        (lesson_00.mirror, lambda x: x.flip(-1, -2), "off by as much"),
        (lesson_00.mirror, lambda x: x.transpose(-1, -2), "the shape changed"),
        (lesson_00.mirror, _in_place, "changes its input"),
        (lesson_00.old_king, KING, "not a dict"),
        (lesson_00.old_king, cl.Attributes(), "age is 'adult'"),
        (lesson_00.old_king, cl.Attributes(**(KING | {"facial_hair": "goatee"})), "facial_hair is"),
    ],
)
def test_mistakes_are_named(check, answer, fragment):
    result = check(answer)
    assert result.status == "try again" and result.hint
    assert fragment.lower() in result.message.lower()
