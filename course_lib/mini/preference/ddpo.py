r"""Denoising diffusion policy optimisation, DDPO (arXiv:2305.13301): reinforcement learning.

Sampling is a Markov decision process. The state is (prompt, t, x_t), the action is the less noisy
x_prev, the policy is the sampler's Gaussian step

.. math:: p_\theta(x_{prev} | x_t, c) = N(\mu_\theta(x_t, c, t), \sigma_t^2 I),

and the reward comes after the last action, for the finished picture. The sampler is DDIM with
eta = 1, which is ancestral sampling; its last step adds no noise, so it has no density and is not
trained. The policy is used without classifier-free guidance, which halves the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.device import make_generator
from course_lib.errors import check_whole
from course_lib.mini.preference.adapters import reference
from course_lib.mini.preference.rewards import Reward, checked_reward
from course_lib.pipelines.personalisation.denoising import prediction_of_pipe, schedule_of
from course_lib.pipelines.prompts import encode_prompt
from course_lib.pipelines.sampling import decode_latents
from course_lib.process import x0_and_eps
from course_lib.sampler_grids import time_grid
from course_lib.sampler_steps import Node, ddim_step

# Of the ratios of `log_prob`, which averages over a latent's numbers: the paper's value
CLIP_RANGE = 1e-4
STEPS = 8
_LARGEST_ADVANTAGE = 5.0
_AT_ONCE = 16  # latents in one call of the U-Net


@dataclass(frozen=True, eq=False)
class Trajectories:
    """B pictures on their way from noise.

    Attributes
    ----------
    latents : Tensor, shape (S + 1, B, C, h, w)
        x_T first; step k leads from row k to row k + 1. The last row is the finished latents.
    log_probs : Tensor, shape (S - 1, B)
        Of every step but the last, see `log_prob`.
    text : Tensor, shape (B, L, width)
        What the U-Net read.
    nodes : list of Node
        The S steps.
    """

    latents: Tensor
    log_probs: Tensor
    text: Tensor
    nodes: list[Node]


@dataclass(frozen=True, eq=False)
class Iteration:
    """One round of sampling and training.

    Attributes
    ----------
    number : int
        From 0.
    rewards : Tensor, shape (B,)
        Of the pictures that this round sampled, before its updates.
    images : Tensor, shape (B, 3, H, W)
        Those pictures, in [-1, 1].
    clipped : float
        Share of the steps in training whose ratio had left the clip range.
    kl : float
        Mean KL divergence of the trained steps from the reference model's, for each number of a
        latent; 0 where `kl_weight` is 0, since it is not computed then.
    """

    number: int
    rewards: Tensor
    images: Tensor
    clipped: float
    kl: float


def step_distribution(x_t: Tensor, x_0_hat: Tensor, node: Node) -> tuple[Tensor, float]:
    """Mean and standard deviation of the sampler's step (DDIM, eta = 1; arXiv:2010.02502)."""
    b, b_prev = node.bar_a, node.bar_a_prev
    eps_hat = (x_t - b**0.5 * x_0_hat) / (1 - b) ** 0.5
    sigma = math.sqrt((1 - b_prev) / (1 - b) * (1 - b / b_prev))
    return ddim_step(x_0_hat, eps_hat, b, b_prev, eta=1.0), sigma


def log_prob(x: Tensor, mean: Tensor, sigma: float) -> Tensor:
    r"""The Gaussian log-density of x, averaged over its numbers: (B, ...) -> (B,).

    The density of a whole latent is the sum. Its ratios would leave every clip range at the first
    update, since a latent has thousands of numbers; the authors' code takes the mean, too.
    """
    square = ((x - mean) / sigma).square() / 2
    return -(square + math.log(sigma) + math.log(2 * math.pi) / 2).flatten(1).mean(dim=1)


def advantages(rewards: Tensor, prompts: Sequence[str]) -> Tensor:
    """Rewards (B,), for each prompt shifted to mean 0 and scaled to standard deviation 1."""
    result = torch.zeros_like(rewards)
    for prompt in dict.fromkeys(prompts):
        mask = torch.tensor([p == prompt for p in prompts])
        own = rewards[mask]
        result[mask] = (own - own.mean()) / (own.std(unbiased=False) + 1e-6)
    return result.clamp(-_LARGEST_ADVANTAGE, _LARGEST_ADVANTAGE)


def clipped_loss(
    new: Tensor, old: Tensor, advantage: Tensor, clip_range: float = CLIP_RANGE
) -> Tensor:
    r"""The clipped importance-weighted loss of DDPO, that of PPO (arXiv:1707.06347, equation 7).

    .. math:: -\mathrm{mean}\,\min(r A,\ \mathrm{clip}(r, 1 - c, 1 + c) A), \quad
        r = e^{\mathrm{new} - \mathrm{old}}

    Parameters
    ----------
    new, old : Tensor, shape (B,)
        Log-probabilities of the same steps under the policy in training, and under the one that
        made them.
    advantage : Tensor, shape (B,)
    clip_range : float
        c.
    """
    ratio = (new - old).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(ratio * advantage, clipped * advantage).mean()


def predict(pipe, x_t: Tensor, node: Node, text: Tensor) -> Tensor:
    """The U-Net's estimate of x_0, without guidance."""
    output = pipe.unet(x_t, node.t, text, return_dict=False)[0].float()
    signal, sigma = node.bar_a**0.5, (1 - node.bar_a) ** 0.5
    return x0_and_eps(output, x_t, signal, sigma, prediction_of_pipe(pipe))[0]


@torch.no_grad()
def sample(pipe, prompts: Sequence[str], generators, *, steps: int = STEPS) -> Trajectories:
    """Sample one picture for each prompt, and remember every step with its log-probability.

    Parameters
    ----------
    prompts : sequence of str
    generators : list of torch.Generator, one for each prompt, or one for all
    steps : int
        Sampling steps, from the last timestep down (trailing spacing).
    """
    steps = check_whole("steps", steps, low=2)
    grid = time_grid(schedule_of(pipe), method="ddpm", steps=steps, spacing="trailing")
    text = encode_prompt(pipe, list(prompts))[0].detach()
    size = pipe.unet.config.sample_size
    shape = (len(prompts), pipe.unet.config.in_channels, size, size)
    latents, log_probs = [_noise(shape, generators)], []
    for node in grid:
        x_t = latents[-1]
        parts = zip(x_t.split(_AT_ONCE), text.split(_AT_ONCE), strict=True)
        x_0_hat = torch.cat([predict(pipe, x, node, words) for x, words in parts])
        mean, sigma = step_distribution(x_t, x_0_hat, node)
        if sigma == 0:
            latents.append(mean)
            break
        latents.append(mean + sigma * _noise(shape, generators))
        log_probs.append(log_prob(latents[-1], mean, sigma))
    return Trajectories(torch.stack(latents), torch.stack(log_probs), text, grid)


def _noise(shape: tuple[int, ...], generators) -> Tensor:
    if isinstance(generators, torch.Generator):
        return torch.randn(shape, generator=generators)
    return torch.stack([torch.randn(shape[1:], generator=g) for g in generators])


def train(
    pipe,
    parameters: Sequence[torch.nn.Parameter],
    reward: Reward,
    prompts: Sequence[str],
    *,
    iterations: int,
    each: int = 4,
    steps: int = STEPS,
    trained_steps: int | None = None,
    updates: int = 2,
    lr: float = 1e-3,
    clip_range: float = CLIP_RANGE,
    kl_weight: float = 0.0,
    seed: int = 0,
) -> Iterator[Iteration]:
    """Raise the mean reward of a pipeline's pictures.

    Parameters
    ----------
    parameters : sequence of Parameter
        What is trained, such as `trainable_lora` yields.
    reward : callable
        See `course_lib.mini.preference.rewards`.
    prompts : sequence of str
    iterations : int
        Rounds of sampling `each` pictures of every prompt and training on them.
    trained_steps : int, optional
        So many of the sampling steps, drawn anew in each round, are trained on; default: all but
        the last.
    updates : int
        Optimiser steps in a round, each on its share of the pictures. From the second on the
        pictures are those of an older policy.
    lr : float
        Of AdamW.
    kl_weight : float
        Weight of the steps' KL divergence from the model without the LoRA.
    seed : int

    Yields
    ------
    Iteration

    Raises
    ------
    ValueError
        If a reward is not one finite number for each picture.
    """
    texts = [prompt for prompt in prompts for _ in range(check_whole("each", each, low=2))]
    generator = make_generator(seed)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    trainable = steps - 1
    count = check_whole("trained_steps", trained_steps or trainable, high=trainable)
    for number in range(iterations):
        found = sample(pipe, texts, generator, steps=steps)
        images = decode_latents(pipe, found.latents[-1])
        rewards = checked_reward(reward, images, texts)
        weights = advantages(rewards, texts)
        chosen = torch.randperm(trainable, generator=generator)[:count].tolist()
        clipped, kl = [], []
        for rows in torch.randperm(len(texts), generator=generator).chunk(updates):
            for k in chosen:
                loss, outside, divergence = _loss(
                    pipe, found, k, rows, weights, clip_range, kl_weight
                )
                (loss / count).backward()
                clipped.append(outside)
                kl.append(divergence)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        yield Iteration(number, rewards, images, sum(clipped) / len(clipped), sum(kl) / len(kl))


def _loss(
    pipe, found: Trajectories, k: int, rows: Tensor, weights: Tensor, clip_range: float,
    kl_weight: float,
) -> tuple[Tensor, float, float]:  # fmt: skip
    """Loss of step k of some pictures, the share outside the clip range, the KL divergence."""
    node, x_t, x_prev = found.nodes[k], found.latents[k, rows], found.latents[k + 1, rows]
    mean, sigma = step_distribution(x_t, predict(pipe, x_t, node, found.text[rows]), node)
    new, old = log_prob(x_prev, mean, sigma), found.log_probs[k, rows]
    loss = clipped_loss(new, old, weights[rows], clip_range)
    outside = ((new - old).exp() - 1).abs() > clip_range
    if kl_weight == 0:
        return loss, outside.float().mean().item(), 0.0
    with torch.no_grad(), reference(pipe):
        anchor = step_distribution(x_t, predict(pipe, x_t, node, found.text[rows]), node)[0]
    # Of two Gaussians with one sigma, averaged over the numbers as log_prob is
    kl = ((mean - anchor) / sigma).square().mean() / 2
    return loss + kl_weight * kl, outside.float().mean().item(), kl.item()
