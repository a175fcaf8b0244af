"""The critic: it names a portrait's attributes from its latent, and so tells what one lacks.

It helps in training alone and is not shipped. The evaluation's judge is another network, which
looks at pixels and has never seen what the U-Net paints.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.mini.config import IMAGE_SIZE, MiniSizes
from course_lib.mini.judge import Block, attribute_heads, scores_of


class Critic(nn.Module):
    """Convolutions over the latent's 16 x 16 cells, and one linear head per attribute.

    Parameters
    ----------
    sizes : MiniSizes
    """

    def __init__(self, sizes: MiniSizes):
        super().__init__()
        fine, middle, coarse = sizes.critic_channels
        self.tower = nn.Sequential(
            nn.Conv2d(sizes.latent_channels, fine, 3, padding=1),
            Block(fine),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1),
            Block(middle),
            Block(middle),
            nn.Conv2d(middle, coarse, 3, stride=2, padding=1),
            nn.GroupNorm(8, coarse),
            nn.SiLU(),
        )
        cells = (IMAGE_SIZE // 32) ** 2
        # As in the judge, where a thing is tells what it is
        self.squeeze = nn.Linear(coarse * cells, 2 * coarse)
        self.heads = attribute_heads(2 * coarse)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """(B, C, 16, 16) latents -> for each attribute the scores of its values, (B, V)."""
        return scores_of(self.heads, F.silu(self.squeeze(self.tower(latents).flatten(1))))
