"""Sizes of the mini Stable Diffusion's networks, and the portraits that it is trained on.

Every number of `MiniConfig` is an argument of a diffusers or transformers class. `FULL` is the
shipped size; `SMOKE` runs the same code in seconds, for tests.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from course_lib.pipelines.registry import SHIPPED
from course_lib.portraits.attributes import STYLES, check_only

IMAGE_SIZE = 128
MAX_TOKENS = 77  # as in Stable Diffusion, so lesson 06's advice on long prompts applies here too
TRAINING_DATA_FILE = "training_data.json"
ALL_STYLES = STYLES  # what training takes by default


@dataclass(frozen=True)
class TrainingData:
    """The distribution of portraits that a model is trained on.

    Attributes
    ----------
    only : dict
        Attribute -> the values that occur, as `course_lib.PortraitDataset` takes it.
    variety : float
        From 0 to 1: how much people of equal attributes differ in build, place and shade.
    size : int
        Width and height in pixels.
    """

    only: dict[str, tuple[str, ...]]
    variety: float = 0.3
    size: int = IMAGE_SIZE

    def write(self, folder: Path) -> Path:
        """Write ``training_data.json`` into a model folder."""
        path = folder / TRAINING_DATA_FILE
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: Path) -> TrainingData:
        """Read what `write` wrote.

        Raises
        ------
        FileNotFoundError
            If the folder has no such file.
        ValueError
            If the file names attributes or values that the painter does not know.
        """
        path = Path(folder) / TRAINING_DATA_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing. Every model folder that course_lib.mini.train writes has it; "
                "copy the whole folder again."
            )
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            return cls(check_only(given["only"]), float(given["variety"]), int(given["size"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} does not describe training data: {error}") from error


def training_data(styles: tuple[str, ...] = ALL_STYLES, variety: float = 0.3) -> TrainingData:
    """Frontal busts in some art styles, painted well or masterfully.

    With heads of one size that face the viewer, eyes and mouth lie in nearly the same place in
    every portrait. An eye is 8 pixels wide here. With the painter's full variety, faces that fit
    one prompt lie some pixels apart and their mean, where sampling starts, has no eyes; a variety
    of 0.3 keeps them within an eye's width, so a short training learns to paint them sharply.
    """
    only = {
        "style": tuple(styles),
        "framing": ("bust",),
        "pose": ("frontal",),
        "quality": ("good", "masterful"),
    }
    return TrainingData(check_only(only), variety)


# What the *shipped* model was trained on. A checkout without the weights has the default.
_HAS_WEIGHTS = (SHIPPED / "mini" / TRAINING_DATA_FILE).is_file()
MINI_DATA = TrainingData.read(SHIPPED / "mini") if _HAS_WEIGHTS else training_data()
MINI_PORTRAITS = MINI_DATA.only
MINI_STYLES = MINI_DATA.only["style"]
MINI_VARIETY = MINI_DATA.variety


@dataclass(frozen=True)
class MiniConfig:
    """Widths and depths of the networks.

    Attributes
    ----------
    vae_width : int
        Channels of the autoencoder, the same at every resolution.
    vae_encoder_blocks, vae_decoder_blocks : tuple of int
        Residual blocks at 1, 1/2, 1/4 and 1/8 of the image size (encoder), and from 1/8 back to 1
        (decoder). The encoder has none: it computes principal components, which is linear.
    latent_channels : int
        64, where Stable Diffusion 1 has 4 and newer models 16. Eyes and the rims of glasses at 128
        pixels do not fit into 4 numbers a cell of 16 x 16, and chalk grain and dither not into 24.
    unet_channels, unet_heads : tuple of int
        Channels and attention heads of the U-Net at 16 x 16, 8 x 8 and 4 x 4.
    unet_pool_heads : int
        Heads of the attention that pools the prompt into one vector for all resolutions.
    unet_groups : int
        Groups of each group norm. One channel a group would erase what the timestep adds.
    text_width, text_layers, text_heads, text_inner : int
        The text encoder.
    vocabulary : int
        Tokens, of which 512 are single bytes, so any Unicode text can be encoded.
    classifier_channels : tuple of int
        The attribute classifier at 1/4, 1/8, 1/16 and 1/32 of the image size.
    embedding : int
        Width of the space that images and captions share.
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
    classifier_channels: tuple[int, ...] = (48, 80, 112, 128)
    embedding: int = 128


FULL = MiniConfig()
SMOKE = MiniConfig(
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
    classifier_channels=(8, 8, 8, 8),
    embedding=16,
)
