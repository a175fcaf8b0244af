"""The loss of a pipeline's own U-Net: whatever it predicts, on its own noise schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.errors import check_choice
from course_lib.losses import min_snr_weight
from course_lib.process import q_sample, velocity
from course_lib.schedules import NoiseSchedule

# Names of diffusers' schedulers -> those of `course_lib.process`
_PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
# Of the SNR in the weight of a model that predicts the clean latent, as the mini was trained
SNR_CAP = 20.0


def schedule_of(pipe) -> NoiseSchedule:
    """The noise schedule of a pipeline's scheduler."""
    return NoiseSchedule(pipe.scheduler.betas.double().cpu(), name="the model's own")


def prediction_of_pipe(pipe) -> str:
    """What the U-Net predicts: "eps", "x0" or "v".

    Raises
    ------
    ValueError
        For a scheduler that says something else.
    """
    kind = pipe.scheduler.config.prediction_type
    return _PREDICTIONS[check_choice("prediction type", kind, _PREDICTIONS)]


def denoising_error(
    unet,
    schedule: NoiseSchedule,
    prediction: str,
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    conditions: dict[str, Tensor],
) -> Tensor:
    r"""The squared error of what the U-Net predicts.

    For noise and v it is L_simple (arXiv:2006.11239, equation 14; arXiv:2202.00512); the error of
    a predicted clean latent is weighed by :math:`\min(\mathrm{SNR}_t, 20) + 1`, as if v were
    predicted (compare arXiv:2303.09556).

    Parameters
    ----------
    x_0, noise : Tensor, shape (B, C, h, w)
        Clean latents and the noise.
    t : Tensor, shape (B,)
    conditions : dict
        ``encoder_hidden_states``, and for SDXL ``text_embeds`` and ``time_ids``.

    Returns
    -------
    Tensor
        A scalar with gradient.
    """
    dtype = unet.dtype
    x_t = q_sample(x_0, t, schedule, noise)
    own = {name: value.to(dtype) for name, value in conditions.items()}
    text = own.pop("encoder_hidden_states")
    added = {"added_cond_kwargs": own} if own else {}
    output = unet(x_t.to(dtype), t, text, return_dict=False, **added)[0].float()
    targets = {"eps": noise, "x0": x_0}
    target = targets[prediction] if prediction in targets else velocity(x_0, noise, t, schedule)
    error = (output - target).square().mean(dim=(1, 2, 3))
    if prediction == "x0":
        snr = schedule.snr[t.cpu()].to(error)
        error = error * min_snr_weight(snr, cap=SNR_CAP, offset=1.0)
    return error.mean()


@torch.no_grad()
def mean_error(loss, batches, device: torch.device) -> float:
    """The mean of `loss` over batches that were prepared once; see `held_out_batches`."""
    total = 0.0
    for x_0, noise, t, conditions in batches:
        placed = {name: value.to(device) for name, value in conditions.items()}
        total += loss(x_0.to(device), noise.to(device), t.to(device), placed).item()
    return total / len(batches)
