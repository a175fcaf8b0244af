"""Two networks that look at latents: the critic names attributes, the discriminator tells fakes.

They help in training alone and are not shipped. The evaluation's judge is another network, which
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
        _, middle, coarse = sizes.critic_channels
        self.tower = nn.Sequential(
            *_to_8_x_8(sizes),
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


class Discriminator(nn.Module):
    """Tells latents of painted portraits from believed ones, place by place.

    Parameters
    ----------
    sizes : MiniSizes
    """

    def __init__(self, sizes: MiniSizes):
        super().__init__()
        middle = sizes.critic_channels[1]
        self.tower = nn.Sequential(
            *_to_8_x_8(sizes),
            nn.GroupNorm(8, middle),
            nn.SiLU(),
            nn.Conv2d(middle, 1, 1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """(B, C, 16, 16) latents -> (B, 8, 8), positive where they look painted."""
        return self.tower(latents)[:, 0]


def _to_8_x_8(sizes: MiniSizes) -> list[nn.Module]:
    """How both begin: (B, C, 16, 16) latents -> (B, middle, 8, 8)."""
    fine, middle, _ = sizes.critic_channels
    return [
        nn.Conv2d(sizes.latent_channels, fine, 3, padding=1),
        Block(fine),
        nn.Conv2d(fine, middle, 3, stride=2, padding=1),
        Block(middle),
    ]
