"""Captions that a mirrored clip would make false."""

from __future__ import annotations

import re

_DIRECTIONS = re.compile(
    r"\b(?:left|right|(?:left|right|east|west)wards?|(?:left|right)most|(?:left|right)-?hand(?:ed)?"
    r"|(?:anti-?|counter-?)?clockwise|east|west|(?:east|west)(?:ern|bound)|north-?(?:east|west)|south-?(?:east|west))\b",
    re.IGNORECASE,
)


def names_direction(caption: str) -> bool:
    """Whether the caption says left, right, clockwise or the like, as a word of its own (not as in "bright")."""
    return _DIRECTIONS.search(caption) is not None
