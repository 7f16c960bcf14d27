"""How much, and how, motion modules move the frames of one call of the UNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from animatediff_ext.motion.manner import Manner, Views


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What is asked of the modules for a whole clip; an empty sequence stands for ones."""

    effect: Sequence[float] = ()
    """For each frame, the share of what the modules would change: 0 leaves it as it is, 1 is all, 2 twice as much."""
    blocks: Mapping[str, float] = field(default_factory=dict)
    """A further factor of the effect, by the beginning of the modules' names: ``up_blocks.3``. The longest counts."""
    scale: Sequence[float] = ()
    """For each frame, `Manner.scale`."""
    views: Views = ()
    positions: str = "refuse"

    def effect_at(self, site: str, frames: Sequence[int]) -> list[float]:
        """For these frames of the clip, of the module of this name."""
        begun = [name for name in self.blocks if site == name or site.startswith(f"{name}.")]
        factor = self.blocks[max(begun, key=len)] if begun else 1.0
        return [factor * (self.effect[frame] if self.effect else 1.0) for frame in frames]

    def is_without_effect(self, sites: Sequence[str], frames: Sequence[int]) -> bool:
        return not any(any(self.effect_at(site, frames)) for site in sites)

    def manner(self, frames: Sequence[int]) -> Manner:
        """For a call with these frames of the clip."""
        return Manner(
            num_frames=len(frames),
            views=self.views,
            scale=[self.scale[frame] for frame in frames] if self.scale else (),
            positions=self.positions,
        )
