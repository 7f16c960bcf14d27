"""The motion module of AnimateDiff: its families, its configuration, its layers."""

from animatediff_ext.motion.advice import advice
from animatediff_ext.motion.config import MotionConfig
from animatediff_ext.motion.families import FAMILIES, IMAGE_SCHEDULE, Family, NoiseSchedule
from animatediff_ext.motion.model import MotionModel, MotionModule

__all__ = [
    "FAMILIES",
    "IMAGE_SCHEDULE",
    "Family",
    "MotionConfig",
    "MotionModel",
    "MotionModule",
    "NoiseSchedule",
    "advice",
]
