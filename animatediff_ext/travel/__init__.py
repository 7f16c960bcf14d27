"""Prompt travel: a prompt with keys → what each frame is told.

travel = parse_travel("a cat\\n0: asleep\\n8 smooth: awake", num_frames=16)
travel.frames[4].weights    # half-way: {"a cat, asleep": 0.5, "a cat, awake": 0.5}
"""

from animatediff_ext.travel.blend import BLENDS, blended, blends_of
from animatediff_ext.travel.easing import EASINGS
from animatediff_ext.travel.schedule import FramePrompt, Travel, parse_travel, travel_of
from animatediff_ext.travel.text import Key, TravelError
from animatediff_ext.travel.values import Values, listed, values_of, values_over_frames, values_over_sampling

__all__ = [
    "BLENDS",
    "EASINGS",
    "FramePrompt",
    "Key",
    "Travel",
    "TravelError",
    "Values",
    "blended",
    "blends_of",
    "listed",
    "parse_travel",
    "travel_of",
    "values_of",
    "values_over_frames",
    "values_over_sampling",
]
