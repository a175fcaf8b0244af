"""Two networks that look at latents: the critic names attributes, the discriminator tells fakes.

They help in training alone and are not shipped. The evaluation's judge is another network, which
looks at pixels and has never seen what the U-Net paints.

Both see the leading channels of a latent only, its large components. Through the many small ones a
network can be told what pleases it without any change that an eye would notice: trained with the
gradients of a critic of all 64, the U-Net laid one grain over all styles.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.mini.config import IMAGE_SIZE, MiniSizes
from course_lib.mini.data import UNSEEN
from course_lib.mini.judge import Block, attribute_heads, scores_of
from course_lib.portraits.attributes import VOCABULARY

SEEN_CHANNELS = 24  # their deviations are above those of the grain


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
        return scores_of(self.heads, F.silu(self.squeeze(self.tower(_leading(latents)).flatten(1))))


class Discriminator(nn.Module):
    """Tells latents of painted portraits from believed ones, place by place.

    It knows what the portrait shows, and looks for what a painted one of that kind would have: a
    flat illustration with a good face is no pixel art. What is shown enters as a projection, the
    product of its embedding and what is seen in a place (arXiv:1802.05637).

    Parameters
    ----------
    sizes : MiniSizes
    """

    def __init__(self, sizes: MiniSizes):
        super().__init__()
        middle = sizes.critic_channels[1]
        self.tower = nn.Sequential(*_to_8_x_8(sizes), nn.GroupNorm(8, middle), nn.SiLU())
        self.look = nn.Conv2d(middle, 1, 1)
        # Row 0 is for what the picture hides. All begin with nothing to say
        self.kinds = nn.ModuleDict(
            {k: nn.Embedding(len(v) + 1, middle, padding_idx=0) for k, v in VOCABULARY.items()}
        )
        for kind in self.kinds.values():
            nn.init.zeros_(kind.weight)

    def forward(self, latents: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """(B, C, 16, 16) latents and labels (B,) -> (B, 8, 8), positive where they look painted."""
        features = self.tower(_leading(latents))
        kind = sum(
            self.kinds[name](torch.where(label == UNSEEN, 0, label + 1))
            for name, label in seen.items()
        )
        # Divided as attention's products are (arXiv:1706.03762), so that it learns no faster
        match = torch.einsum("bc,bcij->bij", kind, features) * features.shape[1] ** -0.5
        return self.look(features)[:, 0] + match


def _leading(latents: Tensor) -> Tensor:
    return latents[:, :SEEN_CHANNELS]


def _to_8_x_8(sizes: MiniSizes) -> list[nn.Module]:
    """How both begin: (B, C, 16, 16) leading channels of latents -> (B, middle, 8, 8)."""
    fine, middle, _ = sizes.critic_channels
    return [
        nn.Conv2d(min(sizes.latent_channels, SEEN_CHANNELS), fine, 3, padding=1),
        Block(fine),
        nn.Conv2d(fine, middle, 3, stride=2, padding=1),
        Block(middle),
    ]
