"""Motion modules inside somebody else's UNet, for as long as a ``with`` lasts."""

from animatediff_ext.inject.attach import Injection, injected
from animatediff_ext.inject.direction import Direction
from animatediff_ext.inject.low_rank import (
    LowRank,
    low_rank_added,
    motion_attention_layers,
    motion_layers,
    spatial_attention_layers,
)
from animatediff_ext.inject.placement import Placement
from animatediff_ext.inject.rows import RowLayoutError, frame_major, stream_major
from animatediff_ext.inject.schedule import ScheduleOverride
from animatediff_ext.inject.sites import MisfitError, misfit, sites_of

__all__ = [
    "Direction",
    "Injection",
    "LowRank",
    "MisfitError",
    "Placement",
    "RowLayoutError",
    "ScheduleOverride",
    "frame_major",
    "injected",
    "low_rank_added",
    "misfit",
    "motion_attention_layers",
    "motion_layers",
    "sites_of",
    "spatial_attention_layers",
    "stream_major",
]
