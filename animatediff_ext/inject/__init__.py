"""Motion modules inside somebody else's UNet, for as long as a ``with`` lasts."""

from animatediff_ext.inject.attach import Injection, injected
from animatediff_ext.inject.placement import Placement
from animatediff_ext.inject.rows import RowLayoutError, frame_major, stream_major
from animatediff_ext.inject.schedule import ScheduleOverride
from animatediff_ext.inject.sites import MisfitError, misfit, sites_of

__all__ = [
    "Injection",
    "MisfitError",
    "Placement",
    "RowLayoutError",
    "ScheduleOverride",
    "frame_major",
    "injected",
    "misfit",
    "sites_of",
    "stream_major",
]
