"""Where a key stands: frames, shares and times → one line of places.

In fractions, since a key has to stand exactly at its frame or step: 7 / 100 * 100 is a hair more than 7 in floats, so
that the key at 100 % of eight frames would never be reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

Units = Mapping[str | None, Fraction]
"""What stands behind a number (None: nothing) → how many places it is."""

OF_SAMPLING: Units = {None: Fraction(1), "%": Fraction(1, 100)}
"""Places are shares of the steps, from 0 to 1."""


def of_clip(num_frames: int, fps: float) -> Units:
    """Places are frames; ``%`` is of the way from the first to the last one, ``s`` are seconds."""
    return {None: Fraction(1), "%": Fraction(num_frames - 1, 100), "s": Fraction(str(fps))}


def place(number: str, unit: str | None, units: Units) -> float:
    """``number`` is a decimal as it is written; one of hundreds of digits is infinite."""
    try:
        return float(Fraction(number) * units[unit and unit.lower()])
    except (OverflowError, ValueError):  # the second: more digits than Python reads
        return math.inf
