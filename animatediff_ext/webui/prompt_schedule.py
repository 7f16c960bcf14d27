"""The part of the old extension's prompt travel that other extensions use: a conditioning for each frame from those of
key frames. ControlNet's IP-Adapter lets pictures travel with it, in a copy whose key frames it sets itself.

Axes: f frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from animatediff_ext.params import Animation
from animatediff_ext.travel import TravelError, blended, blends_of, parse_travel, travel_of


@dataclass
class PromptSchedule:
    """``prompt_map``: key frame → its text; None where nothing travels."""

    prompt_map: dict[int, str] | None
    animation: Animation

    @classmethod
    def of(cls, prompt: Any, animation: Animation) -> PromptSchedule:
        try:
            keys = travel_of(prompt, animation).keys if isinstance(prompt, str) else ()
        except TravelError:  # which the generation itself raises
            keys = ()
        return cls({round(key.at): key.text for key in keys} or None, animation)

    def multi_cond(self, cond: torch.Tensor | dict[str, torch.Tensor], closed_loop: bool = False):
        """``(f …)``, of which the key frames count, → the same shape, every frame between its two key frames."""
        if self.prompt_map is None:
            return cond
        if isinstance(cond, dict):
            return type(cond)({name: self.multi_cond(value, closed_loop) for name, value in cond.items()})
        keys = "\n".join(f"{frame}: {frame}" for frame in self.prompt_map)
        travel = parse_travel(keys, num_frames=len(cond), closed=closed_loop)
        blend, _ = blends_of(self.animation)
        return torch.stack([blended(frame, lambda key: cond[int(key)], blend) for frame in travel.frames]).to(cond)
