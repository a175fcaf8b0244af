"""A U-Net and a schedule in one object: the shortest way from images to new images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.errors import check_number
from course_lib.guidance import check_labels, drop_labels, num_classes_of
from course_lib.losses import check_images, denoising_loss
from course_lib.process import prediction_of
from course_lib.samplers import sample
from course_lib.schedules import NoiseSchedule
from course_lib.tensors import uint8_to_signed
from course_lib.unet import SmallUNet


class DiffusionModel(nn.Module):
    """A pixel diffusion model with a training loss and a generator.

    Parameters
    ----------
    num_timesteps : int
        T. The default schedule is the cosine one, which ends in noise for any T.
    network : nn.Module, optional
        The denoiser, see the model contract in `course_lib.samplers`. Default: a `SmallUNet`.
    schedule : NoiseSchedule, optional
        Replaces the cosine schedule; its length replaces `num_timesteps`.
    prediction : {"eps", "x0", "v", "flow"}, optional
        What the network predicts. Default: what it says itself (``network.prediction``, which
        `SmallUNet.save` keeps), else "eps".

    Raises
    ------
    ValueError
        If `prediction` contradicts the network.

    Examples
    --------
    >>> model = DiffusionModel(num_timesteps=100)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    >>> images = torch.rand(4, 3, 32, 32) * 2 - 1
    >>> loss = model.train_step(images)
    >>> loss.backward()
    >>> optimizer.step()
    >>> model.generate(torch.randn(2, 3, 32, 32), steps=2).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        num_timesteps: int = 100,
        *,
        network: nn.Module | None = None,
        schedule: NoiseSchedule | None = None,
        prediction: str | None = None,
    ):
        super().__init__()
        self.schedule = schedule or NoiseSchedule.cosine(num_timesteps)
        self.network = network or SmallUNet()
        self.prediction = self.network.prediction = prediction_of(self.network, prediction)
        self.to(memory_format=torch.channels_last)

    @property
    def num_timesteps(self) -> int:
        """T, the number of noising steps."""
        return self.schedule.num_timesteps

    def train_step(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        *,
        labels: Tensor | Sequence[int] | int | None = None,
        label_dropout: float = 0.1,
    ) -> Tensor:
        """The loss of one batch, at random timesteps with random noise.

        It computes no update: call ``loss.backward()`` and step your optimiser, or use
        `course_lib.train`, which does all of it.

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
            Clean images in [-1, 1].
        generator : torch.Generator, optional
            A CPU generator, for repeatable timesteps and noise.
        labels, label_dropout
            As in `course_lib.train`, one label for each image.

        Returns
        -------
        Tensor
            A scalar with gradient.

        Raises
        ------
        ValueError
            If the images are not a batch in [-1, 1], or the labels do not fit.
        """
        images = check_images(images, "images")
        images = uint8_to_signed(images) if images.dtype == torch.uint8 else images
        if labels is not None:
            count = num_classes_of(self.network)
            labels = check_labels(labels, count, len(images))
            share = check_number("label_dropout", label_dropout, low=0, high=1)
            labels = drop_labels(labels, count, share, generator)
        return denoising_loss(
            self.network,
            images.to(next(self.network.parameters(), images).dtype),
            self.schedule,
            generator=generator,
            prediction=self.prediction,
            labels=labels,
        )

    def generate(
        self,
        noise: Tensor,
        *,
        method: str = "ddpm",
        steps: int | None = None,
        generator: torch.Generator | None = None,
        labels: Tensor | Sequence[int] | int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Turn noise into images.

        Parameters
        ----------
        noise : Tensor, shape (B, C, H, W)
            Drawn from N(0, I), for example ``torch.randn(4, 3, 32, 32)``.
        method, steps, generator, labels, guidance
            As in `course_lib.sample`.

        Returns
        -------
        Tensor, shape (B, C, H, W)
            Images in [-1, 1].
        """
        was_training = self.training
        self.eval()
        try:
            for step in sample(
                self.network,
                noise,
                self.schedule,
                method,
                steps,
                generator=generator,
                prediction=self.prediction,
                clip=1.0,
                labels=labels,
                guidance=guidance,
            ):
                images = step.x_prev
        finally:
            self.train(was_training)
        return images.clamp(-1, 1)
