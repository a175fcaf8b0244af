"""From noise to pictures: one generator loop over pure step functions.

The model contract, for every sampler: ``model(x_t, t)`` takes images (B, C, H, W) that look like
``sqrt(bar_a) * x_0 + sqrt(1 - bar_a) * eps`` and timesteps (B,), and returns a tensor of the shape
of the images (or an object with such a ``.sample``): the noise, the clean image, the velocity or
the flow, as `prediction` says. A flow network is given ``x_t / (sqrt(bar_a) + sqrt(1 - bar_a))``,
that is ``(1 - s) * x_0 + s * eps``, and returns ``eps - x_0``; see `flow.py`. Timesteps are whole
except under ``spacing="linspace"`` with Euler and Heun, whose grid falls between the training
timesteps. A model with ``num_classes`` is called as ``model(x_t, t, labels=labels)``, with labels
(B,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.guidance import guided
from course_lib.process import model_input, prediction_of, randn_like, x0_and_eps
from course_lib.sampler_grids import METHODS, SPACINGS, time_grid
from course_lib.sampler_steps import (
    Node,
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    euler_step,
    heun_step,
)
from course_lib.schedules import NoiseSchedule

__all__ = ["METHODS", "SPACINGS", "SampleStep", "sample", "time_grid"]


@dataclass(frozen=True, eq=False)
class SampleStep:
    """One step of a sampler: what the model saw, what it said, what the step made of it.

    Attributes
    ----------
    i : int
        Number of the step, from 0.
    t : int or float
        The timestep at which the model was asked.
    x_t : Tensor, shape (B, C, H, W)
        What the model saw at `t`; a flow network, rescaled.
    x_0_hat, eps_hat : Tensor, shape (B, C, H, W)
        The clean image and the noise that the model's output stands for.
    x_prev : Tensor, shape (B, C, H, W)
        What the step made of it. The last `x_prev` is the result.
    """

    i: int
    t: int | float
    x_t: Tensor
    x_0_hat: Tensor
    eps_hat: Tensor
    x_prev: Tensor


def sample(
    model: Callable[[Tensor, Tensor], Tensor],
    x_T: Tensor,
    schedule: NoiseSchedule,
    method: str = "ddpm",
    steps: int | None = None,
    eta: float = 0.0,
    spacing: str | None = None,
    generator: torch.Generator | None = None,
    prediction: str | None = None,
    clip: float | None = None,
    labels: Tensor | Sequence[int] | int | None = None,
    guidance: float = 1.0,
) -> Iterator[SampleStep]:
    r"""Turn noise into images, yielding every step.

    Parameters
    ----------
    model : callable
        See the model contract at the top of this module.
    x_T : Tensor, shape (B, C, H, W)
        Starting noise, drawn from N(0, I). This holds for every method: Euler and Heun work in
        units of sigma = sqrt((1 - bar_a) / bar_a) inside, but take and yield images in the
        variance-preserving convention.
    schedule : NoiseSchedule
        The schedule the model was trained with.
    method : {"ddpm", "ddim", "euler", "heun", "dpmpp_2m"}
        ``ddpm`` draws from the posterior (arXiv:2006.11239, algorithm 2); ``ddim`` follows
        arXiv:2010.02502, equation 12; ``euler`` and ``heun`` integrate the probability-flow ODE
        (arXiv:2206.00364, algorithm 1 without churn); ``dpmpp_2m`` is DPM-Solver++(2M)
        (arXiv:2211.01095, algorithm 2). Heun asks the model twice a step, the others once.
    steps : int, optional
        Number of steps. Default: all T for ``ddpm``, at most 50 for the others.
    eta : float
        For ``ddim`` only: 0 is deterministic, 1 has the noise of ``ddpm``.
    spacing : {"leading", "trailing", "linspace"}, optional
        Where the timesteps lie (arXiv:2305.08891, table 2). Default: `DEFAULT_SPACING`.
    generator : torch.Generator, optional
        Source of the noise that ``ddpm`` and ``ddim`` with eta > 0 add.
    prediction : {"eps", "x0", "v", "flow"}, optional
        What the model returns. Default: what it says itself (``model.prediction``), else "eps".
    clip : float, optional
        Clip every clean-image estimate to [-clip, clip] and fit the noise estimate to it. Pixel
        models want 1.0; default: no clip.
    labels : Tensor of shape (B,), sequence of int, or int, optional
        The class of each image, or one for all, where the model has ``num_classes``; that number
        itself means "no class".
    guidance : float
        The scale w of classifier-free guidance, ``uncond + w * (cond - uncond)``
        (arXiv:2207.12598, in the convention where 1 means none); other values than 1 ask the
        model on twice the batch.

    Yields
    ------
    SampleStep

    Raises
    ------
    ValueError
        For an unknown name, a number of steps that does not fit the schedule, bad noise, or a
        model whose output has the wrong shape or is not finite. Arguments are checked at the
        call, before the first step is asked for.
    """
    check_choice("sampling method", method, METHODS)
    prediction = prediction_of(model, prediction)
    _check_start(x_T)
    _check_eta(method, eta)
    nodes = time_grid(schedule, method=method, steps=steps, spacing=spacing)
    model = guided(model, labels, guidance, batch=len(x_T))
    predict = _Predictor(model, schedule, prediction, clip)
    return _walk(predict, x_T, nodes, _stepper(method, eta, generator))


class _Predictor:
    """Asks the model and turns its output into a clean-image and a noise estimate."""

    def __init__(self, model, schedule: NoiseSchedule, prediction: str, clip: float | None):
        self.model, self.schedule, self.prediction, self.clip = model, schedule, prediction, clip

    def __call__(self, x_t: Tensor, t: int | float, bar_a: float) -> tuple[Tensor, Tensor]:
        times = torch.full((len(x_t),), t, device=x_t.device)
        signal, sigma = bar_a**0.5, (1 - bar_a) ** 0.5
        out = self.model(model_input(x_t, signal, sigma, self.prediction), times)
        out = getattr(out, "sample", out)
        _check_output(out, x_t, t)
        x_0_hat, eps_hat = x0_and_eps(out, x_t, signal, sigma, self.prediction)
        if self.clip is not None:
            x_0_hat = x_0_hat.clamp(-self.clip, self.clip)
            # The noise must fit the clipped picture: left as it was, DDIM would carry the part
            # that the clipping removed through to the end
            eps_hat = (x_t - signal * x_0_hat) / sigma
        return x_0_hat, eps_hat


def _walk(predict: _Predictor, x_t: Tensor, nodes: list[Node], step_fn) -> Iterator[SampleStep]:
    last = None
    for i, node in enumerate(nodes):
        # Gradients are switched off here, not around the yield: the caller's own code that runs
        # between two steps must keep its gradient mode.
        with torch.no_grad():
            x_0_hat, eps_hat = predict(x_t, node.t, node.bar_a)
            following = nodes[i + 1] if i + 1 < len(nodes) else None
            x_prev = step_fn(predict, x_t, x_0_hat, eps_hat, node, following, last)
        yield SampleStep(i, node.t, x_t, x_0_hat, eps_hat, x_prev)
        last = (node, x_0_hat)
        x_t = x_prev


def _stepper(method: str, eta: float, generator: torch.Generator | None):
    """Bind one method's step function to the common signature of `_walk`."""

    def step(predict, x_t, x_0_hat, eps_hat, node, following, last):
        if method == "ddpm":
            noise = randn_like(x_t, generator) if following else None
            return ddpm_step(x_t, x_0_hat, node.bar_a, node.bar_a_prev, noise)
        if method == "ddim":
            noise = randn_like(x_t, generator) if eta > 0 else None
            return ddim_step(x_0_hat, eps_hat, node.bar_a, node.bar_a_prev, eta, noise)
        if method == "dpmpp_2m":
            return dpmpp_2m_step(x_t, x_0_hat, node, last)
        if method == "euler" or following is None:
            return euler_step(x_t, x_0_hat, node.bar_a, node.bar_a_prev)
        return heun_step(predict, x_t, x_0_hat, node, following)

    return step


def _check_start(x_T: Tensor) -> None:
    if not isinstance(x_T, Tensor) or x_T.ndim < 2 or not x_T.is_floating_point():
        given = f"shape {tuple(x_T.shape)}, {x_T.dtype}" if isinstance(x_T, Tensor) else repr(x_T)
        raise ValueError(
            f"x_T must be a float batch of noise (B, C, H, W), got {given}. "
            "Draw it with torch.randn(B, C, H, W)."
        )
    if not bool(x_T.isfinite().all()):
        raise ValueError("x_T holds NaN or infinite values; draw it with torch.randn.")


def _check_eta(method: str, eta: float) -> None:
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta!r}.")
    if method == "ddpm" and eta not in (0.0, 1.0):
        raise ValueError(
            f"ddpm always adds the posterior's noise, got eta={eta!r}. "
            "For less noise use method='ddim' with this eta."
        )
    if method not in ("ddpm", "ddim") and eta:
        raise ValueError(f"{method} is deterministic and takes no eta, got {eta!r}. Use 'ddim'.")


def _check_output(out: Tensor, x_t: Tensor, t: int | float) -> None:
    if not isinstance(out, Tensor) or out.shape != x_t.shape:
        given = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(
            f"the model returned {given} for images of shape {tuple(x_t.shape)}; it must return "
            "one value per pixel and channel."
        )
    if not bool(out.isfinite().all()):
        raise ValueError(
            f"the model returned NaN or infinite values at t={t}. Check its weights, or run it in "
            "float32."
        )
