"""Critics of pictures: one of faces, which names expressions, and one of styles.

The critic of latents sees the large components alone. There a closed mouth is a few numbers, so
calm, sad and angry lie close together, and of the dither and the chalk that tell styles apart there
is next to nothing. Here the picture in the U-Net's mind is decoded, and two small networks look at
it. They help in training alone and are not shipped; the evaluation's judge is another network,
trained on its own, and neither has seen the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.mini.config import MiniSizes
from course_lib.mini.judge import Block, attribute_heads, scores_of
from course_lib.mini.tasks import naming_loss, person_loss

# Of a portrait's 128 rows and columns: from the brows, or a cap's brim, to the end of a short beard
TOP, LEFT, SIDE = 36, 32, 64
# What can be told by that part alone
OF_THE_FACE = ("age", "gender", "skin", "hair_color", "eyewear", "facial_hair", "expression")


class FaceCritic(nn.Module):
    """Convolutions over the face, 64 x 64 pixels, and one linear head per attribute.

    Parameters
    ----------
    sizes : MiniSizes

    Attributes
    ----------
    learned_noise, asked_noise : float
        Largest deviation of the grain that it learns to see through, and of that under which it
        is asked: a critic of clean pictures can be pleased by patterns that nobody sees.
    weight : float
        Of what it says, in the U-Net's loss.
    """

    name = "face"
    learned_noise, asked_noise, weight = 0.25, 0.15, 0.1

    def __init__(self, sizes: MiniSizes):
        super().__init__()
        coarse = sizes.face_channels[-1]
        self.tower = nn.Sequential(
            *_to_an_eighth(sizes.face_channels, middle_blocks=2),
            nn.Conv2d(coarse, coarse, 3, stride=2, padding=1),
            nn.GroupNorm(8, coarse),
            nn.SiLU(),
        )
        self.squeeze = nn.Linear(coarse * (SIDE // 16) ** 2, 2 * coarse)
        self.heads = attribute_heads(2 * coarse)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """(B, 3, 128, 128) in [-1, 1] -> the scores of each attribute of a face, (B, V)."""
        faces = pictures[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]
        scores = scores_of(self.heads, F.silu(self.squeeze(self.tower(faces).flatten(1))))
        return {name: scores[name] for name in OF_THE_FACE}

    def loss(self, scores: dict[str, Tensor], seen: dict[str, Tensor]) -> Tensor:
        """The cross-entropy of its scores, in which the expression counts most; a scalar."""
        return person_loss(scores, seen)


class StyleCritic(nn.Module):
    """Convolutions over the whole picture, whose mean names the style: a brush works everywhere.

    Parameters and attributes are those of `FaceCritic`. It has to see finer grain, so it is asked
    under less.
    """

    name = "style"
    learned_noise, asked_noise, weight = 0.2, 0.1, 0.05

    def __init__(self, sizes: MiniSizes):
        super().__init__()
        coarse = sizes.style_channels[-1]
        self.tower = nn.Sequential(
            *_to_an_eighth(sizes.style_channels, middle_blocks=1),
            nn.GroupNorm(8, coarse),
            nn.SiLU(),
        )
        self.head = attribute_heads(coarse)["style"]

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """(B, 3, 128, 128) in [-1, 1] -> the scores of the styles, (B, V), under their name."""
        return {"style": self.head(self.tower(pictures).mean(dim=(2, 3)))}

    def loss(self, scores: dict[str, Tensor], seen: dict[str, Tensor]) -> Tensor:
        """The cross-entropy of its scores; a scalar."""
        return naming_loss(scores, seen)


def _to_an_eighth(channels: tuple[int, int, int], *, middle_blocks: int) -> list[nn.Module]:
    """How both begin: pictures (B, 3, H, W) -> (B, coarse, H/8, W/8)."""
    fine, middle, coarse = channels
    return [
        nn.Conv2d(3, fine, 4, stride=2, padding=1),
        Block(fine),
        nn.Conv2d(fine, middle, 3, stride=2, padding=1),
        *(Block(middle) for _ in range(middle_blocks)),
        nn.Conv2d(middle, coarse, 3, stride=2, padding=1),
        Block(coarse),
    ]


class EyesTask(nn.Module):
    """Name what paintings show, under grain of any strength up to the critic's `learned_noise`."""

    def __init__(self, critic: FaceCritic | StyleCritic):
        super().__init__()
        self.critic = critic

    def forward(self, pictures: Tensor, seen: dict[str, Tensor]) -> Tensor:
        return self.critic.loss(self.critic(grained(pictures, self.critic.learned_noise)), seen)


class PictureMarks:
    """What finished critics say of latents: a plain function, so nothing here is trained.

    Parameters
    ----------
    critics : sequence of FaceCritic or StyleCritic
    vae : AutoencoderTiny
        Frozen as the critics are, and in the same place.
    """

    def __init__(self, critics: Sequence[FaceCritic | StyleCritic], vae: nn.Module):
        self.critics, self.vae = critics, vae

    def __call__(self, latents: Tensor, stated: dict[str, Tensor]) -> Tensor:
        """Scaled latents (B, C, 16, 16) and labels (B,) -> the loss, a scalar."""
        pictures = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return sum(
            critic.weight * critic.loss(critic(grained(pictures, critic.asked_noise)), stated)
            for critic in self.critics
        )


def grained(x: Tensor, most: float) -> Tensor:
    """Each picture under noise of a deviation of its own, between 0 and `most`."""
    strength = most * torch.rand(len(x), 1, 1, 1, device=x.device)
    return x + strength * torch.randn_like(x)
