"""The diffusion process: noising in one step or in t, and what follows from a noise estimate.

Notation of Ho et al. (arXiv:2006.11239), with steps counted from 0: ``x_0`` is always the clean
image, ``x_t`` the image after step t, and ``x_{t=0}`` that after the first step, the papers' x_1.
``eps`` is the standard normal noise in x_t, and ``bar_a = alphas_cumprod[t]``. Everywhere ``t`` is
a whole number or a tensor of shape (B,).
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import expand_to

PREDICTIONS = ("eps", "x0", "v", "flow")


def prediction_of(model: object, given: str | None = None) -> str:
    """What a model predicts: as given, else as it says itself (``model.prediction``), else eps.

    Raises
    ------
    ValueError
        For an unknown name, or one that contradicts the model.
    """
    own = getattr(model, "prediction", None)
    chosen = check_choice("prediction type", given or own or "eps", PREDICTIONS)
    if own is not None and own != chosen:
        raise ValueError(
            f"The model was trained to predict {own!r}, not {chosen!r}. Leave prediction out; to "
            "train it anew for another target, set model.prediction = None first."
        )
    return chosen


def q_sample(
    x_0: Tensor,
    t: int | Tensor,
    schedule: NoiseSchedule,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Noise clean images to timestep t in one go.

    .. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon

    (arXiv:2006.11239, equation 4).

    Parameters
    ----------
    x_0 : Tensor, shape (B, ...)
        Clean images, by convention in [-1, 1]; a floating dtype.
    t : int or Tensor of shape (B,)
        Timesteps in 0 .. T-1.
    schedule : NoiseSchedule
    noise : Tensor, shape of x_0, optional
        The noise to use. Default: drawn from `generator`.
    generator : torch.Generator, optional
        Source of the noise; a CPU generator gives the same noise on every device.

    Returns
    -------
    Tensor, shape (B, ...)
        The noised images, in the dtype of `x_0`.

    Raises
    ------
    ValueError
        If shapes do not fit, a timestep is out of range, or `x_0` is not floating point.
    """
    _check_float(x_0, "x_0")
    signal, sigma = signal_and_sigma(schedule, t, x_0)
    noise = _noise_for(x_0, noise, generator)
    return signal * x_0 + sigma * noise


def q_step(
    x_prev: Tensor,
    t: int | Tensor,
    schedule: NoiseSchedule,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""One noising step: from x_{t-1} to x_t, or from the clean x_0 to x_{t=0}.

    .. math:: x_t = \sqrt{1 - \beta_t}\, x_{t-1} + \sqrt{\beta_t}\, \epsilon

    (arXiv:2006.11239, equation 2). Parameters and errors as in `q_sample`.
    """
    _check_float(x_prev, "x_prev")
    beta = _at(schedule.betas, t, x_prev)
    noise = _noise_for(x_prev, noise, generator)
    return (1 - beta).sqrt() * x_prev + beta.sqrt() * noise


def signal_and_sigma(schedule: NoiseSchedule, t: int | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\sqrt{\bar\alpha_t}` and :math:`\sqrt{1 - \bar\alpha_t}`, shaped to multiply `x`."""
    bar_a = schedule.alphas_cumprod
    # The roots are taken in float64: 1 - bar_a loses its digits in float32 near bar_a = 1.
    return _at(bar_a.sqrt(), t, x), _at((1 - bar_a).sqrt(), t, x)


def x0_and_eps(
    output: Tensor, x_t: Tensor, signal: Tensor | float, sigma: Tensor | float, prediction: str
) -> tuple[Tensor, Tensor]:
    r"""The clean image and the noise that a model output implies: one conversion for all kinds.

    Everything follows from :math:`x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon`
    and, for v, from arXiv:2202.00512, appendix D. A flow is :math:`\epsilon - x_0`, see `flow.py`.

    Parameters
    ----------
    output, x_t : Tensor, shape (B, ...)
        What the model predicts, and the noised image that it was given.
    signal, sigma : float or Tensor
        :math:`\sqrt{\bar\alpha_t}` and :math:`\sqrt{1-\bar\alpha_t}`, ready to multiply `x_t`.
    prediction : {"eps", "x0", "v", "flow"}
        What `output` is.

    Returns
    -------
    x_0_hat, eps_hat : Tensor, shape (B, ...)
    """
    check_choice("prediction type", prediction, PREDICTIONS)
    if prediction == "eps":
        return (x_t - sigma * output) / signal, output
    if prediction == "x0":
        return output, (x_t - signal * output) / sigma
    if prediction == "flow":
        total = signal + sigma
        return (x_t - sigma * output) / total, (x_t + signal * output) / total
    return signal * x_t - sigma * output, sigma * x_t + signal * output


def model_input(
    x_t: Tensor, signal: Tensor | float, sigma: Tensor | float, prediction: str
) -> Tensor:
    """What the model is given: `x_t`, which a flow network reads as (1 - s) x_0 + s eps."""
    return x_t / (signal + sigma) if prediction == "flow" else x_t


def predict_x0_from_eps(
    x_t: Tensor, t: int | Tensor, eps: Tensor, schedule: NoiseSchedule
) -> Tensor:
    r"""The clean image that a noise estimate implies.

    .. math:: \hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}

    (arXiv:2006.11239, equation 15). Shapes (B, ...), all alike.
    """
    _check_same(x_t, eps, "eps")
    return x0_and_eps(eps, x_t, *signal_and_sigma(schedule, t, x_t), "eps")[0]


def predict_eps_from_x0(
    x_t: Tensor, t: int | Tensor, x_0: Tensor, schedule: NoiseSchedule
) -> Tensor:
    r"""The noise that a clean-image estimate implies: `predict_x0_from_eps` solved for eps."""
    _check_same(x_t, x_0, "x_0")
    return x0_and_eps(x_0, x_t, *signal_and_sigma(schedule, t, x_t), "x0")[1]


def velocity(x_0: Tensor, eps: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    r"""The v target :math:`v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0`.

    (arXiv:2202.00512, appendix D.) Shapes (B, ...), all alike.
    """
    _check_same(x_0, eps, "eps")
    signal, sigma = signal_and_sigma(schedule, t, x_0)
    return signal * eps - sigma * x_0


def predict_x0_from_v(x_t: Tensor, t: int | Tensor, v: Tensor, schedule: NoiseSchedule) -> Tensor:
    r""":math:`\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v`."""
    _check_same(x_t, v, "v")
    return x0_and_eps(v, x_t, *signal_and_sigma(schedule, t, x_t), "v")[0]


def predict_eps_from_v(x_t: Tensor, t: int | Tensor, v: Tensor, schedule: NoiseSchedule) -> Tensor:
    r""":math:`\hat\epsilon = \sqrt{1-\bar\alpha_t}\,x_t + \sqrt{\bar\alpha_t}\,v`."""
    _check_same(x_t, v, "v")
    return x0_and_eps(v, x_t, *signal_and_sigma(schedule, t, x_t), "v")[1]


def score_from_eps(eps: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    r"""The score :math:`\nabla_{x_t} \log q(x_t) = -\epsilon / \sqrt{1-\bar\alpha_t}`.

    (arXiv:2011.13456, section 3.) Exact when `eps` is the mean noise given x_t.
    """
    return -eps / signal_and_sigma(schedule, t, eps)[1]


def eps_from_score(score: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    r"""The noise estimate :math:`-\sqrt{1-\bar\alpha_t}\,\nabla \log q(x_t)` of a score."""
    return -score * signal_and_sigma(schedule, t, score)[1]


def posterior_mean_variance(
    x_0: Tensor, x_t: Tensor, t: int | Tensor, schedule: NoiseSchedule
) -> tuple[Tensor, Tensor]:
    r"""Mean and variance of :math:`q(x_{t-1} \mid x_t, x_0)`, a Gaussian.

    .. math::
        \tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\, x_0
        + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\, x_t, \qquad
        \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\, \beta_t

    (arXiv:2006.11239, equations 6 and 7). The step ``t = 0`` starts from the clean image, so its
    mean is `x_0` and its variance 0.

    Returns
    -------
    mean : Tensor, shape (B, ...)
    variance : Tensor, shape (B, 1, ...)
        One value per image, ready to broadcast.
    """
    _check_same(x_0, x_t, "x_t")
    bar_a = schedule.alphas_cumprod
    bar_a_prev = torch.cat([torch.ones(1, dtype=bar_a.dtype), bar_a[:-1]])
    weight_x_0 = bar_a_prev.sqrt() * schedule.betas / (1 - bar_a)
    weight_x_t = schedule.alphas.sqrt() * (1 - bar_a_prev) / (1 - bar_a)
    variance = schedule.betas * (1 - bar_a_prev) / (1 - bar_a)
    mean = _at(weight_x_0, t, x_t) * x_0 + _at(weight_x_t, t, x_t) * x_t
    return mean, _at(variance, t, x_t)


def check_timesteps(t: int | Tensor, num_timesteps: int, batch: int) -> Tensor:
    """Return `t` as an int64 CPU tensor of shape (B,), or say what is wrong with it.

    Raises
    ------
    ValueError
        If `t` is not whole, has neither one value nor `batch` values, or leaves 0 .. T-1.
    """
    t = torch.as_tensor(t)
    if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
        raise ValueError(f"t must hold whole timesteps, got dtype {t.dtype}. Use t.long().")
    if t.ndim > 1 or t.numel() not in (1, batch):
        raise ValueError(
            f"t must be one whole number or a tensor of shape ({batch},), one per image; "
            f"got shape {tuple(t.shape)}."
        )
    t = t.reshape(-1).expand(batch).cpu().long()
    if batch and not (0 <= int(t.min()) and int(t.max()) < num_timesteps):
        raise ValueError(
            f"t must lie in 0 .. {num_timesteps - 1} (t = 0 is the first, least noisy step); "
            f"got values from {int(t.min())} to {int(t.max())}."
        )
    return t


def _at(values: Tensor, t: int | Tensor, x: Tensor) -> Tensor:
    """`values[t]`, one per image, in the dtype and on the device of `x`: (B, 1, ..., 1)."""
    t = check_timesteps(t, len(values), len(x))
    return expand_to(values[t].to(x), x)


def _check_float(x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise ValueError(
            f"{name} must be floating point in [-1, 1], got dtype {x.dtype}. Convert pixels first: "
            "x.float() / 127.5 - 1."
        )


def _check_same(x: Tensor, other: Tensor, name: str) -> None:
    if x.shape != other.shape:
        raise ValueError(
            f"{name} has shape {tuple(other.shape)}, but the images have {tuple(x.shape)}; "
            "they must be alike."
        )


def _noise_for(x: Tensor, noise: Tensor | None, generator: torch.Generator | None) -> Tensor:
    if noise is None:
        return randn_like(x, generator)
    _check_same(x, noise, "noise")
    return noise


def randn_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise like `x`, drawn on the generator's own device.

    A CPU generator therefore gives the same noise whether `x` is on a CPU or a GPU.
    """
    if generator is None:
        return torch.randn_like(x)
    noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
    return noise.to(x.device)
