"""When each frame is shown, in whole ticks of a file's clock."""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Rational

from animatediff_ext.media.errors import MediaError
from animatediff_ext.params import MAX_FPS

MIN_FPS = 0.01
MAX_LOOPS = 65535  # GIF and WebP keep the number in 16 bits


def frame_rate(fps: float) -> Fraction:
    """``fps`` as the ratio that was meant: 23.976 is 2997/125, 24000 / 1001 is itself. Or ``MediaError``."""
    try:
        value = float(fps)
    except (TypeError, ValueError):
        value = math.nan
    if not MIN_FPS <= value <= MAX_FPS:
        raise MediaError(f"FPS is {fps!r}; it must be a number from {MIN_FPS} to {MAX_FPS} frames per second.")
    # 1001 is the largest denominator in use (NTSC); video files keep the two parts as 32-bit integers.
    return Fraction(fps if isinstance(fps, Rational) else value).limit_denominator(1001)


def start_of(index: int, rate: Fraction, ticks_per_second: int) -> int:
    """The tick nearest to the moment when frame ``index`` begins, so that errors of rounding never add up."""
    return round(index * ticks_per_second / rate)


def checked_loops(loops: int) -> int:
    """``loops`` if it can be written: 0 plays for ever, n plays n times. ``MediaError`` otherwise."""
    if isinstance(loops, bool) or not isinstance(loops, int) or not 0 <= loops <= MAX_LOOPS:
        raise MediaError(
            f"The loop count is {loops!r}; it must be 0 (for ever) or a number of plays up to {MAX_LOOPS}."
        )
    return loops
