"""The positions of frames in their window: a table of sinusoids, and what lies beyond its end.

Axes: f frames, c channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn


def sinusoids(num_positions: int, channels: int) -> torch.Tensor:
    """Sinusoidal position table, ``(1, num_positions, channels)`` (Vaswani et al., arXiv 1706.03762, section 3.5)."""
    return sinusoids_at(torch.arange(num_positions), channels).unsqueeze(0)


def sinusoids_at(position: torch.Tensor, channels: int) -> torch.Tensor:
    """``(f,)`` positions, which may lie between two → ``(f c)``."""
    frequency = torch.exp(torch.arange(0, channels, 2) * (-math.log(10_000.0) / channels))
    angle = position.unsqueeze(1) * frequency
    table = torch.zeros(len(position), channels)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle)
    return table


def stretched(table: torch.Tensor, num_frames: int) -> torch.Tensor:
    """The formula of the table at positions between its first and its last, evenly spaced: motion of the same extent,
    spread over more frames."""
    return _stretched(*table.shape, num_frames, table.device, table.dtype)


@lru_cache(maxsize=64)  # every attention asks for the same few
def _stretched(known: int, channels: int, num_frames: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    with torch.inference_mode(False):
        return sinusoids_at(torch.linspace(0, known - 1, num_frames), channels).to(device, dtype)


def interpolated(table: torch.Tensor, num_frames: int) -> torch.Tensor:
    """The same places, on straight lines between the rows of the table: for tables that are no sinusoids."""
    place = torch.linspace(0, len(table) - 1, num_frames, device=table.device)
    low = place.floor().long().clamp(max=len(table) - 2)
    return torch.lerp(table[low].float(), table[low + 1].float(), (place - low).unsqueeze(1)).to(table.dtype)


def capped(table: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Frames beyond the table have its last position."""
    return table[torch.arange(num_frames, device=table.device).clamp(max=len(table) - 1)]


def refused(table: torch.Tensor, num_frames: int) -> torch.Tensor:
    raise ValueError(
        f"A window of {num_frames} frames was asked of a motion module that knows {len(table)} positions: "
        f"use a context of at most {len(table)} frames."
    )


BEYOND: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "refuse": refused,
    "stretch": stretched,
    "interpolate": interpolated,
    "cap": capped,
}
"""``(known c)`` → ``(f c)``, for more frames than are known."""


class PositionTable(nn.Module):
    """Holds ``pe``, the position of each frame in its window: ``(1, num_positions, c)``."""

    def __init__(self, num_positions: int, channels: int):
        super().__init__()
        self.register_buffer("pe", sinusoids(num_positions, channels))

    def forward(self, num_frames: int, beyond: str = "refuse") -> torch.Tensor:
        if num_frames > self.pe.shape[1]:
            return BEYOND[beyond](self.pe[0], num_frames)
        return self.pe[0, :num_frames]
