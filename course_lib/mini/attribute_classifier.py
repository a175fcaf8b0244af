"""The attribute classifier: predicts a portrait's attributes, and embeds it beside captions.

A convolutional image encoder with one linear head per attribute, trained together with the text
encoder as in CLIP (arXiv:2103.00020). It is trained on real portraits (those of the painter) only,
never on generated ones, so it can evaluate the U-Net.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.mini.config import FULL, IMAGE_SIZE, SMOKE, MiniConfig
from course_lib.mini.data import signed_batches
from course_lib.portraits.attributes import VOCABULARY
from course_lib.weights import load_tensors, save_tensors

CLASSIFIER_FILE = "attribute_classifier/model.safetensors"  # within a model folder
_MAX_LOG_SCALE = 4.6  # CLIP clips the scale of its cosines at 100 = exp(4.6)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with group norm, added to their input."""

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


class AttributeClassifier(nn.Module):
    """Image encoder, one linear head per attribute, and projections into a space with captions.

    Parameters
    ----------
    config : MiniConfig

    Attributes
    ----------
    heads : ModuleDict
        Attribute name -> linear layer from features to logits of the attribute's values.
    """

    def __init__(self, config: MiniConfig = FULL):
        super().__init__()
        widths = config.classifier_channels
        # 128 -> 32 pixels at once, then halved three times: the last grid is 4 x 4
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=4), ResidualBlock(widths[0])]
        for i, wide in enumerate(widths[1:], start=1):
            layers += [nn.Conv2d(widths[i - 1], wide, 3, stride=2, padding=1), ResidualBlock(wide)]
            if wide != widths[-1]:
                layers.append(ResidualBlock(wide))
        self.tower = nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU())
        cells = (IMAGE_SIZE // 32) ** 2
        # Flattened, not averaged: a colour above the face is a hat, below it clothes
        self.squeeze = nn.Linear(widths[-1] * cells, 2 * widths[-1])
        self.heads = attribute_heads(2 * widths[-1])
        self.project_image = nn.Linear(2 * widths[-1], config.embedding, bias=False)
        self.project_text = nn.Linear(config.text_width, config.embedding, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [-1, 1] -> (B, F), the layer that kernel distances are taken in."""
        return F.silu(self.squeeze(self.tower(images).flatten(1)))

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Images as for `features` -> maps of the tower at 32, 16, 8 and 4 pixels, (B, C, h, h)."""
        maps: list[Tensor] = []
        for layer in self.tower:
            images = layer(images)
            if maps and maps[-1].shape[-1] == images.shape[-1]:
                maps[-1] = images  # of each resolution the last map
            else:
                maps.append(images)
        return maps

    @torch.no_grad()
    def all_features(self, pixels: Tensor, *, batch_size: int = 64) -> Tensor:
        """(N, 3, 128, 128) uint8 -> (N, F) on the CPU, `batch_size` at a time."""
        batches = signed_batches(pixels, batch_size, self.log_scale.device)
        return torch.cat([self.features(x).cpu() for x in batches])

    def image_embedding(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, E), of length 1."""
        return F.normalize(self.project_image(features), dim=-1)

    def text_embedding(self, pooled: Tensor) -> Tensor:
        """(B, W), the text encoder's ``pooler_output`` -> (B, E), of length 1."""
        return F.normalize(self.project_text(pooled), dim=-1)

    def similarity(self, features: Tensor, pooled: Tensor) -> Tensor:
        """(B, B') scaled cosines of every image with every caption."""
        cosines = self.image_embedding(features) @ self.text_embedding(pooled).T
        return cosines * self.log_scale.clamp(max=_MAX_LOG_SCALE).exp()

    @torch.no_grad()
    def predict_attributes(self, images: Tensor) -> list[dict[str, str]]:
        """The most probable value of each attribute, for images (B, 3, 128, 128) in [-1, 1]."""
        logits = head_logits(self.heads, self.features(images))
        best = {name: values.argmax(dim=1).tolist() for name, values in logits.items()}
        return [
            {name: VOCABULARY[name][indices[i]] for name, indices in best.items()}
            for i in range(len(images))
        ]

    def save(self, path: str | Path) -> Path:
        """Write the weights as float16 safetensors with their checksum."""
        half = {name: tensor.half() for name, tensor in self.state_dict().items()}
        return save_tensors(path, half, {"vocabulary": {k: list(v) for k, v in VOCABULARY.items()}})

    @classmethod
    def load(cls, path: str | Path, config: MiniConfig | None = None) -> AttributeClassifier:
        """Read a classifier that `save` wrote, of the full or the smoke size.

        Parameters
        ----------
        path : path
            The file, or a model folder that holds ``attribute_classifier/model.safetensors``.
        config : MiniConfig, optional
            Other sizes.

        Raises
        ------
        ValueError
            If its vocabulary of attributes or its sizes differ.
        """
        path = Path(path)
        path = path / CLASSIFIER_FILE if path.is_dir() else path
        tensors, info = load_tensors(path)
        if info.get("vocabulary") != {k: list(v) for k, v in VOCABULARY.items()}:
            raise ValueError(
                f"The attribute classifier in {path} was trained on another vocabulary of "
                "attributes. Train it again:  python -m course_lib.mini.train --stages clip"
            )
        if config is None:
            smoke = len(tensors.get("tower.0.weight", ())) == SMOKE.classifier_channels[0]
            config = SMOKE if smoke else FULL
        classifier = cls(config)
        try:
            classifier.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except RuntimeError as error:
            raise ValueError(
                f"{path} does not hold an attribute classifier of these sizes: {error}"
            ) from error
        return classifier.eval()


def attribute_heads(width: int, *, unmentioned: bool = False) -> nn.ModuleDict:
    """For each attribute, a linear layer from `width` features to the logits of its values.

    With `unmentioned` there is one class more, for captions that do not mention the attribute.
    """
    extra = int(unmentioned)
    return nn.ModuleDict({k: nn.Linear(width, len(v) + extra) for k, v in VOCABULARY.items()})


def head_logits(heads: nn.ModuleDict, features: Tensor) -> dict[str, Tensor]:
    """Attribute -> logits, (B, values)."""
    return {name: head(features) for name, head in heads.items()}
