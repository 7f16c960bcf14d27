"""The motion module of AnimateDiff: its families, its configuration, its layers."""

from animatediff_ext.motion.config import MotionConfig
from animatediff_ext.motion.families import FAMILIES, Family, NoiseSchedule
from animatediff_ext.motion.model import MotionModel, MotionModule

__all__ = ["FAMILIES", "Family", "MotionConfig", "MotionModel", "MotionModule", "NoiseSchedule"]
