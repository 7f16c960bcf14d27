"""How motion modules work in one call, beyond what their weights say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from animatediff_ext.motion.constants import constant

Views = Sequence[tuple[Sequence[int], Sequence[float]]]
"""Frames that attend to each other, and what each of them counts for. Per frame the weights sum to one."""


@dataclass(kw_only=True)
class Manner:
    """One call of the modules. ``num_frames`` frames go through each of them together."""

    num_frames: int
    views: Views = ()
    """Attention runs within each of these; empty: over all frames. The rest of a module sees the whole call."""
    scale: Sequence[float] = ()
    """What the keys of each frame are multiplied by: above 1 attention is sharper, and motion larger. Empty: 1."""
    positions: str = "refuse"
    """What becomes of frames beyond the position table, a key of `positions.BEYOND`."""
    frames: Sequence[int] = ()
    """Of the call, those that go through a layer now; all of them but in the midst of a view."""

    def __post_init__(self):
        self.frames = self.frames or range(self.num_frames)

    @contextmanager
    def only(self, frames: Sequence[int]) -> Iterator[None]:
        """Within, layers see these frames of the call."""
        before, self.frames = self.frames, frames
        try:
            yield
        finally:
            self.frames = before

    def views_like(self, x: torch.Tensor) -> Iterator[tuple[Sequence[int], torch.Tensor, torch.Tensor]]:
        """Each view: its frames, the same as an index ``(f,)``, and their weights ``(f 1)``, both on x's device."""
        for frames, weights in self.views:
            index = constant(tuple(frames), x.device, torch.int64)
            yield frames, index, constant(tuple(weights), x.device, x.dtype).unsqueeze(-1)

    def key_scale(self, like: torch.Tensor) -> torch.Tensor | None:
        """``(f 1)`` of the frames of now; None where nothing is scaled."""
        if all(value == 1 for value in self.scale):
            return None
        values = tuple(self.scale[frame] for frame in self.frames)
        return constant(values, like.device, like.dtype).unsqueeze(-1)
