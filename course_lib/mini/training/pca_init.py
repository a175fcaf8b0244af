"""A head start for the autoencoder: its encoder begins as principal components of 8 x 8 patches.

From random weights, most of a short training goes into learning that a patch has a mean colour and
a direction of light. That much is known in closed form: the components of largest variance. The
encoder is set to compute them exactly; its residual branches start at zero and add the rest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 8
LARGEST = 0.85  # deviation of the first component: the decoder's soft limit at 3 is rarely felt
SMALLEST = 0.055  # and of the last: smaller ones, fine grain, would drown in the noise to the end


def principal_components(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (192,), variances (192,) and components (192, 192), largest first, of 8 x 8 patches.

    `pixels` is uint8 (N, 3, H, W); a patch is (channel, row, column), values in [0, 1].
    """
    x = pixels.double() / 255
    patches = F.pixel_unshuffle(x, FACTOR).permute(0, 2, 3, 1).reshape(-1, 3 * FACTOR**2)
    variances, vectors = torch.linalg.eigh(torch.cov(patches.T))
    return patches.mean(dim=0), variances.flip(0), vectors.flip(1).T


@torch.no_grad()
def start_from_components(vae: nn.Module, pixels: Tensor) -> None:
    """Set an `AutoencoderTiny` so that its latents are the leading principal components.

    The larger ones, some twenty, have one scale, so an error of a latent counts as much as it does
    among the pixels, and the denoiser cares for the layout first. With components scaled to more
    equal deviations, nearly half of its loss would be fine texture that no prompt foretells. The
    smaller ones are enlarged to a deviation of `SMALLEST`.

    Parameters
    ----------
    vae : AutoencoderTiny
        With f = 8, at least 48 channels and no block at the full size. Changed in place.
    pixels : Tensor, shape (N, 3, H, W), uint8
        Some hundred pictures.

    Raises
    ------
    ValueError
        If the autoencoder is too narrow to hold the pixels of a 4 x 4 patch, 48 numbers.
    """
    layers, latent = vae.encoder.layers, vae.config.latent_channels
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    width = convolutions[0].out_channels
    if width < 48 or latent + 1 > width:
        raise ValueError(
            f"To start from {latent} components, the encoder needs {max(48, latent + 1)} channels, "
            f"not {width}."
        )
    quiet_blocks(vae.encoder)
    first, *halvings, last = convolutions
    nn.init.zeros_(first.weight)
    nn.init.zeros_(first.bias)
    first.weight[range(3), range(3), 1, 1] = 1.0  # red, green and blue pass
    for level, halving in enumerate(halvings[:-1]):
        nn.init.zeros_(halving.weight)
        channels = 3 * 4**level
        for c in range(channels):
            for corner in range(4):  # (c, row, column) -> 4 c + 2 row + column, as pixel_unshuffle
                halving.weight[4 * c + corner, c, 1 + corner // 2, 1 + corner % 2] = 1.0
    _project(halvings[-1], last, latent, *principal_components(pixels))


def quiet_blocks(network: nn.Module) -> None:
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
    the sum, a channel of its own, is taken off again.
    """
    axes, deviations = axes[:latent], variances[:latent].sqrt()
    lift = (-axes.min(dim=1).values).clamp(min=0)
    gain = (LARGEST / deviations[0]).maximum(SMALLEST / deviations)
    weights = torch.cat([axes + lift[:, None], torch.ones_like(axes[:1])]).to(halving.weight)
    # Channel of a 4 x 4 patch after two halvings, and the place of that patch in the 8 x 8 one
    order = _order_of_pixels()
    nn.init.zeros_(halving.weight)
    for channel in range(48):
        for corner in range(4):
            column = weights[:, order[channel][corner]]
            halving.weight[: latent + 1, channel, 1 + corner // 2, 1 + corner % 2] = column
    nn.init.zeros_(last.weight)
    last.weight[range(latent), range(latent), 1, 1] = gain.to(last.weight)
    last.weight[:, latent, 1, 1] = -(gain * lift).to(last.weight)
    last.bias.copy_(-(axes @ mean) * gain)


def _order_of_pixels() -> list[list[int]]:
    """Where (channel after two halvings, corner of the third) lies in the patch of 192 numbers."""
    numbers = torch.arange(3 * FACTOR**2, dtype=torch.float32).reshape(1, 3, FACTOR, FACTOR)
    quarter = F.pixel_unshuffle(F.pixel_unshuffle(numbers, 2), 2)  # (1, 48, 2, 2)
    return quarter.reshape(48, 4).long().tolist()
