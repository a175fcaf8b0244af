"""The sizes of the mini Stable Diffusion: one full set, and one so small that tests train it.

The smoke size runs through exactly the same code. Nothing here is a choice of the library: every
number is an argument of a diffusers or transformers class.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_SIZE = 128
MAX_TOKENS = 77  # as in Stable Diffusion, so that lesson 06's advice on long prompts is the same

# The art styles that the mini learns. The painter's other six are fine texture all over: strokes,
# hatching, tesserae that no prompt foretells. They fit badly into the few numbers of a latent, and
# learning them costs a short training the faces.
MINI_STYLES = ("flat illustration", "watercolor", "pixel art", "pastel")
# Heads of one size that look at us: where eyes and mouth are is then the same in every portrait,
# which is what a training of hours instead of weeks can learn to paint sharply.
MINI_PORTRAITS = {
    "style": MINI_STYLES,
    "framing": ("bust",),
    "pose": ("frontal",),
    "quality": ("good", "masterful"),
}
# People of one description differ a third as much as elsewhere in the course. At 128 pixels an eye
# is 8 wide; when faces move by a few, the mean of all that fit a prompt, which is where painting
# begins, has no eyes, and finding their place for each person is what cost the most training.
MINI_VARIETY = 0.3


@dataclass(frozen=True)
class MiniSizes:
    """Widths and depths of the four networks.

    Attributes
    ----------
    vae_width : int
        Channels of the autoencoder, the same at every size.
    vae_encoder_blocks, vae_decoder_blocks : tuple of int
        Residual blocks at 1, 1/2, 1/4, 1/8 of the picture's size, and on the way back. The
        encoder has none: it computes principal components, which is linear.
    latent_channels : int
        Channels of the latent: 64, where Stable Diffusion 1 has four and newer models sixteen.
        Eyes and the rims of glasses at 128 pixels do not fit into four at 16 x 16, and the grain
        of chalk and dither not into 24.
    unet_channels, unet_heads : tuple of int
        Channels and attention heads of the U-Net at 16 x 16, 8 x 8 and 4 x 4. Only the two coarse
        levels look at single words.
    unet_pool_heads : int
        Heads of the attention that sums the text up in one vector, for all levels.
    unet_groups : int
        Groups of each norm. With one channel in each, the norm would erase what the timestep adds.
    text_width, text_layers, text_heads, text_inner : int
        The text encoder.
    vocabulary : int
        Tokens, of which 512 are single bytes: so any Unicode text can be written.
    tower_channels : tuple of int
        The image tower at 1/4, 1/8, 1/16 and 1/32 of the picture's size.
    critic_channels : tuple of int
        The critic at 16 x 16, 8 x 8 and 4 x 4 cells of the latent; the discriminator takes two.
    face_channels : tuple of int
        The critic of faces at 1/2, 1/4 and 1/8 of the face's size.
    style_channels : tuple of int
        The critic of styles at 1/2, 1/4 and 1/8 of the picture's size.
    embedding : int
        Width of the space that pictures and captions share.
    """

    vae_width: int = 72
    vae_encoder_blocks: tuple[int, ...] = (0, 0, 0, 0)
    vae_decoder_blocks: tuple[int, ...] = (3, 3, 3, 0)
    latent_channels: int = 64
    unet_channels: tuple[int, ...] = (96, 160, 192)
    unet_heads: tuple[int, ...] = (2, 4, 4)
    unet_pool_heads: int = 4
    unet_groups: int = 16
    text_width: int = 192
    text_layers: int = 4
    text_heads: int = 4
    text_inner: int = 512
    vocabulary: int = 2048
    tower_channels: tuple[int, ...] = (48, 80, 112, 128)
    critic_channels: tuple[int, int, int] = (64, 112, 128)
    face_channels: tuple[int, int, int] = (32, 64, 96)
    style_channels: tuple[int, int, int] = (32, 48, 64)
    embedding: int = 128


FULL = MiniSizes()
SMOKE = MiniSizes(
    vae_width=48,
    vae_encoder_blocks=(0, 0, 0, 1),
    vae_decoder_blocks=(3, 1, 1, 0),
    latent_channels=24,
    unet_channels=(16, 16, 16),
    unet_heads=(1, 1, 1),
    unet_pool_heads=1,
    unet_groups=4,
    text_width=16,
    text_layers=1,
    text_heads=1,
    text_inner=16,
    vocabulary=600,
    tower_channels=(8, 8, 8, 8),
    critic_channels=(8, 8, 8),
    face_channels=(8, 8, 8),
    style_channels=(8, 8, 8),
    embedding=16,
)
