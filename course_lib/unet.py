"""A small U-Net, fast on a CPU and readable in one sitting.

The model contract is that of `course_lib.samplers`. Three choices make it quick, all measured by
``benchmarks/unet_speed.py``: patches of pixels become channels, so no layer works at full size;
norms run over the channels of a pixel, neighbours in channels_last; attention is coarse and wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import check_choice
from course_lib.weights import load_tensors, save_tensors


def timestep_embedding(t: Tensor, dim: int, *, max_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of `t` (B,) at falling frequencies: (B, dim), `dim` even.

    The frequencies fall from 1 to 1 / `max_period` (arXiv:1706.03762, section 3.5); fractions of
    timesteps are welcome.
    """
    rank = torch.arange(dim // 2, device=t.device) / (dim // 2)
    frequency = torch.exp(-math.log(max_period) * rank)
    angle = t[:, None].float() * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of (B, C, H, W).

    In channels_last memory the channels of a pixel lie side by side, so one pass over the data
    does it, forwards and backwards. Group norm gathers statistics over the whole image instead.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C), free in channels_last
        return super().forward(x).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Two convolutions with a timestep-dependent scale and shift between, added to the input."""

    def __init__(self, channels_in: int, channels: int, embedding: int, dropout: float, norm: str):
        super().__init__()
        self.norm_1 = make_norm(norm, channels_in)
        self.conv_1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.norm_2 = make_norm(norm, channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        same = channels_in == channels
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1)
        zero_(self.conv_2)  # every block starts as its skip connection

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_1(F.silu(self.norm_1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(self.norm_2(h) * (1 + scale) + shift)
        return self.skip(x) + self.conv_2(self.dropout(h))


class Attention(nn.Module):
    """Every pixel looks at every other, or at the tokens of a context, and adds what it finds."""

    def __init__(self, channels: int, norm: str, context_dim: int | None = None):
        super().__init__()
        # Many tiny heads are slow on a CPU: as many as divide the channels into 64 or more each
        self.heads = next(n for n in range(max(1, channels // 64), 0, -1) if channels % n == 0)
        self.norm = make_norm(norm, channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(context_dim or channels, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        zero_(self.out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        B, C, H, W = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(B, H * W, C)  # (B,C,H,W) -> (B,H*W,C)
        key, value = self.key_value(pixels if context is None else context).chunk(2, dim=-1)
        q, k, v = (  # (B, N, C) -> (B, heads, N, C / heads)
            a.reshape(B, -1, self.heads, C // self.heads).transpose(1, 2)
            for a in (self.query(pixels), key, value)
        )
        found = F.scaled_dot_product_attention(q, k, v)
        found = self.out(found.transpose(1, 2).reshape(B, H * W, C))
        return x + found.reshape(B, H, W, C).permute(0, 3, 1, 2)  # (B,H*W,C) -> (B,C,H,W)


class Stage(nn.Module):
    """One residual block and, where asked for, self-attention and cross-attention."""

    def __init__(self, channels_in, channels, *, embedding, dropout, norm, attention, context_dim):
        super().__init__()
        self.block = ResidualBlock(channels_in, channels, embedding, dropout, norm)
        self.attention = Attention(channels, norm) if attention else None
        cross = attention and context_dim is not None
        self.cross_attention = Attention(channels, norm, context_dim) if cross else None

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor | None) -> Tensor:
        x = self.block(x, embedding)
        x = x if self.attention is None else self.attention(x)
        return x if self.cross_attention is None else self.cross_attention(x, context)


class SmallUNet(nn.Module):
    """A U-Net denoiser for small images (arXiv:1505.04597, arXiv:2006.11239 appendix B).

    Parameters
    ----------
    in_channels, channels : int, sequence of int
        Channels of the images; width of each level, each at half the resolution of the last.
    blocks : int
        Residual blocks in each level, on the way down and again on the way up.
    attention : sequence of bool, optional
        Which levels attend. Default: the two coarsest.
    patch, dropout : int, float
        Side of the square of pixels that becomes one position; share of features dropped.
    norm : {"channel", "group"}
        See `ChannelNorm`; ``"group"`` is the field's usual group norm.
    num_classes, context_dim : int, optional
        If given, the call takes ``labels`` (B,), where `num_classes` itself means "no class", or
        ``context`` (B, L, context_dim), such as text features.
    skip_timestep : float, optional
        For a network that predicts x_0: the timestep at which its answer is half the input. Nearer
        to t = 0, where the input is nearly clean, the answer is the input for the greater part, as
        with c_skip in arXiv:2206.00364, section 5. Default: no such share.

    Attributes
    ----------
    prediction : {"eps", "x0", "v", "flow"} or None
        What it was trained to predict; `train` and `DiffusionModel` set it, `save` keeps it.

    Raises
    ------
    ValueError
        In the call, when a shape does not fit or a condition is missing.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: Sequence[int] = (64, 96, 160, 224),
        blocks: int = 1,
        attention: Sequence[bool] | None = None,
        patch: int = 2,
        dropout: float = 0.0,
        norm: str = "channel",
        num_classes: int | None = None,
        context_dim: int | None = None,
        skip_timestep: float | None = None,
    ):
        super().__init__()
        self.config = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        depth = len(channels)
        attention = attention or [i >= depth - 2 for i in range(depth)]
        self.in_channels, self.channels, self.patch = in_channels, tuple(channels), patch
        embedding = 4 * channels[0]
        layers = nn.Linear(channels[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        self.time = nn.Sequential(*layers)
        self.label = nn.Embedding(num_classes + 1, embedding) if num_classes else None
        self.num_classes, self.prediction = num_classes, None
        self.context_dim, self.skip_timestep = context_dim, skip_timestep
        common = dict(embedding=embedding, dropout=dropout, norm=norm, context_dim=context_dim)
        self.stem = nn.Conv2d(in_channels * patch**2, channels[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        width = channels[0]
        for wanted, attend in zip(channels, attention, strict=True):
            widths = [width] + [wanted] * (blocks - 1)
            stages = [Stage(w, wanted, attention=attend, **common) for w in widths]
            self.down.append(nn.ModuleList(stages))
            width = wanted
        self.middle = Stage(width, width, attention=True, **common)
        for wanted, attend in zip(reversed(channels), reversed(attention), strict=True):
            # Each block sees the skip connection of its mirror image beside its input
            stages = [Stage(2 * wanted, wanted, attention=attend, **common) for _ in range(blocks)]
            self.up.append(nn.ModuleList(stages))
        for fine, coarse in zip(channels, channels[1:], strict=False):
            self.shrink.append(nn.Conv2d(fine, fine, 2, stride=2))
            self.grow.insert(0, nn.Conv2d(coarse, 4 * fine, 1))
        # Of a very noisy picture nearly all is noise: let the answer start from the input itself
        self.shortcut = zero_(nn.Linear(embedding, in_channels))
        self.norm_out = make_norm(norm, channels[0])
        self.out = zero_(nn.Conv2d(channels[0], in_channels * patch**2, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor, labels=None, context=None) -> Tensor:
        """Estimate what the model was trained to predict; same shape as `x_t`."""
        self._check(x_t, t, labels, context)
        embedding = self.time(timestep_embedding(t, self.channels[0]).to(x_t.dtype))
        if self.label is not None:
            embedding = embedding + self.label(labels)
        embedding = F.silu(embedding)
        h = F.pixel_unshuffle(x_t, self.patch)  # (B,C,H,W) -> (B,C*p*p,H/p,W/p)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, stages in enumerate(self.down):
            for stage in stages:
                h = stage(h, embedding, context)
                skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        h = self.middle(h, embedding, context)
        for level, stages in enumerate(self.up):
            for stage in stages:
                h = stage(torch.cat([h, skips.pop()], dim=1), embedding, context)
            if level < len(self.grow):
                h = F.pixel_shuffle(self.grow[level](h), 2)  # (B, 4C, H, W) -> (B, C, 2H, 2W)
                h = h.contiguous(memory_format=torch.channels_last)
        out = F.pixel_shuffle(self.out(F.silu(self.norm_out(h))), self.patch)
        out = out + self.shortcut(embedding)[:, :, None, None] * x_t
        if self.skip_timestep is None:
            return out
        # For small t the noise of the cosine schedule grows like t: this is e^2 / (e^2 + sigma^2)
        share = 1 / (1 + (t.to(x_t.dtype) / self.skip_timestep) ** 2)
        return torch.lerp(out, x_t, share[:, None, None, None])

    def _check(self, x_t: Tensor, t: Tensor, labels, context) -> None:
        multiple = self.patch * 2 ** (len(self.channels) - 1)
        shape, given = tuple(x_t.shape), getattr(t, "shape", t)
        if len(shape) != 4 or shape[1] != self.in_channels:
            raise ValueError(f"x_t must have shape (B, {self.in_channels}, H, W), got {shape}.")
        if shape[2] % multiple or shape[3] % multiple:
            raise ValueError(
                f"Height and width must be multiples of {multiple} for {len(self.channels)} levels "
                f"and patch {self.patch}, got {shape[2:]}. Resize, or use fewer levels."
            )
        if given != shape[:1]:
            raise ValueError(f"t must be a tensor of shape ({shape[0]},), got {given}.")
        for name, given, option, layer in (
            ("labels", labels, "num_classes", self.label),
            ("context", context, "context_dim", self.context_dim),
        ):
            if (given is None) != (layer is None):
                raise ValueError(f"{name} go with {option}: give both or neither.")

    def save(self, path: str | Path) -> Path:
        """Write weights, configuration and `prediction` to one file; see `weights.save_tensors`."""
        info = {"config": self.config, "prediction": self.prediction}
        return save_tensors(path, self.state_dict(), info)

    @classmethod
    def load(cls, path: str | Path) -> SmallUNet:
        """Read what `save` wrote; errors as in `weights.load_tensors`."""
        tensors, info = load_tensors(path)
        model = cls(**info["config"])
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        model.prediction = info.get("prediction")
        return model.eval()


def make_norm(name: str, channels: int) -> nn.Module:
    """A fresh normalisation layer by name."""
    if check_choice("norm", name, ("channel", "group")) == "channel":
        return ChannelNorm(channels)
    return nn.GroupNorm(math.gcd(32, channels), channels)


def zero_(layer: nn.Module) -> nn.Module:
    """Start `layer` at zero, so that what it adds is learned from nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
