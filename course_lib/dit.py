"""A diffusion transformer, DiT (arXiv:2212.09748), with the call of `SmallUNet`.

Each patch of the image becomes a token; the timestep enters through the norms (adaLN-Zero).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import check_whole
from course_lib.unet import timestep_embedding, zero_
from course_lib.weights import load_tensors, save_tensors

FREQUENCIES = 256  # sines and cosines of t, as in the paper's code


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, N, patch * patch * C), N = H / patch * W / patch, row by row."""
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // patch, patch, W // patch, patch)
    x = x.permute(0, 2, 4, 3, 5, 1)  # (B, C, h, p, w, q) -> (B, h, w, p, q, C)
    return x.reshape(B, -1, patch * patch * C)


def unpatchify(tokens: Tensor, patch: int, height: int) -> Tensor:
    """The images (B, C, height, W) of which `patchify` makes `tokens`."""
    B, N, width = tokens.shape
    h = height // patch
    x = tokens.reshape(B, h, N // h, patch, patch, width // patch**2)
    x = x.permute(0, 5, 1, 3, 2, 4)  # (B, h, w, p, q, C) -> (B, C, h, p, w, q)
    return x.reshape(B, width // patch**2, height, -1)


def position_embedding(rows: int, columns: int, dim: int) -> Tensor:
    """Sines and cosines of the column, then of the row: (rows * columns, dim), `dim` in fours."""
    row, column = (torch.arange(n) for n in (rows, columns))
    of_row, of_column = (timestep_embedding(n, dim // 2) for n in (row, column))
    return torch.cat([of_column.repeat(rows, 1), of_row.repeat_interleave(columns, 0)], dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """The norm of `x` (B, N, D), scaled and shifted by what the timestep says, (B, D) each."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    """Attention and a two-layer network, each modulated and gated by the timestep (adaLN-Zero)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int = 4):
        super().__init__()
        self.heads = heads
        self.query_key_value, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        wide = mlp_ratio * dim
        self.mlp = nn.Sequential(nn.Linear(dim, wide), nn.GELU("tanh"), nn.Linear(wide, dim))
        self.modulation = zero_(nn.Linear(dim, 6 * dim))  # gates of 0: the block does nothing yet

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, N, D) and the SiLU of the embedding, (B, D) -> (B, N, D)."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(condition).chunk(6, -1)
        x = x + gate_1[:, None] * self.attention(modulate(x, shift_1, scale_1))
        return x + gate_2[:, None] * self.mlp(modulate(x, shift_2, scale_2))

    def attention(self, x: Tensor) -> Tensor:
        """Every token looks at every other."""
        B, N, D = x.shape
        parts = self.query_key_value(x).reshape(B, N, 3, self.heads, D // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # (B, N, 3, heads, d) -> 3 x (B, heads, N, d)
        found = F.scaled_dot_product_attention(q, k, v)
        return self.out(found.transpose(1, 2).reshape(B, N, D))


class DiT(nn.Module):
    """A denoiser without convolutions (arXiv:2212.09748).

    Parameters
    ----------
    in_channels, patch : int
        Channels of the images; side of the square of pixels that becomes a token. Half the side
        means four times the tokens.
    dim, depth, heads : int
        Width of a token, number of blocks, attention heads.
    num_classes : int, optional
        If given, the call takes ``labels`` (B,), where `num_classes` itself means "no class".

    Raises
    ------
    ValueError
        If `dim` does not divide into heads or fours; in the call, for shapes that do not fit.
    """

    def __init__(
        self, *, in_channels: int = 3, patch: int = 4, dim: int = 128, depth: int = 6,
        heads: int = 2, num_classes: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.config = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.patch, self.dim = check_whole("patch", patch), check_whole("dim", dim)
        self.in_channels, self.num_classes, self.prediction = in_channels, num_classes, None
        if dim % 4 or dim % heads:
            raise ValueError(f"dim must be a multiple of 4 and of heads, got {dim} and {heads}.")
        self.embed = nn.Linear(in_channels * patch**2, dim)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(num_classes + 1, dim) if num_classes else None
        self.blocks = nn.ModuleList(DiTBlock(dim, heads) for _ in range(depth))
        self.modulation = zero_(nn.Linear(dim, 2 * dim))
        self.head = zero_(nn.Linear(dim, in_channels * patch**2))

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Estimate what the model was trained to predict; same shape as `x_t`."""
        self._check(x_t, t, labels)
        condition = self.time(timestep_embedding(t, FREQUENCIES).to(x_t))
        if self.label is not None:
            condition = condition + self.label(labels)
        condition = F.silu(condition)
        height, width = x_t.shape[-2:]
        places = position_embedding(height // self.patch, width // self.patch, self.dim)
        h = self.embed(patchify(x_t, self.patch)) + places.to(x_t)
        for block in self.blocks:
            h = block(h, condition)
        h = modulate(h, *self.modulation(condition).chunk(2, dim=-1))
        return unpatchify(self.head(h), self.patch, height)

    def _check(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> None:
        shape = tuple(x_t.shape)
        if len(shape) != 4 or shape[1] != self.in_channels:
            raise ValueError(f"x_t must have shape (B, {self.in_channels}, H, W), got {shape}.")
        if shape[2] % self.patch or shape[3] % self.patch:
            raise ValueError(f"H and W must be multiples of {self.patch}, got {shape[2:]}.")
        if (given := getattr(t, "shape", t)) != shape[:1]:
            raise ValueError(f"t must be a tensor of shape ({shape[0]},), got {given}.")
        if (labels is None) != (self.label is None):
            raise ValueError("labels go with num_classes: give both or neither.")

    def save(self, path: str | Path) -> Path:
        """Write weights, configuration and `prediction` to one file, as `SmallUNet.save`."""
        info = {"config": self.config, "prediction": self.prediction}
        return save_tensors(path, self.state_dict(), info)

    @classmethod
    def load(cls, path: str | Path) -> DiT:
        """Read what `save` wrote; errors as in `weights.load_tensors`."""
        tensors, info = load_tensors(path)
        model = cls(**info["config"])
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        model.prediction = info.get("prediction")
        return model.eval()
