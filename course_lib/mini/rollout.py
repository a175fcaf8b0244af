"""The U-Net's last lessons: pictures that it samples itself, marked by the two helpers.

`UnetTask` shows the U-Net noised portraits, in which whatever can be made out is right. Sampling is
another matter: where the first step has begun a wrong mouth, the later ones meet a latent of a kind
that training never had, and go on with it. Here the U-Net walks the whole way from noise as the
pipeline does, with guidance and in few steps, and hears after each step what the critic and the
discriminator think of the picture it has in mind. Learning from a differentiable mark of one's own
samples is the idea of arXiv:2304.05977 and arXiv:2309.17400; no gradient runs from one step back to
the one before, so each costs what a step of training costs.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from course_lib.mini.eyes import PictureMarks
from course_lib.mini.tasks import UnetTask
from course_lib.process import predict_x0_from_v
from course_lib.sampler_steps import dpmpp_2m_step
from course_lib.samplers import time_grid

# How learners paint: around the defaults of the mini, 5 steps with guidance 2.5
STEPS = (4, 5, 6)
GUIDANCE = (1.5, 3.5)


class RolloutTask(UnetTask):
    """The squared error on noised portraits, and the helpers' marks on the U-Net's own samples.

    The squared error keeps the U-Net a denoiser at every timestep, with and without a prompt.

    Parameters
    ----------
    *given, **named
        As in `UnetTask`; at least one helper is needed.
    eyes : PictureMarks, optional
        Look at the picture that a walk ends with, and at one on the way.
    """

    def __init__(self, *given, eyes: PictureMarks | None = None, **named):
        super().__init__(*given, **named)
        self.eyes = eyes

    def forward(
        self,
        x_0: Tensor,
        t: Tensor,
        noise: Tensor,
        text: Tensor,
        start: Tensor,
        prompt: Tensor,
        empty: Tensor,
        stated: dict[str, Tensor],
        guidance: Tensor,
        steps: Tensor,
    ) -> Tensor:
        """The loss of a batch of B noised portraits and of R <= B samples.

        Parameters
        ----------
        x_0, t, noise, text
            As in `UnetTask`. The first R portraits are also what the discriminator compares with.
        start : Tensor, shape (R, C, H, W)
            The noise that sampling starts from.
        prompt, empty : Tensor, shape (R, 77, W)
            Hidden states of those portraits' captions, none of them dropped, and of no prompt.
        stated : dict
            Attribute -> what the captions state, (R,), `UNSEEN` where they leave it open.
        guidance : Tensor, shape (R, 1, 1, 1)
        steps : Tensor, shape ()
            The sampler's.
        """
        loss, _ = self.denoise(x_0, t, noise, text)
        painted = x_0[: len(start)]
        nodes = time_grid(self.schedule, method="dpmpp_2m", steps=int(steps), spacing="trailing")
        x_t, last = start, None
        decoded = _looked_at(len(nodes)) if self.eyes else set()
        for number, node in enumerate(nodes):
            times = torch.full((len(start),), node.t, device=start.device)
            believed = self.guided(x_t, times, prompt, empty, guidance)
            marks = self.marks(believed, painted, stated, self.trust(times, start))
            loss = loss + marks / len(nodes)
            if number in decoded:
                loss = loss + self.eyes(believed, stated) / len(decoded)
            before, last = last, (node, believed.detach())
            x_t = dpmpp_2m_step(x_t, believed.detach(), node, before)
        return loss

    def guided(
        self, x_t: Tensor, t: Tensor, prompt: Tensor, empty: Tensor, guidance: Tensor
    ) -> Tensor:
        """Clean latents by classifier-free guidance (arXiv:2207.12598).

        What the U-Net says without a prompt is left to the squared error: taught by the marks, it
        would learn to be wrong in the opposite way.
        """
        with torch.no_grad():
            without = self.unet(x_t, t, empty).sample.float()
        v_hat = without + guidance * (self.unet(x_t, t, prompt).sample.float() - without)
        return predict_x0_from_v(x_t, t, v_hat, self.schedule)


def _looked_at(steps: int) -> set[int]:
    """Which steps of a walk are decoded: the last, and with it one after the first."""
    return {steps - 1, int(torch.randint(1, steps, ()))}


@torch.no_grad()
def halfway(before: nn.Module, after: nn.Module) -> nn.Module:
    """The network with the mean of two networks' weights, on the CPU (arXiv:2109.01903).

    What the marks teach costs something of what the squared error taught, styles above all. Half of
    the way brings most of the gain and hardly any of the loss.
    """
    middle = copy.deepcopy(before).cpu()
    for tensor, other in zip(middle.parameters(), after.parameters(), strict=True):
        tensor.lerp_(other.to(tensor), 0.5)
    return middle
