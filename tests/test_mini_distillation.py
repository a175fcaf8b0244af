"""Latent consistency distillation against diffusers' LCMScheduler and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.device import make_generator
from course_lib.mini.distillation import (
    Distillation,
    boundary_scalings,
    consistency_function,
    consistency_loss,
    guided_prediction,
    pseudo_huber,
    teacher_step,
)
from course_lib.process import q_sample
from course_lib.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule(
    torch.linspace(0.00085**0.5, 0.02**0.5, 1000).double() ** 2, name="the mini's"
)
X_0, NOISE = torch.randn(2, 3, 4, 5, 5, generator=make_generator(0))
TEXT = torch.randn(3, 7, 2, generator=make_generator(1))
EMPTY = torch.zeros(1, 7, 2)


def test_the_scalings_and_one_step_are_those_of_the_lcm_scheduler():
    from diffusers import LCMScheduler

    scheduler = LCMScheduler(
        beta_end=0.02, prediction_type="sample", clip_sample=False, original_inference_steps=50
    )
    scheduler.set_timesteps(1)
    for t in (0, 1, 19, 999):
        ours = [float(c) for c in boundary_scalings(torch.tensor(t))]
        assert ours == pytest.approx(scheduler.get_scalings_for_boundary_condition_discrete(t))
    (t,) = scheduler.timesteps.tolist()
    theirs = scheduler.step(NOISE, t, X_0).prev_sample
    ours = consistency_function(lambda *_: NOISE, X_0, torch.full((3,), t), TEXT)
    torch.testing.assert_close(ours, theirs)


def test_at_t_0_the_consistency_function_is_the_identity():
    found = consistency_function(
        lambda *_: NOISE * 100, X_0, torch.zeros(3, dtype=torch.long), TEXT
    )
    assert torch.equal(found, X_0)


def test_guidance_asks_once_and_extrapolates():
    asked = []

    def model(x_t, t, text):
        asked.append(len(x_t))
        return x_t * text.mean(dim=(1, 2))[:, None, None, None]

    t = torch.full((3,), 500)
    found = guided_prediction(model, X_0, t, TEXT, EMPTY, 2.5)
    torch.testing.assert_close(found, 2.5 * model(X_0, t, TEXT))
    assert asked == [6, 3]


def test_the_teachers_step_with_the_truth_stays_on_the_path():
    t, s = torch.tensor([999, 300, 50]), torch.tensor([799, 100, -150])
    x_s = teacher_step(q_sample(X_0, t, SCHEDULE, NOISE), X_0, t, s, SCHEDULE)
    expected = q_sample(X_0, s.clamp(min=0), SCHEDULE, NOISE)
    torch.testing.assert_close(x_s[:2], expected[:2], atol=2e-4, rtol=1e-4)
    assert torch.equal(x_s[2], X_0[2])  # before the first timestep lies the clean picture


def test_pseudo_huber_is_quadratic_near_zero_and_linear_far_away():
    zero = torch.zeros(1)
    assert pseudo_huber(zero, zero) == pytest.approx(0, abs=1e-9)
    assert float(pseudo_huber(zero + 1e-5, zero, c=0.001)) == pytest.approx(5e-8, rel=0.01)
    assert float(pseudo_huber(zero + 3.0, zero, c=0.001)) == pytest.approx(3 - 0.001, rel=1e-5)


class Answer(nn.Module):
    """A student that answers the same latents whatever it sees."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(value.clone())

    def forward(self, x_t, t, text):
        return self.value.expand_as(x_t)


def test_a_solved_model_has_no_loss():
    t = torch.tensor([999, 500, 150])
    settings = Distillation(guidance=1.0, skip=200)

    def loss(student, teacher, x_0=X_0):
        return consistency_loss(student, teacher, SCHEDULE, settings, x_0, NOISE, t, TEXT, EMPTY)

    one = X_0[:1].expand_as(X_0)
    perfect = Answer(X_0[:1])
    # All three portraits are one: student and teacher know it, so f is x_0 wherever it is asked
    assert loss(perfect, lambda x, *_: one[:1].expand_as(x), one).item() < 2e-4
    wrong = Answer(X_0[:1] + 1)
    value = loss(wrong, lambda x, *_: one[:1].expand_as(x), one)
    # At t = 999 and 500 student and target are equally wrong. At t = 150 the neighbour is clean:
    # its target is the teacher's answer, and the error is 1
    assert value.item() == pytest.approx(1 / 3, abs=2e-3)


def test_the_target_has_no_gradient():
    scale = torch.tensor(1.0, requires_grad=True)

    def student(x_t, t, text):
        return scale * (1 + t / 1000)[:, None, None, None].expand_as(x_t)

    t, settings = torch.tensor([999, 999, 999]), Distillation(skip=200)
    consistency_loss(student, student, SCHEDULE, settings, X_0, NOISE, t, TEXT, EMPTY).backward()
    # d|scale (1.999 - 1.799)| / d scale: 1.999 if the target is a constant, else 0.2
    assert scale.grad.item() == pytest.approx(1.999, rel=1e-3)


def test_the_loss_teaches_what_the_guided_teacher_answers():
    student, settings = Answer(torch.zeros(1, 4, 5, 5)), Distillation(guidance=2.0, skip=200)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)

    shown = X_0[:1].tanh()

    def teacher(x_t, t, text):  # 0 without text, `shown` with it: guided twice that
        told = (text.abs().sum(dim=(1, 2)) > 0).float()[:, None, None, None]
        return told * shown.expand_as(x_t)

    generator = make_generator(2)
    for _ in range(150):
        t = torch.randint(1, 1000, (3,), generator=generator)
        loss = consistency_loss(
            student, teacher, SCHEDULE, settings, X_0, NOISE, t, TEXT, EMPTY
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(student.value.detach(), 2 * shown, atol=0.15, rtol=0)
