"""The checkers of the two losses accept right answers, and name the mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from answer_cases import expect_blanks, expect_spoilers_noticed, expect_verdicts

from course_lib.checks import lesson_10 as checks
from course_lib.mini.preference import ddpo, dpo


def clipped(new, old, advantage, clip_range):
    ratio = (new - old).exp()
    kept = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(ratio * advantage, kept * advantage).mean()


def clipped_by_cases(new, old, advantage, clip_range):
    ratio = new.exp() / old.exp()
    upper = torch.where(ratio > 1 + clip_range, torch.full_like(ratio, 1 + clip_range), ratio)
    lower = torch.where(ratio < 1 - clip_range, torch.full_like(ratio, 1 - clip_range), ratio)
    return -(torch.where(advantage > 0, upper, lower) * advantage).sum() / len(new)


def clipped_with(objective=torch.minimum, sign=-1, clamp=True, reduce=torch.mean, log=False):
    def answer(new, old, advantage, clip_range):
        ratio = new - old if log else (new - old).exp()
        kept = ratio.clamp(1 - clip_range, 1 + clip_range) if clamp else ratio
        return sign * reduce(objective(ratio * advantage, kept * advantage))

    return answer


def preference(w, x, w_ref, x_ref, beta):
    return -F.logsigmoid(-beta / 2 * (w - w_ref - x + x_ref)).mean()


def preference_softplus(w, x, w_ref, x_ref, beta):
    return F.softplus(0.5 * beta * ((w - x) - (w_ref - x_ref))).sum() / len(w)


def preference_with(factor=0.5, log=F.logsigmoid, change=lambda w, x, a, b: w - a - x + b):
    def answer(w, x, w_ref, x_ref, beta):
        return -log(-factor * beta * change(w, x, w_ref, x_ref)).mean()

    return answer


RIGHT = {
    checks.clipped_policy_loss: [clipped, clipped_by_cases, ddpo.clipped_loss],
    checks.preference_loss: [
        preference,
        preference_softplus,
        lambda w, x, a, b, beta: dpo.dpo_loss(w, x, a, b, beta=beta),
    ],
}
WRONG = {
    checks.clipped_policy_loss: [
        (clipped_with(sign=1), "other sign"),
        (clipped_with(reduce=torch.sum), "mean over the pictures"),
        (clipped_with(lambda a, b: b), "always use the clipped"),
        (clipped_with(clamp=False), "nothing is clipped"),
        (clipped_with(torch.maximum), "the loss"),
        (clipped_with(log=True), "the loss"),
        (lambda new, old, a, c: clipped(new.detach(), old, a, c), "no gradient"),
        (clipped_with(reduce=lambda x: x), "one number"),
    ],
    checks.preference_loss: [
        (preference_with(factor=-0.5), "check the sign"),
        (preference_with(factor=1.0), "beta / 2"),
        (preference_with(log=lambda x: x.sigmoid().log()), "overflows"),
        (preference_with(change=lambda w, x, a, b: w - x), "equals the reference"),
        (preference_with(change=lambda w, x, a, b: x - b - w + a), "check the sign"),
        (lambda w, x, a, b, beta: 5 * preference(w, x, a, b, beta), "the loss"),
        (preference_with(change=lambda w, x, a, b: w - a), "the loss"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted_and_an_overwritten_input_is_noticed():
    expect_blanks(list(RIGHT))
    expect_spoilers_noticed(RIGHT)
