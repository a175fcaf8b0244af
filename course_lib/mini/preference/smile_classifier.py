"""A small classifier of smiles that looks at the mouth alone: the second measure of lesson 10.

It shares nothing with `course_lib.mini.attribute_classifier`: other weights, other layers, another
part of the picture, other training portraits. So it can tell whether a reward that comes from the
attribute classifier went up because of smiles.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.device import make_generator
from course_lib.mini.data import mini_series, random_shift
from course_lib.mini.preference.rewards import SMILES
from course_lib.weights import load_tensors, save_tensors

SEED = 3000  # a series of painted people of its own
_TOP, _LEFT, _SIZE = 54, 38, 52  # of the part around the mouth, in a picture of 128 pixels
_SHIFT = 4  # pixels by which training pictures are moved


class SmileClassifier(nn.Module):
    """Three convolutions and a linear layer on the part of a portrait around the mouth."""

    def __init__(self, width: int = 16):
        super().__init__()
        layers: list[nn.Module] = []
        for i, kernel in enumerate((5, 3, 3)):
            channels = (3 if i == 0 else width * 2 ** (i - 1), width * 2**i)
            layers += [nn.Conv2d(*channels, kernel, stride=2, padding=kernel // 2), nn.SiLU()]
            layers += [nn.GroupNorm(4, channels[1])]
        cells = (-(-_SIZE // 8)) ** 2  # halved three times, rounded up
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * cells, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [-1, 1] -> log-odds that the person smiles or laughs, (B,)."""
        mouth = images[..., _TOP : _TOP + _SIZE, _LEFT : _LEFT + _SIZE]
        return self.layers(mouth).squeeze(1)

    @torch.no_grad()
    def probability(self, images: Tensor) -> Tensor:
        """The probability of a smile or a laugh, (B,)."""
        return torch.sigmoid(self(images))

    def save(self, path: str | Path) -> Path:
        """Write the weights as float16 safetensors with their checksum."""
        return save_tensors(path, {k: v.half() for k, v in self.state_dict().items()}, {})

    @classmethod
    def load(cls, path: str | Path) -> SmileClassifier:
        """Read what `save` wrote."""
        tensors, _ = load_tensors(path)
        classifier = cls(len(tensors["layers.0.weight"]))
        classifier.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return classifier.eval()


def painted_smiles(count: int, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Painted portraits, (count, 3, 128, 128) uint8, and whether they smile or laugh, (count,)."""
    series = mini_series(count, seed=seed)
    pixels = torch.from_numpy(series.pixels()).permute(0, 3, 1, 2).contiguous()  # channels first
    return pixels, torch.tensor([series.attributes(i).expression in SMILES for i in range(count)])


def fit(pixels: Tensor, smiles: Tensor, *, steps: int = 600, seed: int = 0) -> SmileClassifier:
    """Train on painted portraits that are moved by a few pixels, and darker or brighter."""
    generator = make_generator(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = SmileClassifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(pixels), (64,), generator=generator)
        images = random_shift(pixels[rows], _SHIFT, generator)
        images = images * (0.8 + 0.4 * torch.rand(64, 1, 1, 1, generator=generator))
        images = images + 0.2 * torch.randn(64, 1, 1, 1, generator=generator)
        loss = F.binary_cross_entropy_with_logits(classifier(images), smiles[rows].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()
