"""Checks of lesson 00: pixels as numbers, the axes of a batch, a portrait to order."""

from __future__ import annotations

import torch

from course_lib.checks import exercise, expect, expect_close
from course_lib.portraits import Attributes


@exercise(
    hints=("Multiply by two.", "Write: return 2 * x"),
    success="This is what it looks like when you are right.",
    copies=True,
)
def doubled(answer):
    """Not an exercise: it shows a learner what the verdicts look like."""
    x = torch.tensor([1.0, -2.0, 0.5])
    expect_close(answer(x), x + x, "the doubled tensor")


@exercise(
    hints=(
        "A straight line takes 0 to -1 and 255 to +1. What does it do to the middle, 127.5?",
        "The range is 255 wide and should become 2 wide, so divide by 127.5. Then move it.",
        "Write: return pixels.float() / 127.5 - 1",
    ),
    success="The model will see numbers in [-1, 1].",
    copies=True,
)
def to_model_range(answer):
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = torch.as_tensor(answer(pixels))
    expect(
        x.is_floating_point(),
        f"the result has dtype {x.dtype}; bytes cannot hold fractions or negative numbers, so "
        "turn them into floats first",
    )
    low, high = float(x.min()), float(x.max())
    expect(abs(low + 1) < 1e-3, f"black, 0, should become -1 but becomes {low:.3g}")
    expect(abs(high - 1) < 1e-3, f"white, 255, should become +1 but becomes {high:.3g}")
    # On a straight line all 255 steps are equal: checks the middle without the formula itself.
    expect_close(x.flatten().diff(), torch.full((255,), 2 / 255), "the step between bytes")
    expect(x.shape == pixels.shape, f"the shape changed to {tuple(x.shape)}; keep it")


@exercise(
    hints=(
        "Left and right are the ends of the last axis, W, of (B, C, H, W).",
        "torch.flip(x, dims=[...]) reverses axes; counted from the end, the last one is -1.",
        "Write: return x.flip(-1)",
    ),
    success="Left is right and right is left.",
    copies=True,
)
def mirror(answer):
    x = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    y = torch.as_tensor(answer(x)).to(x.dtype)
    expect(y.shape == x.shape, f"the shape changed to {tuple(y.shape)}; keep it")
    expect(not torch.equal(y, x), "the picture is unchanged")
    mistakes = {
        0: "reversed the batch",
        1: "swapped red and blue",
        2: "stood the picture on its head",
    }
    for axis, what in mistakes.items():
        expect(not torch.equal(y, x.flip(axis)), f"you {what}; another axis is wanted")
    expect_close(y, torch.stack(x.unbind(-1)[::-1], dim=-1), "the mirrored batch")


_WANTED = {
    "age": "elderly",
    "gender": "man",
    "facial_hair": "beard",
    "hair_color": "white",
    "headwear": "crown",
    "style": "watercolor",
}


@exercise(
    hints=(
        "The fields are age, gender, facial_hair, hair_color, headwear and style.",
        "Look up the words in cl.portraits.VOCABULARY, for instance VOCABULARY['age'].",
        "cl.Attributes(age='elderly', gender='man', facial_hair='beard', hair_color='white', ...)",
    ),
    success="Every word of the order is there.",
)
def old_king(answer):
    king = answer() if callable(answer) else answer
    expect(
        isinstance(king, Attributes),
        f"my_king should return a cl.Attributes(...), not a {type(king).__name__}",
    )
    for name, wanted in _WANTED.items():
        given = getattr(king, name)
        expect(given == wanted, f"{name} is {given!r}, and the order says otherwise")
