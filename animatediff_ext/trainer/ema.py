"""A running mean of weights: smoother than the weights themselves, and what is shown and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Ema:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float):
        self._parameters = list(module.parameters())
        self._decay = decay
        self.means = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, num_steps: int) -> None:
        """After step number ``num_steps``. The first means forget quickly, so that they leave the initial weights."""
        decay = min(self._decay, (1 + num_steps) / (10 + num_steps))
        torch._foreach_lerp_(self.means, [p.detach() for p in self._parameters], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The means instead of the weights, which come back bit by bit."""
        weights = [parameter.data for parameter in self._parameters]
        try:
            for parameter, mean in zip(self._parameters, self.means, strict=True):
                parameter.data = mean
            yield
        finally:
            for parameter, weight in zip(self._parameters, weights, strict=True):
                parameter.data = weight
