"""Initialisation of the autoencoder's encoder: principal components of 8 x 8 patches.

From random weights, most of a short training goes into learning that a patch has a mean colour and
a gradient of light. The best linear code is known in closed form, so the encoder computes it
exactly and needs no training: what the U-Net has learned about latents stays valid while the
decoder is trained further.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.mini.data import signed_batches
from course_lib.tensors import as_float64

FACTOR = 8  # a latent cell is a patch of 8 x 8 pixels
LARGEST = 0.85  # deviation of the first component: the decoder's soft clip at 3 is rarely reached
SMALLEST = 0.055  # and of the last ones, fine grain, which would stay below the noise to the end
# Deviation of the largest channel of scaled latents. At the last timestep the signal's factor
# sqrt(alphas_cumprod) is 0.016, so 0.06 of it is left: what the mean of 16 x 16 cells of standard
# normal noise, 1 / 16, has by chance. So pure noise is where sampling may start
SCALED_LARGEST = 3.87


def principal_components(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components of 8 x 8 patches, largest variance first.

    Parameters
    ----------
    pixels : Tensor, shape (N, 3, H, W), uint8

    Returns
    -------
    mean : Tensor, shape (192,)
        Of patches with values in [0, 1], flattened as (channel, row, column).
    variances : Tensor, shape (192,)
    components : Tensor, shape (192, 192)
        One a row, of length 1.
    """
    x = as_float64(pixels) / 255
    # (N, 3, H, W) -> (N, 192, H/8, W/8) -> one patch a row, (N H/8 W/8, 192)
    patches = F.pixel_unshuffle(x, FACTOR).permute(0, 2, 3, 1).reshape(-1, 3 * FACTOR**2)
    variances, vectors = torch.linalg.eigh(torch.cov(patches.T))  # ascending; one a column
    return patches.mean(dim=0), variances.flip(0), vectors.flip(1).T


@torch.no_grad()
def init_encoder(vae: nn.Module, pixels: Tensor) -> None:
    """Set an `AutoencoderTiny` so that its latents are the leading principal components.

    The larger components, some twenty, share one scale, so an error of a latent counts as much as
    it does in pixels. Were all scaled to one deviation, nearly half of the U-Net's loss would be
    fine texture that no prompt predicts. The smaller ones are enlarged to `SMALLEST`.

    Parameters
    ----------
    vae : AutoencoderTiny
        With f = 8, at least 48 channels and no block at the full resolution. Changed in place.
    pixels : Tensor, shape (N, 3, H, W), uint8
        Some hundred images.

    Raises
    ------
    ValueError
        If the encoder is too narrow for the pixels of a 4 x 4 patch, 48 numbers.
    """
    layers, latent = vae.encoder.layers, vae.config.latent_channels
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    width = convolutions[0].out_channels
    if width < 48 or latent + 1 > width:
        raise ValueError(
            f"For {latent} principal components the encoder needs {max(48, latent + 1)} channels, "
            f"not {width}."
        )
    zero_residual_branches(vae.encoder)
    first, *halvings, last = convolutions
    nn.init.zeros_(first.weight)
    nn.init.zeros_(first.bias)
    first.weight[range(3), range(3), 1, 1] = 1.0  # red, green and blue pass unchanged
    # Each halving but the last moves 2 x 2 pixels into channels, as pixel_unshuffle numbers them:
    # (channel c, row, column) -> 4 c + 2 row + column. 3 channels become 12, then 48
    for level, halving in enumerate(halvings[:-1]):
        nn.init.zeros_(halving.weight)
        for c in range(3 * 4**level):
            for corner in range(4):
                halving.weight[4 * c + corner, c, 1 + corner // 2, 1 + corner % 2] = 1.0
    _project(halvings[-1], last, latent, *principal_components(pixels))


@torch.no_grad()
def set_scaling_factor(vae: nn.Module, pixels: Tensor) -> None:
    """Set ``vae.config.scaling_factor`` so that the largest channel has `SCALED_LARGEST`.

    `pixels`, (N, 3, H, W) uint8, are the images that deviations are measured on.
    """
    batches = signed_batches(pixels, 64, vae.device)
    latents = torch.cat([vae.encode(x).latents for x in batches])
    largest = latents.std(dim=(0, 2, 3)).max()
    vae.register_to_config(scaling_factor=round(SCALED_LARGEST / largest.item(), 4))


def zero_residual_branches(network: nn.Module) -> None:
    """Let the residual blocks add nothing at first: training begins with the direct path."""
    for block in [m for m in network.modules() if type(m).__name__ == "AutoencoderTinyBlock"]:
        nn.init.zeros_(block.conv[-1].weight)
        nn.init.zeros_(block.conv[-1].bias)


def _project(
    halving: nn.Conv2d, last: nn.Conv2d, latent: int, mean: Tensor, variances: Tensor, axes: Tensor
) -> None:
    """The last halving computes the components, the last layer centres and scales them.

    Where a block stands between the two, its ReLU lets no negative number through. So each
    component is raised by a multiple of the patch's sum, which makes all its weights positive, and
    the sum, a channel of its own, is subtracted again.
    """
    axes, deviations = axes[:latent], variances[:latent].sqrt()
    lift = (-axes.min(dim=1).values).clamp(min=0)
    gain = (LARGEST / deviations[0]).maximum(SMALLEST / deviations)
    # (latent + 1, 192): the raised components, and the sum
    weights = torch.cat([axes + lift[:, None], torch.ones_like(axes[:1])]).to(halving.weight)
    # Which of the 192 numbers of a patch is channel c of its 4 x 4 sub-patch `corner`: (48, 4)
    numbers = torch.arange(3 * FACTOR**2, dtype=torch.float32).reshape(1, 3, FACTOR, FACTOR)
    order = F.pixel_unshuffle(F.pixel_unshuffle(numbers, 2), 2).reshape(48, 4).long()
    nn.init.zeros_(halving.weight)
    for corner in range(4):
        columns = weights[:, order[:, corner]]  # (latent + 1, 48)
        halving.weight[: latent + 1, :48, 1 + corner // 2, 1 + corner % 2] = columns
    nn.init.zeros_(last.weight)
    last.weight[range(latent), range(latent), 1, 1] = gain.to(last.weight)
    last.weight[:, latent, 1, 1] = -(gain * lift).to(last.weight)
    last.bias.copy_(-(axes @ mean) * gain)
