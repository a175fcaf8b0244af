"""The judge: an image tower that names a portrait's attributes and matches it with captions.

It has seen painted portraits only, never one that the mini made, so it can mark the mini's work.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.mini.config import IMAGE_SIZE, MiniSizes
from course_lib.mini.data import signed_batches
from course_lib.portraits.attributes import VOCABULARY
from course_lib.weights import load_tensors, save_tensors


class Block(nn.Module):
    """A residual block: two 3 x 3 convolutions with group norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Judge(nn.Module):
    """Image tower, one linear head per attribute, and a projection into the captions' space.

    Parameters
    ----------
    sizes : MiniSizes

    Attributes
    ----------
    heads : ModuleDict
        Attribute name -> linear layer from features to the attribute's values.
    """

    def __init__(self, sizes: MiniSizes):
        super().__init__()
        widths = sizes.tower_channels
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=4), Block(widths[0])]
        for narrow, wide in zip(widths, widths[1:], strict=False):
            down = nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
            layers += [down, Block(wide), *([Block(wide)] if wide != widths[-1] else [])]
        self.tower = nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU())
        cells = (IMAGE_SIZE // 32) ** 2
        # Where a thing is tells what it is, so the 4 x 4 grid is flattened and not averaged
        self.squeeze = nn.Linear(widths[-1] * cells, 2 * widths[-1])
        self.heads = attribute_heads(2 * widths[-1])
        self.project_image = nn.Linear(2 * widths[-1], sizes.embedding, bias=False)
        self.project_text = nn.Linear(sizes.text_width, sizes.embedding, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [-1, 1] -> (B, F): what KID and the nearest-neighbour search use."""
        return F.silu(self.squeeze(self.tower(pixels).flatten(1)))

    @torch.no_grad()
    def all_features(self, pixels: Tensor, *, batch_size: int = 64) -> Tensor:
        """(N, 3, 128, 128) uint8 -> (N, F) on the CPU, some at a time."""
        batches = signed_batches(pixels, batch_size, self.log_scale.device)
        return torch.cat([self.features(x).cpu() for x in batches])

    def image_embedding(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, E), of length 1."""
        return F.normalize(self.project_image(features), dim=-1)

    def text_embedding(self, pooled: Tensor) -> Tensor:
        """(B, W), the text encoder's ``pooler_output`` -> (B, E), of length 1."""
        return F.normalize(self.project_text(pooled), dim=-1)

    def similarity(self, features: Tensor, pooled: Tensor) -> Tensor:
        """(B, B') scaled cosines of every picture with every caption."""
        cosines = self.image_embedding(features) @ self.text_embedding(pooled).T
        return cosines * self.log_scale.clamp(max=4.6).exp()

    @torch.no_grad()
    def name_attributes(self, pixels: Tensor) -> list[dict[str, str]]:
        """For each picture, the most probable value of every attribute."""
        features = self.features(pixels)
        best = {name: head(features).argmax(dim=1).tolist() for name, head in self.heads.items()}
        return [
            {name: VOCABULARY[name][numbers[i]] for name, numbers in best.items()}
            for i in range(len(pixels))
        ]

    def save(self, path: str | Path) -> Path:
        """Write the weights as float16 safetensors with their checksum."""
        half = {name: tensor.half() for name, tensor in self.state_dict().items()}
        return save_tensors(path, half, {"vocabulary": {k: list(v) for k, v in VOCABULARY.items()}})

    @classmethod
    def load(cls, path: str | Path, sizes: MiniSizes) -> Judge:
        """Read a judge that `save` wrote; raises ValueError if it names other attributes."""
        tensors, info = load_tensors(path)
        if info.get("vocabulary") != {k: list(v) for k, v in VOCABULARY.items()}:
            raise ValueError(
                f"The judge in {path} was trained on another vocabulary of attributes. Train it "
                "again:  python -m course_lib.mini.train --stages clip"
            )
        judge = cls(sizes)
        judge.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return judge.eval()


def attribute_heads(width: int) -> nn.ModuleDict:
    """For each attribute, a linear layer from features to the scores of its values."""
    return nn.ModuleDict({k: nn.Linear(width, len(v)) for k, v in VOCABULARY.items()})


def scores_of(heads: nn.ModuleDict, features: Tensor) -> dict[str, Tensor]:
    """What each head makes of the features."""
    return {name: head(features) for name, head in heads.items()}


def words_heads(width: int) -> nn.ModuleDict:
    """What a caption says, attribute by attribute, "not mentioned" included; for training only."""
    return nn.ModuleDict({k: nn.Linear(width, len(v) + 1) for k, v in VOCABULARY.items()})
