"""Checks of lesson 10 about distillation and probes; `lesson_10` has them, too."""

from __future__ import annotations

import torch

from course_lib.checks import exercise, expect, expect_close
from course_lib.device import make_generator


@exercise(
    hints=(
        "First the guided answer, then the noise that it implies in x_t, then both at the noise "
        "level of s.",
        "x_t = sqrt(bar_t) x_0_hat + sqrt(1 - bar_t) eps_hat: solve for eps_hat with the *guided* "
        "x_0_hat.",
        "x_0_hat = uncond + w * (cond - uncond); eps_hat = (x_t - bar_t**0.5 * x_0_hat) / "
        "(1 - bar_t)**0.5; return bar_s**0.5 * x_0_hat + (1 - bar_s)**0.5 * eps_hat.",
    ),
    success="The teacher's guided step, from x_t to x_s.",
    copies=True,
)
def teacher_step(answer) -> None:
    """answer(x_t, cond, uncond, w, bar_t, bar_s): where the guided teacher lands."""
    x_0, eps, other = torch.randn(3, 4, 6, generator=make_generator(0))
    bar_t, bar_s, w = 0.2, 0.7, 2.5
    x_t, x_s = (b**0.5 * x_0 + (1 - b) ** 0.5 * eps for b in (bar_t, bar_s))
    # With both answers right, guidance changes nothing, and the step stays on the line of x_0, eps
    given = answer(x_t, x_0.clone(), x_0.clone(), w, bar_t, bar_s)
    expect(
        not torch.allclose(torch.as_tensor(given), x_0, atol=1e-4),
        "that is the clean answer; the step ends at the noise level of s, not at the picture",
    )
    expect_close(given, x_s, "with cond = uncond = x_0, the result")
    # Now the guided answer is x_0, although neither of the two is
    uncond = x_0 + other
    cond = uncond - other / w
    given = torch.as_tensor(answer(x_t, cond, uncond, w, bar_t, bar_s))
    expect(
        not torch.allclose(given, _step(x_t, cond, bar_t, bar_s), atol=1e-4),
        "you use cond alone; guidance is uncond + w * (cond - uncond)",
    )
    expect_close(given, x_s, f"with guidance {w:g}, the result")
    plain = answer(x_t, cond, uncond, 1.0, bar_t, bar_s)
    expect_close(plain, _step(x_t, cond, bar_t, bar_s), "with w = 1, the result")
    expect_close(answer(x_t, x_0, x_0, w, bar_t, 1.0), x_0, "at bar_s = 1, the result")


def _step(x_t, x_0_hat, bar_t, bar_s):
    """DDIM as a line through x_t: x_s = k x_t + (sqrt(bar_s) - k sqrt(bar_t)) x_0_hat."""
    k = ((1 - bar_s) / (1 - bar_t)) ** 0.5
    return k * x_t + (bar_s**0.5 - k * bar_t**0.5) * x_0_hat


@exercise(
    hints=(
        "At the minimum the derivatives are zero. That by b says that the mean residual is 0, "
        "so centre x and y first.",
        "With centred x and y: (x'x / N + penalty I) w = x'y / N. The offset is not penalised.",
        "xc, yc = x - x.mean(0), y - y.mean(); "
        "w = torch.linalg.solve(xc.T @ xc / len(x) + penalty * torch.eye(x.shape[1]).to(x), "
        "xc.T @ yc / len(x)); b = y.mean() - x.mean(0) @ w.",
    ),
    success="A linear probe in closed form.",
    copies=True,
)
def probe(answer) -> None:
    """answer(x, y, penalty): the weights (F,) and the offset of ridge regression."""
    generator = make_generator(1)
    for count, columns, penalty in ((60, 3, 0.5), (8, 20, 2.0)):
        x = torch.randn(count, columns, generator=generator).double() + 1.5
        y = (x[:, 0] + x[:, 1] > 3).double() * 2 - 1
        found = answer(x, y, penalty)
        expect(
            isinstance(found, (tuple, list)) and len(found) == 2,
            "return two things: the weights w and the offset b",
        )
        w, b = (torch.as_tensor(part).double() for part in found)
        expect(w.shape == (columns,), f"w should have shape ({columns},), not {tuple(w.shape)}")
        expect(b.numel() == 1, f"b should be one number, not of shape {tuple(b.shape)}")
        _check_optimum(x, y, w, b.reshape(()), penalty)


def _check_optimum(x, y, w, b, penalty: float) -> None:
    """Both derivatives of mean (x w + b - y)^2 + penalty |w|^2 are zero."""
    residual = x @ w + b - y
    mean = float(residual.mean())
    expect(abs(mean) < 1e-5, f"b: the mean residual should be 0, and is {mean:.3g}")
    pull = x.T @ residual / len(x)
    expect(
        float(w.norm()) > 1e-8 and float(pull.norm()) > 1e-8,
        "w is the solution without a penalty, or zero",
    )
    expect_close(pull + penalty * w, torch.zeros_like(w), "x'(x w + b - y) / N + penalty w")
