"""What each stage minimises: modules that hold the networks in training and return a scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.losses import min_snr_weight
from course_lib.mini.attribute_classifier import AttributeClassifier, attribute_heads, head_logits
from course_lib.mini.data import IGNORE_INDEX, Labels
from course_lib.process import q_sample
from course_lib.schedules import NoiseSchedule

LATENT_NOISE = 0.01  # standard deviation, of latents whose largest component has 0.85
# Min-SNR (arXiv:2303.09556) caps at 5. A sampler's last steps, t = 50 to 100, have SNRs of 7 to 16,
# and they decide the texture of brush, chalk and dither
SNR_CAP = 20.0
# The contrastive loss starts at log(batch), some 6, and cross-entropies at 1.3 on average, while
# it is the attributes that prompts and evaluation are about
ATTRIBUTE_WEIGHT = 10.0


class ReconstructionLoss(nn.Module):
    """The autoencoder's decoder on latents of a finished encoder.

    A little noise on the latents makes neighbouring latents decode to neighbouring images, so that
    small errors of the U-Net stay small in the image.
    """

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Latents (B, C, H/8, W/8) and the images they encode, (B, 3, H, W) in [-1, 1]."""
        return reconstruction_loss(self.decoder(z + LATENT_NOISE * torch.randn_like(z)), x)


def reconstruction_loss(x_hat: Tensor, x: Tensor) -> Tensor:
    """Absolute and squared error of pixels, and absolute error of their differences.

    Without the differences of neighbours, thin lines such as the rims of glasses cost little and
    are smoothed away.
    """
    error = x_hat.float() - x
    edges = sum(error.diff(dim=axis).abs().mean() for axis in (-1, -2))
    # The factor 4 makes the squared error the larger part where colours are off by more than 1/4
    return error.abs().mean() + 4 * error.square().mean() + edges


class ClassifierLoss(nn.Module):
    """Text encoder and attribute classifier together, as in CLIP (arXiv:2103.00020).

    Captions leave things out: "a woman" fits half of all portraits, so the contrastive loss alone
    teaches slowly. Predicting the attributes, which are known exactly, teaches both encoders what
    matters.
    """

    def __init__(self, text_encoder: nn.Module, classifier: AttributeClassifier):
        super().__init__()
        self.text_encoder, self.classifier = text_encoder, classifier
        self.text_heads = attribute_heads(text_encoder.config.hidden_size, unmentioned=True)

    def forward(self, images: Tensor, ids: Tensor, labels: Labels, mentioned: Labels) -> Tensor:
        """Images (B, 3, 128, 128), token ids (B, 77), what is visible and what captions mention."""
        features = self.classifier.features(images)
        pooled = self.text_encoder(ids).pooler_output
        attributes = attribute_loss(head_logits(self.classifier.heads, features), labels)
        attributes = attributes + attribute_loss(head_logits(self.text_heads, pooled), mentioned)
        contrast = contrastive_loss(self.classifier.similarity(features, pooled))
        return contrast + ATTRIBUTE_WEIGHT * attributes


class TextAttributeLoss(nn.Module):
    """Text attribute pretraining: the text encoder and the U-Net's pooled prompt, before the U-Net.

    Linear heads must read everything that a caption mentions from the encoder's pooled output and
    from the vector that the U-Net adds to its timestep embedding. Left to the denoising loss, the
    pooled prompt encodes a hat only after everything that covers more pixels; pretrained, it
    conditions the U-Net on the hat from the first step.

    Parameters
    ----------
    text_encoder : Module
    pooling : Module
        The U-Net's ``add_embedding``.
    similarity : callable
        `AttributeClassifier.similarity` of a finished classifier, which is not trained here.
    """

    def __init__(self, text_encoder: nn.Module, pooling: nn.Module, similarity: Callable):
        super().__init__()
        self.text_encoder, self.pooling, self.similarity = text_encoder, pooling, similarity
        self.text_heads = attribute_heads(text_encoder.config.hidden_size, unmentioned=True)
        width = pooling.proj.out_features
        self.pooling_heads = attribute_heads(width, unmentioned=True)

    def forward(self, ids: Tensor, features: Tensor, mentioned: Labels) -> Tensor:
        """Token ids (B, 77), the classifier's features (B, F), and what captions mention."""
        text = self.text_encoder(ids)
        pooled = self.pooling(text.last_hidden_state)
        # Normalised, so that the direction must carry the information: the scale starts small
        pooled = F.layer_norm(pooled, pooled.shape[-1:])
        attributes = attribute_loss(head_logits(self.text_heads, text.pooler_output), mentioned)
        attributes = attributes + attribute_loss(head_logits(self.pooling_heads, pooled), mentioned)
        contrast = contrastive_loss(self.similarity(features, text.pooler_output))
        return contrast + ATTRIBUTE_WEIGHT * attributes


class DenoisingLoss(nn.Module):
    r"""The U-Net predicts the clean latent; the error is weighed as if it predicted v.

    .. math:: (\min(\mathrm{SNR}_t, cap) + 1)\; \lVert \hat x_0(x_t, t, c) - x_0 \rVert^2

    An error of v is :math:`\mathrm{SNR} + 1 = 1 / (1 - \bar\alpha_t)` times one of x_0
    (arXiv:2202.00512); the cap keeps nearly clean latents from drowning the rest. Predicting x_0
    instead of v spares the network from passing 64 channels of noise through.

    Parameters
    ----------
    unet : Module
    schedule : NoiseSchedule
    cap : float
        ``math.inf`` for the plain v weight.
    """

    def __init__(self, unet: nn.Module, schedule: NoiseSchedule, *, cap: float = SNR_CAP):
        super().__init__()
        self.unet, self.schedule, self.cap = unet, schedule, cap

    def forward(self, x_0: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Clean latents (B, C, 16, 16), timesteps (B,), hidden states of captions (B, 77, W)."""
        x_0 = x_0.float()
        # Drawn here, on the device: on the CPU it would take longer than a GPU's whole step
        x_t = q_sample(x_0, t, self.schedule, torch.randn_like(x_0))
        x_0_hat = self.unet(x_t, t, text).sample.float()
        error = (x_0_hat - x_0).square().mean(dim=(1, 2, 3))
        snr = self.schedule.snr[t.cpu()].to(error)
        return (min_snr_weight(snr, cap=self.cap, offset=1.0) * error).mean()


def contrastive_loss(logits: Tensor) -> Tensor:
    """Each image finds its caption and each caption its image, (B, B) scaled cosines."""
    pairs = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def attribute_loss(logits: dict[str, Tensor], labels: Labels) -> Tensor:
    """Mean cross-entropy over the attributes; rows labelled `IGNORE_INDEX` do not count."""
    losses = []
    for name, values in logits.items():
        total = F.cross_entropy(values, labels[name], ignore_index=IGNORE_INDEX, reduction="sum")
        # Not reduction="mean": with nothing to count that is 0 / 0
        losses.append(total / (labels[name] != IGNORE_INDEX).sum().clamp(min=1))
    return torch.stack(losses).mean()
