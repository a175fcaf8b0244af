r"""Latent consistency distillation: a LoRA with which the mini paints in one to four steps.

A consistency function maps every point of a path from noise to a picture onto the picture at its
end, f(x_t, t) = x_0 (arXiv:2303.01469). Latent consistency models learn it from a trained model,
the teacher, whose guided step leads from x_t to its neighbour x_s on the path (arXiv:2310.04378):
f(x_t, t) is pulled towards f(x_s, s). What is learned may be a LoRA (arXiv:2311.05556).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.process import predict_eps_from_x0, q_sample
from course_lib.sampler_steps import ddim_step
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import expand_to

SIGMA_DATA, TIMESTEP_SCALING = 0.5, 10.0  # of diffusers' LCMScheduler, which samples with f
HUBER_C = 0.001  # as in diffusers' scripts for LCM-LoRA

CleanModel = Callable[[Tensor, Tensor, Tensor], Tensor]  # x_t, t, text -> x_0_hat


@dataclass(frozen=True)
class Distillation:
    """What the student is asked to learn.

    Attributes
    ----------
    guidance : float
        Of the teacher. The student needs none, since it learns to answer as if guided.
    skip : int
        How many timesteps lie between x_t and x_s.
    """

    guidance: float = 2.5
    skip: int = 200


def boundary_scalings(
    t: Tensor, *, sigma_data: float = SIGMA_DATA, timestep_scaling: float = TIMESTEP_SCALING
) -> tuple[Tensor, Tensor]:
    r"""The scalings :math:`c_{skip}(t), c_{out}(t)` of a consistency function, float64, shape of t.

    With :math:`\tau` = `timestep_scaling` t,

    .. math:: c_{skip} = \frac{\sigma_{data}^2}{\tau^2 + \sigma_{data}^2}, \qquad
              c_{out} = \frac{\tau}{\sqrt{\tau^2 + \sigma_{data}^2}},

    so that :math:`c_{skip}(0) = 1` and :math:`c_{out}(0) = 0`, as diffusers' ``LCMScheduler`` has
    them (arXiv:2310.04378).
    """
    tau = t.double() * timestep_scaling
    square = tau.square() + sigma_data**2
    return sigma_data**2 / square, tau / square.sqrt()


def consistency_function(model: CleanModel, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
    r""":math:`f(x_t, t) = c_{skip}(t)\, x_t + c_{out}(t)\, \hat x_0(x_t, t)`, (B, C, h, w).

    At t = 0 it is the identity, whatever the model answers (arXiv:2303.01469, equation 5).
    """
    c_skip, c_out = (expand_to(c, x_t).to(x_t) for c in boundary_scalings(t))
    return c_skip * x_t + c_out * model(x_t, t, text)


def guided_prediction(
    model: CleanModel, x_t: Tensor, t: Tensor, text: Tensor, empty: Tensor, guidance: float
) -> Tensor:
    """uncond + guidance (cond - uncond) in one pass of both halves (arXiv:2207.12598).

    `empty` are the hidden states of the empty prompt, (1, 77, W).
    """
    both = torch.cat([empty.expand_as(text), text])
    without, with_text = model(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
    return without + guidance * (with_text - without)


def teacher_step(
    x_t: Tensor, x_0_hat: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """One DDIM step from timesteps t to s, (B,) each, of the teacher's answer; s < 0 is clean."""
    eps_hat = predict_eps_from_x0(x_t, t, x_0_hat, schedule)
    bars = [float(b) for b in schedule.alphas_cumprod]
    return torch.stack([
        ddim_step(x, e, bars[i], bars[j] if j >= 0 else 1.0)
        for x, e, i, j in zip(x_0_hat, eps_hat, t.tolist(), s.tolist(), strict=True)
    ])  # fmt: skip


def pseudo_huber(x: Tensor, y: Tensor, c: float = HUBER_C) -> Tensor:
    r"""Mean of :math:`\sqrt{(x - y)^2 + c^2} - c`: |x - y| for what is large, smooth at 0."""
    return ((x - y).square() + c**2).sqrt().mean() - c


def consistency_loss(
    student: CleanModel, teacher: CleanModel, schedule: NoiseSchedule, settings: Distillation,
    x_0: Tensor, noise: Tensor, t: Tensor, text: Tensor, empty: Tensor,
) -> Tensor:  # fmt: skip
    """Latent consistency distillation (arXiv:2310.04378, algorithm 1) without a target network.

    As in LCM-LoRA the target is the student itself, without gradient.

    Parameters
    ----------
    student, teacher : callable
        ``model(x_t, t, text)`` -> clean latents.
    x_0, noise : Tensor, shape (B, C, h, w)
        Latents of training pictures, and what they are noised with.
    t : Tensor, shape (B,)
        Timesteps. The neighbour is at ``t - settings.skip``; where that is negative, it is the
        teacher's clean answer.
    text, empty : Tensor, shape (B, 77, W) and (1, 77, W)
        Hidden states of the captions, and of the empty prompt.

    Returns
    -------
    Tensor
        A scalar with gradient.
    """
    x_t, s = q_sample(x_0, t, schedule, noise), t - settings.skip
    with torch.no_grad():
        x_0_hat = guided_prediction(teacher, x_t, t, text, empty, settings.guidance)
        x_s = teacher_step(x_t, x_0_hat, t, s, schedule)
        # At t = 0 f is the identity, so clean latents are their own target
        target = consistency_function(student, x_s, s.clamp(min=0), text)
    return pseudo_huber(consistency_function(student, x_t, t, text), target)
