"""Which frames of a clip make a sample: every so manieth one, or those shown at a steady rate.

Speed is never changed: a clip that is too short for a sample has no first frame for it.
"""

from __future__ import annotations

import numpy as np

from animatediff_ext.media import Timeline
from animatediff_ext.trainer.config import Sample


def num_starts(timeline: Timeline, num_frames: int, sample: Sample) -> int:
    """How many frames of the clip, from 0 on, can be the first of ``num_frames``; 0 if it is too short."""
    if not sample.fps:
        return max(0, timeline.num_frames - (num_frames - 1) * sample.stride)
    times = timeline.times_s()
    slack = _slack_s(timeline, times)
    last_step = times[-1] - times[-2] if len(times) > 1 else 0.0
    # The last frame is on screen for as long as the one before it.
    end = max(times[-1] + slack, times[-1] + last_step - slack)
    return int(np.count_nonzero(times + (num_frames - 1) / sample.fps <= end))


def frames_from(timeline: Timeline, start: int, num_frames: int, sample: Sample) -> tuple[int, ...]:
    """The frames of a sample that begins with frame ``start``. With ``fps``, those on screen at start + k / fps."""
    if not sample.fps:
        return tuple(start + index * sample.stride for index in range(num_frames))
    times = timeline.times_s()
    wanted = times[start] + np.arange(num_frames) / sample.fps + _slack_s(timeline, times)
    return tuple((np.searchsorted(times, wanted, side="right") - 1).tolist())


def needed(num_frames: int, sample: Sample) -> str:
    """How long a clip must be, for a message."""
    if sample.fps:
        return f"{num_frames / sample.fps:.2f} s"
    frames = (num_frames - 1) * sample.stride + 1
    return f"{frames} frame{'s' if frames > 1 else ''}"


def _slack_s(timeline: Timeline, times: np.ndarray) -> float:
    """How much earlier than it begins a frame counts as shown.

    Files round times to their ticks. In milliseconds, 30 frames a second begin at 0, 33, 67 and 100: without slack the
    frame that belongs to the time 66.7 would be the one of 33.
    """
    if len(times) < 2:
        return 0.0
    return min(1 / float(timeline.ticks_per_second) + 1e-6, float(np.median(np.diff(times))) / 4)
