r"""Diffusion-DPO (arXiv:2311.12908): learning from pairs of pictures, without a reward function.

Of two pictures of one prompt a viewer preferred x^w to x^l. Both are noised at the same timestep
with the same noise, and

.. math:: L = -\log \sigma\!\left(-\tfrac{\beta}{2}
    [(e_\theta^w - e_{ref}^w) - (e_\theta^l - e_{ref}^l)]\right),

where e is the denoising error. The loss falls where the trained model denoises the preferred
picture better than the reference does, and the other one worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_whole
from course_lib.losses import min_snr_weight
from course_lib.mini.preference.adapters import reference
from course_lib.pipelines.personalisation.denoising import SNR_CAP, prediction_of_pipe, schedule_of
from course_lib.pipelines.personalisation.examples import encode_images
from course_lib.pipelines.prompts import encode_prompt
from course_lib.process import q_sample, x0_and_eps
from course_lib.tensors import expand_to

BETA = 2500.0  # for errors that are means over a latent's numbers


def dpo_logits(
    preferred: Tensor, rejected: Tensor, preferred_ref: Tensor, rejected_ref: Tensor,
    beta: float = BETA,
) -> Tensor:  # fmt: skip
    """The argument of the sigmoid for each pair, (B,); positive where the model prefers right.

    Parameters
    ----------
    preferred, rejected : Tensor, shape (B,)
        Denoising errors of the model in training.
    preferred_ref, rejected_ref : Tensor, shape (B,)
        Those of the reference.
    """
    return -beta / 2 * ((preferred - preferred_ref) - (rejected - rejected_ref))


def dpo_loss(*errors: Tensor, beta: float = BETA) -> Tensor:
    """The loss of a batch of pairs, a scalar; parameters as of `dpo_logits`."""
    return -F.logsigmoid(dpo_logits(*errors, beta=beta)).mean()


def pairs_of_answers(answers: Iterable[Mapping]) -> list[tuple[str, str]]:
    """Names of the preferred and the other picture; "same" gives no pair.

    Parameters
    ----------
    answers : iterable of mappings
        As `course_lib.widgets.PictureComparison` writes them: ``a``, ``b``, ``winner``.

    Raises
    ------
    ValueError
        If an answer has no such entries or another winner.
    """
    pairs = []
    for number, answer in enumerate(answers, start=1):
        found = {key: answer.get(key) for key in ("a", "b", "winner")}
        if found["winner"] not in ("a", "b", "same") or None in found.values():
            raise ValueError(
                f"Answer {number} must have the entries a, b and winner (a, b or same), but is "
                f"{answer!r}."
            )
        if found["winner"] != "same":
            loser = "b" if found["winner"] == "a" else "a"
            pairs.append((found[found["winner"]], found[loser]))
    return pairs


class Pairs:
    """Latents of N preferred and N other pictures, and what the U-Net reads for each pair.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline
    preferred, rejected : Tensor, shape (N, 3, H, W)
        Pictures in [-1, 1].
    prompts : sequence of str, N
    """

    def __init__(self, pipe, preferred: Tensor, rejected: Tensor, prompts: Sequence[str]):
        if not len(preferred) == len(rejected) == len(prompts):
            raise ValueError(
                f"There are {len(preferred)} preferred pictures, {len(rejected)} others and "
                f"{len(prompts)} prompts; every pair needs one of each."
            )
        self.latents = torch.stack([encode_images(pipe, x) for x in (preferred, rejected)])
        self.text = encode_prompt(pipe, list(prompts))[0].detach()

    def __len__(self) -> int:
        return len(self.text)


def logits(pipe, pairs: Pairs, rows: Tensor, generator, *, beta: float = BETA) -> Tensor:
    """`dpo_logits` of some pairs, at timesteps and with noise that are drawn, (B,)."""
    x_0 = pairs.latents[:, rows].flatten(0, 1)
    t = torch.randint(1000, (len(rows),), generator=generator)
    noise = torch.randn(pairs.latents[0, rows].shape, generator=generator)
    # The two pictures of a pair share timestep and noise, so that these cancel
    given = (x_0, noise.repeat(2, 1, 1, 1), t.repeat(2), pairs.text[rows].repeat(2, 1, 1))
    preferred, rejected = denoising_errors(pipe, *given).chunk(2)
    with torch.no_grad(), reference(pipe):
        preferred_ref, rejected_ref = denoising_errors(pipe, *given).chunk(2)
    return dpo_logits(preferred, rejected, preferred_ref, rejected_ref, beta=beta)


def denoising_errors(pipe, x_0: Tensor, noise: Tensor, t: Tensor, text: Tensor) -> Tensor:
    """Squared error of the predicted clean latent for each picture, (B,), weighed as v.

    The paper leaves the weight of a timestep free; this is the one that the mini was trained with,
    min(SNR, 20) + 1.
    """
    schedule = schedule_of(pipe)
    x_t = q_sample(x_0, t, schedule, noise)
    bar = expand_to(schedule.alphas_cumprod[t], x_t).to(x_t.dtype)
    output = pipe.unet(x_t, t, text, return_dict=False)[0].float()
    signal, sigma = bar.sqrt(), (1 - bar).sqrt()
    x_0_hat = x0_and_eps(output, x_t, signal, sigma, prediction_of_pipe(pipe))[0]
    weight = min_snr_weight(schedule.snr[t].to(x_t), cap=SNR_CAP, offset=1.0)
    return weight * (x_0_hat - x_0).square().mean(dim=(1, 2, 3))


def train(
    pipe, parameters: Sequence[torch.nn.Parameter], pairs: Pairs, *, steps: int,
    batch_size: int = 8, lr: float = 1e-3, beta: float = BETA, seed: int = 0,
) -> Iterator[tuple[float, float]]:  # fmt: skip
    """Train on pairs; yields each step's loss and the share of its pairs that are ordered right."""
    check_whole("steps", steps)
    generator = make_generator(seed)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    for _ in range(steps):
        rows = torch.randint(len(pairs), (batch_size,), generator=generator)
        margins = logits(pipe, pairs, rows, generator, beta=beta)
        loss = -F.logsigmoid(margins).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.item(), (margins > 0).float().mean().item()


@torch.no_grad()
def implicit_accuracy(pipe, pairs: Pairs, *, repeats: int = 4, seed: int = 0) -> float:
    """Share of pairs that the model orders as the viewer did, compared with the reference.

    Averaged over `repeats` draws of timesteps and noise; 0.5 is chance. Without training all
    margins are 0, and ties count half.
    """
    generator, found = make_generator(seed), []
    for _ in range(repeats):
        for rows in torch.arange(len(pairs)).split(16):
            margins = logits(pipe, pairs, rows, generator)
            found.append((margins > 0).float() + 0.5 * (margins == 0).float())
    return torch.cat(found).mean().item()
