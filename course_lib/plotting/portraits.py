"""Pictures of portraits: sheets as JPEG, and attention laid over a face."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.plotting.images import film_strip
from course_lib.plotting.pixels import as_frames
from course_lib.plotting.style import JPEG_QUALITY, CourseFigure, encode


class Photo:
    """A picture that a notebook shows as JPEG.

    Attributes
    ----------
    jpeg : bytes
        The file.
    alt : str
        Text alternative.
    """

    def __init__(self, jpeg: bytes, alt: str) -> None:
        self.jpeg, self.alt = jpeg, alt

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, str], dict[str, dict]]:
        data = {"image/jpeg": base64.b64encode(self.jpeg).decode("ascii"), "text/plain": repr(self)}
        return data, {"image/jpeg": {"alt": self.alt}}

    def __repr__(self) -> str:
        return f"<Photo: {self.alt}>"


def photo(picture: Any, *, alt: str | None = None, quality: int = JPEG_QUALITY) -> Photo:
    """Show a figure or a PIL image as JPEG: painted pictures take a third of the room of PNG.

    Parameters
    ----------
    picture : Figure of this package, or PIL.Image.Image
    alt : str, optional
        Text alternative; default: the figure's.
    quality : int
        JPEG quality from 1 to 95.

    Returns
    -------
    Photo
        Leave it as the last line of a cell.
    """
    from PIL import Image

    if not 1 <= quality <= 95:
        raise ValueError(f"quality must lie in 1..95, not {quality}.")
    if isinstance(picture, CourseFigure):
        alt = alt or picture.alt
        picture = Image.open(io.BytesIO(picture.png()))
    elif not isinstance(picture, Image.Image):
        raise TypeError(
            "photo shows a figure of course_lib.plotting or a PIL image, not "
            f"{type(picture).__name__}; for tensors use photo(image_grid(images))."
        )
    alt = alt or f"picture of {picture.width} x {picture.height} pixels"
    return Photo(encode(picture, "JPEG", quality=quality), alt)


def attention_strip(
    frames: Tensor,
    maps: Mapping[str, Tensor],
    labels: Sequence[str] | None = None,
    *,
    scale: float = 1.0,
    max_frames: int = 8,
    alt: str | None = None,
) -> CourseFigure:
    """Show where each word is looked for, over time: a row of frames, and a row for each word.

    Parameters
    ----------
    frames : Tensor, shape (N, 3, H, W), values in [-1, 1]
        The picture at N moments.
    maps : dict of str to Tensor (N, h, w)
        Word to its shares of attention. Each word has its own scale, from its lowest to its
        highest share over all moments, so rows cannot be compared in strength.
    labels : list of str, optional
        One for each moment.
    scale, max_frames, alt
        As for `film_strip`.

    Returns
    -------
    matplotlib.figure.Figure
        Bright yellow is much attention; the picture shows through in grey.
    """
    frames = as_frames(frames, name="frames")
    rows: dict[str, Tensor] = {"picture": frames.expand(-1, 3, -1, -1)}
    for word, shares in maps.items():
        if shares.ndim != 3 or len(shares) != len(frames):
            raise ValueError(
                f"the map of {word!r} must have shape ({len(frames)}, h, w), one for each frame, "
                f"not {tuple(shares.shape)}."
            )
        rows[word] = _overlay(frames, shares)
    alt = alt or f"attention to {', '.join(maps)} over time"
    return film_strip(rows, labels, scale=scale, max_frames=max_frames, alt=alt)


def _overlay(frames: Tensor, shares: Tensor) -> Tensor:
    """Viridis over the grey picture, (N, 3, H, W) in [-1, 1]."""
    from matplotlib import colormaps

    heat = F.interpolate(shares[:, None].float(), frames.shape[-2:], mode="bilinear")[:, 0]
    span = (heat.max() - heat.min()).clamp(min=1e-8)
    heat = (heat - heat.min()) / span
    colours = torch.from_numpy(colormaps["viridis"](heat.numpy())[..., :3]).permute(0, 3, 1, 2)
    grey = (frames.mean(dim=1, keepdim=True) + 1) / 2
    return (2 * (0.35 * grey + 0.65 * colours) - 1).float()
