"""The checkers of distillation and probes accept right answers, and name the mistakes."""

from __future__ import annotations

import torch
from answer_cases import expect_blanks, expect_verdicts

from course_lib.checks import lesson_10 as checks


def guided(cond, uncond, w):
    return uncond + w * (cond - uncond)


def step(x_t, cond, uncond, w, bar_t, bar_s):
    x_0 = guided(cond, uncond, w)
    eps = (x_t - bar_t**0.5 * x_0) / (1 - bar_t) ** 0.5
    return bar_s**0.5 * x_0 + (1 - bar_s) ** 0.5 * eps


def step_as_line(x_t, cond, uncond, w, bar_t, bar_s):
    x_0, k = (1 - w) * uncond + w * cond, ((1 - bar_s) / (1 - bar_t)) ** 0.5
    return bar_s**0.5 * x_0 + k * (x_t - bar_t**0.5 * x_0)


def step_of_library(x_t, cond, uncond, w, bar_t, bar_s):
    from course_lib.sampler_steps import ddim_step

    x_0 = torch.lerp(uncond, cond, w)
    return ddim_step(x_0, (x_t - x_0 * bar_t**0.5) / (1 - bar_t) ** 0.5, bar_t, bar_s)


def step_with(x_0_of=guided, noise_of=None, swap=False):
    def answer(x_t, cond, uncond, w, bar_t, bar_s):
        x_0 = x_0_of(cond, uncond, w)
        of = x_0 if noise_of is None else noise_of(cond, uncond, w)
        eps = (x_t - bar_t**0.5 * of) / (1 - bar_t) ** 0.5
        last = bar_t if swap else bar_s
        return last**0.5 * x_0 + (1 - last) ** 0.5 * eps

    return answer


def cond_alone(cond, uncond, w):
    return cond


def ridge(x, y, penalty):
    a, c = x - x.mean(0), y - y.mean()
    gram = a.T @ a / len(x) + penalty * torch.eye(x.shape[1]).double()
    w = torch.linalg.solve(gram, a.T @ c / len(x))
    return w, y.mean() - x.mean(0) @ w


def ridge_dual(x, y, penalty):
    a = x - x.mean(0)
    kernel = a @ a.T + len(x) * penalty * torch.eye(len(x)).double()
    w = a.T @ torch.linalg.solve(kernel, y - y.mean())
    return w, (y - x @ w).mean()


def ridge_by_rows(x, y, penalty):
    n, f = x.shape
    ones = torch.cat([x, torch.ones(n, 1).double()], dim=1)
    extra = torch.cat([torch.eye(f).double() * (n * penalty) ** 0.5, torch.zeros(f, 1)], dim=1)
    rows = torch.linalg.lstsq(torch.cat([ones, extra]), torch.cat([y, torch.zeros(f)])).solution
    return [rows[:-1], rows[-1:]]


def least_squares(x, y, penalty):
    w = torch.linalg.lstsq(x - x.mean(0), y - y.mean(), driver="gelsd").solution
    return w, y.mean() - x.mean(0) @ w


def penalised_offset(x, y, penalty):
    ones = torch.cat([x, torch.ones(len(x), 1).double()], dim=1)
    gram = ones.T @ ones / len(x) + penalty * torch.eye(x.shape[1] + 1).double()
    w = torch.linalg.solve(gram, ones.T @ y / len(x))
    return w[:-1], w[-1]


RIGHT = {
    checks.teacher_step: [step, step_as_line, step_of_library],
    checks.probe: [ridge, ridge_dual, ridge_by_rows],
}
WRONG = {
    checks.teacher_step: [
        (step_with(cond_alone), "cond alone"),
        (step_with(lambda c, u, w: u + (1 + w) * (c - u)), "with guidance 2.5"),
        (step_with(noise_of=cond_alone), "with guidance 2.5"),
        (step_with(swap=True), "cond = uncond = x_0"),
        (lambda x_t, cond, uncond, w, bar_t, bar_s: guided(cond, uncond, w), "clean answer"),
        (step_with(lambda c, u, w: c + w * (u - c)), "with guidance 2.5"),
    ],
    checks.probe: [
        (least_squares, "without a penalty"),
        (penalised_offset, "mean residual"),
        (lambda x, y, penalty: ridge(x, y, penalty)[0], "two things"),
        (lambda x, y, penalty: ridge(x, y, penalty / len(x)), "penalty w"),
        (lambda x, y, penalty: (ridge(x, y, penalty)[0], y.mean()), "mean residual"),
        (lambda x, y, penalty: (ridge(x, y, penalty)[0][:, None], 0.0), "shape"),
    ],
}


def test_right_answers_pass_and_wrong_ones_are_told_why():
    expect_verdicts(RIGHT, WRONG)


def test_a_blank_is_not_attempted():
    expect_blanks(list(RIGHT))
