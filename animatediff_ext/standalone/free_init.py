"""FreeInit: one clip is sampled several times, each time from better noise, as in the WebUI."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from animatediff_ext.noise import low_pass, noised, refined_noise
from animatediff_ext.params import FreeInit

Sample = Callable[[torch.Tensor], torch.Tensor]
"""Noise of unit variance ``(f c h w)`` → the clip that is sampled from it."""


def sample_repeatedly(
    settings: FreeInit,
    rounds: Sequence[Sample],
    first: torch.Tensor,
    fresh: Callable[[int], torch.Tensor],
    least_signal: torch.Tensor,
) -> torch.Tensor:
    """The result of the last round, ``(f c h w)``.

    ``rounds`` sample once each. ``first`` is the noise of the first one, ``fresh(1)``, ``fresh(2)``, … bring what
    replaces its high frequencies before those that follow, and ``least_signal`` is the schedule's share of signal at
    the last timestep.
    """
    mask = low_pass(
        settings.filter,
        len(first),
        *first.shape[-2:],
        spatial_stop=settings.spatial_stop,
        temporal_stop=settings.temporal_stop,
    )
    noise = first
    *before, last = rounds
    for iteration, sample in enumerate(before, start=1):
        noise = refined_noise(noised(sample(noise), first, least_signal), fresh(iteration), mask)
    return last(noise)
