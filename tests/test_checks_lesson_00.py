"""The checks of lesson 00 accept what is right and say what is wrong with the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

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


def mirror_in_place(x):
    x[:] = x.flip(-1)
    return x


def changed(**other):
    return cl.Attributes(**(KING | other))


RIGHT = {
    lesson_00.doubled: [
        lambda x: 2 * x,
        lambda x: x + x,
        lambda x: x.mul_(2),
        lambda x: [2 * value for value in x.tolist()],
    ],
    lesson_00.to_model_range: [
        lambda pixels: pixels.float() / 127.5 - 1,
        lambda pixels: cl.to_signed(pixels / 255),
        lambda pixels: (pixels.double() - 127.5) / 127.5,
        lambda pixels: torch.linspace(-1, 1, 256)[pixels.long()],
        lambda pixels: torch.lerp(torch.tensor(-1.0), torch.tensor(1.0), pixels / 255),
        lambda pixels: pixels.numpy() / 127.5 - 1,
    ],
    lesson_00.mirror: [
        lambda x: x.flip(-1),
        lambda x: x[..., list(range(x.shape[-1]))[::-1]],
        lambda x: torch.fliplr(x.flatten(0, 2)).reshape(x.shape),
        lambda x: torch.stack(x.unbind(-1)[::-1], dim=-1).double(),
        lambda x: torch.from_numpy(np.flip(x.numpy(), 3).copy()),
        mirror_in_place,
    ],
    lesson_00.old_king: [
        cl.Attributes(**KING),
        changed(clothing="suit", background="sunset", quality="masterful"),
        replace(cl.Attributes(age="young", style="mosaic"), **KING),
    ],
}
WRONG = {
    lesson_00.doubled: [
        (lambda x: x, "off by as much as"),
        (lambda x: x**2, "off by as much as"),
        (lambda x: 2 * x[0], "has shape"),
        (lambda x: x + 2, "off by as much as"),
        (lambda x: x / 0, "NaN or infinity"),
    ],
    lesson_00.to_model_range: [
        (lambda p: p / 255, "should become -1 but becomes 0"),
        (lambda p: p * 2 - 1, "torch.uint8"),
        (lambda p: (p.float() / 127.5 - 1).long(), "torch.int64"),
        (lambda p: p.float() / 128 - 1, "white, 255"),
        (lambda p: 1 - p.float() / 127.5, "the step between bytes"),
        (lambda p: (p / 127.5 - 1).flatten(), "the shape changed"),
        (lambda p: (p / 127.5 - 1) ** 3, "the step between bytes"),
        (lambda p: p.double().sub_(p.double().mean()) / p.double().std(), "should become -1"),
    ],
    lesson_00.mirror: [
        (lambda x: x, "unchanged"),
        (lambda x: x.flip(-2), "on its head"),
        (lambda x: x.flip(1), "red and blue"),
        (lambda x: x.flip(0), "reversed the batch"),
        (lambda x: x.flip(-1, -2), "off by as much"),
        (lambda x: x.transpose(-1, -2), "the shape changed"),
        (lambda x: x.roll(1, -1), "off by as much"),
    ],
    lesson_00.old_king: [
        (KING, "not a dict"),
        (lambda: cl.Attributes(style="watercolour"), "ValueError: unknown style 'watercolour'"),
        (lambda: changed(age="young"), "age is 'young'"),
        (cl.Attributes(), "age is 'adult'"),
        (changed(facial_hair="goatee"), "facial_hair is"),
        (changed(hair_color="gray"), "hair_color is"),
        (changed(headwear="none"), "headwear is"),
        (changed(style="oil painting"), "style is"),
        (changed(age="adult"), "age is"),
    ],
}


def test_right_answers_pass_and_mistakes_are_named():
    expect_verdicts(RIGHT, WRONG)


def test_blanks_are_not_attempted():
    expect_blanks(list(RIGHT), values=[lesson_00.old_king])


def test_no_answer_changes_its_inputs_unnoticed():
    expect_spoilers_noticed({k: v for k, v in RIGHT.items() if k is not lesson_00.old_king})
