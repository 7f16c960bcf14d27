"""Clips longer than the context: windows of frames, and the blend of what they predict."""

from animatediff_ext.context.fuse import WEIGHTS, Window, fused
from animatediff_ext.context.old import old_windows
from animatediff_ext.context.windows import SCHEDULES

__all__ = ["SCHEDULES", "WEIGHTS", "Window", "fused", "old_windows"]
