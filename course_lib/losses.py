"""What a diffusion model is trained on: the loss, and its measurement on held-out images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import check_choice
from course_lib.guidance import check_labels, num_classes_of
from course_lib.process import (
    model_input,
    prediction_of,
    q_sample,
    signal_and_sigma,
    velocity,
)
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import uint8_to_signed

WEIGHTINGS = ("uniform", "min_snr")


def denoising_loss(
    model: nn.Module,
    x_0: Tensor,
    schedule: NoiseSchedule,
    *,
    t: Tensor | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    prediction: str | None = None,
    weighting: str = "uniform",
    labels: Tensor | None = None,
) -> Tensor:
    r"""L_simple: the squared error of the predicted noise (arXiv:2006.11239, equation 14).

    Parameters
    ----------
    model : nn.Module
        See the model contract in `course_lib.samplers`.
    x_0 : Tensor, shape (B, C, H, W)
        Clean images in [-1, 1].
    t : Tensor, shape (B,), optional
        Timesteps; default: uniform over 0 .. T-1, from `generator`.
    noise : Tensor, shape of x_0, optional
        Default: standard normal, from `generator`.
    prediction : {"eps", "x0", "v", "flow"}, optional
        What the model predicts, and so what it is compared with. Default: what the model says
        itself (``model.prediction``), else "eps".
    weighting : {"uniform", "min_snr"}
        ``min_snr`` weights each image by min(SNR, 5), in eps units (arXiv:2303.09556, section
        3.4), so that nearly clean images do not drown the rest.
    labels : Tensor, shape (B,), optional
        The class of each image, for a model with ``num_classes``.

    Returns
    -------
    Tensor
        A scalar with gradient.
    """
    if t is None:
        t = torch.randint(schedule.num_timesteps, (len(x_0),), generator=generator)
    if noise is None:
        noise = torch.randn(x_0.shape, generator=generator).to(x_0)
    prediction = prediction_of(model, prediction)
    x_t = q_sample(x_0, t, schedule, noise)
    told = {} if labels is None else {"labels": labels.to(x_0.device)}
    seen = model_input(x_t, *signal_and_sigma(schedule, t, x_0), prediction)
    out = model(seen, t.to(x_0.device), **told)
    out = getattr(out, "sample", out)
    if prediction == "v":
        target = velocity(x_0, noise, t, schedule)
    else:
        target = {"eps": noise, "x0": x_0, "flow": noise - x_0}[prediction]
    per_image = F.mse_loss(out.float(), target, reduction="none").mean(dim=(1, 2, 3))
    if check_choice("loss weighting", weighting, WEIGHTINGS) == "min_snr":
        snr = schedule.snr[t.cpu()].to(per_image)
        # The weight min(SNR, 5) is on the x_0 error; these turn other errors into x_0 errors
        to_x_0 = {
            "eps": 1 / snr,
            "v": 1 / (snr + 1),
            "x0": torch.ones_like(snr),
            "flow": 1 / (snr.sqrt() + 1) ** 2,
        }
        per_image = per_image * min_snr_weight(snr) * to_x_0[prediction]
    return per_image.mean()


def min_snr_weight(snr: Tensor, *, cap: float = 5.0, offset: float = 0.0) -> Tensor:
    r"""The weight :math:`\min(\mathrm{SNR}, cap) + offset` of an image's squared error of x_0.

    With offset 0 it is Min-SNR (arXiv:2303.09556, section 3.4). An error of v is one of x_0 times
    SNR + 1, so offset 1 is the weight of a model that predicts v, with a cap.
    """
    return snr.clamp(max=cap) + offset


@torch.no_grad()
def held_out_loss(
    model: nn.Module,
    images: Tensor,
    schedule: NoiseSchedule,
    *,
    prediction: str | None = None,
    labels: Tensor | Sequence[int] | int | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> float:
    """The denoising loss on images the model was not trained on, with fixed noise.

    The timesteps are spread evenly over the schedule and the noise depends on `seed` alone, so two
    models are compared on exactly the same task. `labels` gives the images' classes, for a model
    with ``num_classes``.
    """
    if labels is not None:
        labels = check_labels(labels, num_classes_of(model), len(images))
    generator = torch.Generator().manual_seed(seed)
    n = len(images)
    times = (torch.arange(n) * schedule.num_timesteps) // n
    times = times[torch.randperm(n, generator=generator)]
    noise = torch.randn(images.shape, generator=generator)
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    total = 0.0
    for part in torch.arange(n).split(batch_size):
        x_0 = pixels(images, part, device)
        loss = denoising_loss(
            model,
            x_0,
            schedule,
            t=times[part],
            noise=noise[part].to(device),
            prediction=prediction,
            labels=None if labels is None else labels[part],
        )
        total += loss.item() * len(part)
    model.train(was_training)
    return total / n


def check_images(images: Tensor, name: str) -> Tensor:
    """Return `images` if they can be trained on: uint8, or finite floats in [-1, 1].

    Warns
    -----
    UserWarning
        Where they seem to lie in [0, 1].

    Raises
    ------
    ValueError
        If they are something else.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) == 0:
        given = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"{name} must be a tensor (N, C, H, W) with N >= 1, got {given}. A data set turns "
            "into one with its .images() method."
        )
    if images.dtype == torch.uint8:
        return images
    low, high = images.aminmax()
    # NaN fails both comparisons
    if not (images.is_floating_point() and low >= -1.001 and high <= 1.001):
        raise ValueError(
            f"{name} must be uint8, or floats in [-1, 1]; got {images.dtype} with values from "
            f"{low} to {high}. Pixels in 0 .. 255 become floats by x / 127.5 - 1."
        )
    if 0 <= low < high:
        warnings.warn(
            f"{name} holds no value below 0, as if it were in [0, 1]; here black is -1 and full "
            "brightness +1. Convert it with cl.to_signed(images), unless no pixel is darker than "
            "mid gray.",
            stacklevel=3,
        )
    return images


def pixels(images: Tensor, index: Tensor, device: torch.device) -> Tensor:
    """The images at `index`, on `device`, as float32 in [-1, 1], whatever their dtype."""
    x = images[index]  # made float32 where the images lie: MPS has no float64
    return (uint8_to_signed(x.to(device)) if x.dtype == torch.uint8 else x.float()).to(device)
