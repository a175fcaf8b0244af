"""What is trained, with the best of it so far: the module of a `TrainingRun`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class TrainedWeights(nn.Module):
    """The parameters of an adapter, without the network that they belong to.

    A `TrainingRun` copies its module and writes it into checkpoints; this one is as small as the
    adapter. The best weights by the held-out loss are buffers, so that checkpoints hold them, too.

    Parameters
    ----------
    named : mapping of str to Parameter
        Name in the network -> parameter. They stay where they are and are trained in place.
    """

    def __init__(self, named: Mapping[str, nn.Parameter]):
        super().__init__()
        self.live = nn.ParameterList(named.values())
        for number, parameter in enumerate(self.live):
            self.register_buffer(f"best_{number}", parameter.detach().clone())
        self.register_buffer("best_step", torch.tensor(0))

    @torch.no_grad()
    def keep(self, step: int) -> None:
        """Remember the weights, those after step number `step`, as the best ones."""
        self.best_step.fill_(step)
        for number, parameter in enumerate(self.live):
            self.get_buffer(f"best_{number}").copy_(parameter)

    @torch.no_grad()
    def take_best(self) -> None:
        """Put the best weights into the network."""
        for number, parameter in enumerate(self.live):
            parameter.copy_(self.get_buffer(f"best_{number}"))
