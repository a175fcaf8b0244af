"""Checks of lesson 10 about reinforcement learning and preferences; `lesson_10` has them, too."""

from __future__ import annotations

import math

import torch

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator


@exercise(
    hints=(
        "The ratio of two probabilities is the exponential of the difference of their logarithms.",
        "Take the smaller of ratio * advantage and clipped ratio * advantage for each picture, "
        "also where the advantage is negative. A loss falls where the objective rises.",
        "ratio = (new - old).exp(); clipped = ratio.clamp(1 - c, 1 + c); return "
        "-torch.minimum(ratio * advantage, clipped * advantage).mean()",
    ),
    success="Value and gradient agree, inside the clip range and outside of it.",
    copies=True,
)
def clipped_policy_loss(answer) -> None:
    """answer(new, old, advantage, clip_range): the loss of DDPO, clipped as in PPO."""
    old = torch.tensor([-1.2, -0.4, 0.3, -2.0, 0.9, 0.1]).double()
    ratio = [1.0, 1.1, 1.5, 1.5, 0.5, 0.5]
    advantage = torch.tensor([2.0, -1.0, 2.0, -1.0, 3.0, -1.0]).double()
    new = (old + torch.tensor(ratio).double().log()).requires_grad_()
    # Case by case: a ratio counts as clipped only where going on would look like a gain
    kept = [1.0, 1.1, 1.2, 1.5, 0.5, 0.8]
    terms = [-r * a for r, a in zip(kept, advantage.tolist(), strict=True)]
    truth = sum(terms) / len(terms)
    given = answer(new, old, advantage, 0.2)
    number = isinstance(given, torch.Tensor) and given.numel() == 1
    expect(number, "return one number: the mean over the pictures")
    for wrong, advice in (
        (-truth, "that is the objective; a loss has the other sign"),
        (truth * len(terms), "take the mean over the pictures, not the sum"),
        (
            -sum(min(max(r, 0.8), 1.2) * a for r, a in zip(ratio, advantage.tolist(), strict=True))
            / len(terms),
            "you always use the clipped ratio; take the smaller of both products",
        ),
        (
            -sum(r * a for r, a in zip(ratio, advantage.tolist(), strict=True)) / len(terms),
            "nothing is clipped",
        ),
    ):
        expect(abs(given.item() - wrong) > 1e-6, advice)
    expect_close(given, truth, "the loss", tol=1e-5)
    expect(given.requires_grad, "the loss has no gradient with respect to new")
    (slope,) = torch.autograd.grad(given, new, allow_unused=True)
    expect(slope is not None, "the loss does not depend on new")
    active = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]  # no gradient where the clipped product is smaller
    rows = zip(active, ratio, advantage.tolist(), strict=True)
    expect_close(
        slope, torch.tensor([-on * r * a / len(terms) for on, r, a in rows]).double(),
        "the gradient", tol=1e-5,
    )  # fmt: skip


@exercise(
    hints=(
        "How much better than the reference does the model denoise each picture? A gain is a "
        "*smaller* error.",
        "The preferred picture's error should fall relative to the reference, more than the other "
        "one's: -beta / 2 times the difference of the two changes is the argument of the sigmoid.",
        "inside = -beta / 2 * ((preferred - preferred_ref) - (rejected - rejected_ref)); return "
        "-torch.nn.functional.logsigmoid(inside).mean()",
    ),
    success="log 2 without training, less where the preferred picture gained, and no overflow.",
    copies=True,
)
def preference_loss(answer) -> None:
    """answer(preferred, rejected, preferred_ref, rejected_ref, beta): the loss of Diffusion-DPO."""
    errors = torch.rand(4, 5, generator=make_generator(0)).double()
    preferred, rejected, preferred_ref, rejected_ref = errors
    same = answer(preferred, rejected, preferred.clone(), rejected.clone(), 7.0)
    number = isinstance(same, torch.Tensor) and same.numel() == 1
    expect(number, "return one number: the mean over the pairs")
    expect_close(same, math.log(2), "where the model equals the reference, the loss", tol=1e-5)
    beta = 3.0
    leaf = preferred.clone().requires_grad_()
    given = answer(leaf, rejected, preferred_ref, rejected_ref, beta)
    expect(given.requires_grad, "the loss has no gradient with respect to the errors")
    (slope,) = torch.autograd.grad(given, leaf)
    expect(
        bool((slope > 0).all()),
        "a smaller error of the preferred picture must make the loss smaller: check the sign",
    )

    def value(factor: float) -> float:
        change = ((preferred - preferred_ref) - (rejected - rejected_ref)).tolist()
        return sum(math.log1p(math.exp(factor * c)) for c in change) / len(change)

    expect(abs(given.item() - value(beta)) > 1e-6, "the factor is beta / 2, not beta")
    expect(abs(given.item() - 5 * value(beta / 2)) > 1e-6, "take the mean over the pairs")
    expect_close(given, value(beta / 2), "the loss", tol=1e-5)
    far = answer(preferred + 1, rejected, preferred_ref, rejected_ref, 5000.0)
    expect(
        bool(torch.isfinite(far)),
        "with beta = 5000 the loss overflows; logsigmoid(x) is log(sigmoid(x)) without that",
    )
