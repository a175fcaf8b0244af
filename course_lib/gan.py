r"""A small generative adversarial network: relativistic pairing with two gradient penalties.

A generator G turns noise z into an image in one pass. A discriminator D learns to score real images
above generated ones; G is trained against it. As in R3GAN (arXiv:2501.05441), scores are compared
in pairs, and the gradient of D is kept small on real (R1) and on generated images (R2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.device import get_device
from course_lib.ema import EMA
from course_lib.errors import check_number
from course_lib.losses import check_images, pixels
from course_lib.training_loop import learning_rate
from course_lib.training_options import TrainingOptions
from course_lib.training_run import TrainingDiverged, batch_indices, seed_of
from course_lib.unet import zero_


class Block(nn.Module):
    """Two convolutions added to the input, without a norm as in R3GAN; at first the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = zero_(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_2(F.leaky_relu(self.conv_1(F.leaky_relu(x, 0.2)), 0.2))


class Generator(nn.Module):
    """Noise z (B, `latent`), from N(0, I), to images (B, 3, H, H): clamp them to [-1, 1].

    The level of `channels[0]` has 4 x 4 positions, each next one twice the side, the image again.
    """

    def __init__(self, latent: int = 32, channels: Sequence[int] = (64, 48, 24)):
        super().__init__()
        self.latent = latent
        self.stem = nn.Linear(latent, 16 * channels[0])
        self.blocks = nn.ModuleList(Block(width) for width in channels)
        self.change = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(channels))
        # Zero, so that the first images are gray: noise that is there at first takes long to go
        self.out = zero_(nn.Conv2d(channels[-1], 3, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"z must have shape (B, {self.latent}), got {tuple(z.shape)}.")
        h = self.stem(z).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        h = self.blocks[0](h)
        for change, block in zip(self.change, self.blocks[1:], strict=True):
            h = block(F.interpolate(change(h), scale_factor=2, mode="bilinear"))
        return self.out(F.interpolate(F.leaky_relu(h, 0.2), scale_factor=2, mode="bilinear"))


class Discriminator(nn.Module):
    """Images (B, 3, H, H) to scores (B,), of which only differences mean something.

    Squares of `patch` x `patch` pixels become the positions of the first level, whose width is
    ``channels[0]``; each next level has half the side, and the last one 4 x 4 positions.
    """

    def __init__(self, channels: Sequence[int] = (32, 64), patch: int = 4):
        super().__init__()
        self.patch, self.side = patch, 2 * patch * 2 ** len(channels)
        self.stem = nn.Conv2d(3 * patch**2, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(width) for width in channels)
        self.change = nn.ModuleList(nn.Conv2d(4 * a, b, 1) for a, b in pairwise(channels))
        self.out = nn.Linear(16 * channels[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        given, n = tuple(images.shape), self.side
        if given[1:] != (3, n, n):
            raise ValueError(f"images must have shape (B, 3, {n}, {n}), got {given}.")
        h = F.pixel_unshuffle(images, self.patch).contiguous(memory_format=torch.channels_last)
        h = self.blocks[0](self.stem(h))
        for change, block in zip(self.change, self.blocks[1:], strict=True):
            h = block(change(F.pixel_unshuffle(h, 2)))  # (B, C, S, S) -> (B, 4C, S / 2, S / 2)
        return self.out(F.leaky_relu(h, 0.2).flatten(1))[:, 0]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Mean of :math:`\log(1 + e^{-(D(x) - D(G(z)))})` over pairs (arXiv:1807.00734).

    `real` and `fake`, both (B,), are scores of real and of generated images; entry i of both is a
    pair. It is log 2 where scores are equal, and near 0 where each real one is far above.
    """
    shapes = tuple(real.shape), tuple(fake.shape)
    if real.ndim != 1 or shapes[0] != shapes[1]:
        raise ValueError(f"real and fake must be scores of one shape (B,), got {shapes}.")
    return F.softplus(fake - real).mean()


def generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The same with exchanged roles: G is to raise the generated score above the real one."""
    return discriminator_loss(fake, real)


def zero_centered_gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    r"""Mean of :math:`\tfrac12 \lVert \nabla_x D(x) \rVert^2` (arXiv:1801.04406, equation 9).

    On real images it is R1, on generated ones R2. `scores` (B,) are those of D, each of its own
    image only, and `images` (B, C, H, W) require a gradient. It can be differentiated again.
    """
    if not images.requires_grad:
        raise ValueError("images need a gradient: call images.requires_grad_() before D(images).")
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(dim=1).mean()


@dataclass(frozen=True, eq=False)
class GANStep:
    """What step number `step`, counted from 1, of `train_gan` did.

    Losses are without penalties, the penalties `r1` and `r2` without their factor. `accuracy` is
    the share of pairs whose real image scored higher, ``ema.model`` the averaged generator.
    """

    step: int
    discriminator_loss: float
    r1: float
    r2: float
    accuracy: float
    generator_loss: float
    ema: EMA


def train_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    *,
    steps: int = 1000,
    batch_size: int = 16,
    lr: float = 1e-3,
    gamma: float = 1.0,
    warmup: int = 50,
    ema_decay: float = 0.999,
    mirror: bool = True,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Iterator[GANStep]:
    """Train both networks in place, D and G in turn, yielding a `GANStep` after every step.

    `gamma` is the factor of both gradient penalties: R3GAN uses 0.05 to 150, depending on the
    images. The generator needs an attribute `latent`. The rest is as in `course_lib.train`, with
    its ValueError for what does not fit and TrainingDiverged for what is no longer finite.
    """
    images, gamma = check_images(images, "images"), check_number("gamma", gamma, low=0, high=1e6)
    recipe = {"lr": lr, "warmup": warmup, "ema_decay": ema_decay, "seed": seed}
    o = TrainingOptions(steps=steps, batch_size=batch_size, **recipe)
    place = torch.device(device or get_device())
    networks = [n.to(place, memory_format=o.memory_format) for n in (discriminator, generator)]
    # Without momentum, as in R3GAN: the other network has moved since the earlier gradients
    adams = [torch.optim.AdamW(n.parameters(), betas=(0.0, 0.99)) for n in networks]
    ema = EMA(generator, o.ema_decay)
    for step in range(o.steps):
        rng = torch.Generator().manual_seed(seed_of(o.seed, step))
        real = pixels(images, batch_indices(step, len(images), o.batch_size, o.seed), place)
        flips = (torch.rand(len(real), 1, 1, 1, generator=rng) < 0.5 * mirror).to(place)
        real = torch.where(flips, real.flip(-1), real)
        z = torch.randn(2, len(real), generator.latent, generator=rng).to(place)
        for adam in adams:
            adam.param_groups[0]["lr"] = learning_rate(step, o.steps, o.lr, o.warmup)
        told = _discriminator_step(*networks, adams[0], real, z[0], gamma)
        discriminator.requires_grad_(False)  # its gradients are not needed, which saves their work
        loss = generator_loss(discriminator(real), discriminator(generator(z[1])))
        _update(adams[1], loss)
        discriminator.requires_grad_(True)
        ema.update(generator)
        told = [value.item() for value in (*told, loss)]
        if not all(map(math.isfinite, told)):
            raise TrainingDiverged(f"Step {step + 1}: losses {told}. Lower lr, or raise gamma.")
        yield GANStep(step + 1, *told, ema)


def _discriminator_step(discriminator, generator, adam, real, z, gamma) -> tuple[Tensor, ...]:
    real, fake = real.detach().requires_grad_(), generator(z).detach().requires_grad_()
    scores, fake_scores = discriminator(real), discriminator(fake)
    loss = discriminator_loss(scores, fake_scores)
    r1 = zero_centered_gradient_penalty(scores, real)
    r2 = zero_centered_gradient_penalty(fake_scores, fake)
    _update(adam, loss + gamma * (r1 + r2))
    return loss, r1, r2, (scores > fake_scores).double().mean()


def _update(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()
