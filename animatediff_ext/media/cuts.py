"""Where the scene of a clip changes, so that what is before and what is after have no motion in common."""

from __future__ import annotations

import numpy as np

_LEVELS = 4  # of each colour
_SAME_COLOURS = 0.5
_SAME_PLACES = 24
_GRID = 32


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a new scene begins between two frames, uint8 arrays ``h w 3`` of one size.

    Both have to change at once: which colours there are (motion only moves them), and what is where. At 8 frames a
    second motion alone changes half of the picture, so a detector for films, which asks only for that, finds cuts
    everywhere.
    """
    one, other = _small(before), _small(after)
    if np.abs(one - other).mean() < _SAME_PLACES:
        return False
    shared = np.minimum(_colours(one), _colours(other)).sum()
    return bool(shared < _SAME_COLOURS)


def _small(rgb: np.ndarray) -> np.ndarray:
    """About 32 × 32 points of the picture, float ``h w 3``; every one counts for its neighbourhood."""
    down, right = (max(1, side // _GRID) for side in rgb.shape[:2])
    height, width = rgb.shape[0] // down * down, rgb.shape[1] // right * right
    blocks = rgb[:height, :width].reshape(height // down, down, width // right, right, 3)
    return blocks.mean((1, 3), dtype=np.float32)


def _colours(small: np.ndarray) -> np.ndarray:
    """The share of each of 4 × 4 × 4 colours. A point between two levels counts for both, so that a change of light
    does not turn all of one colour into another at once."""
    place = small.reshape(-1, 3) / 255 * (_LEVELS - 1)
    low = np.minimum(place.astype(int), _LEVELS - 2)
    share = place - low
    counts = np.zeros(_LEVELS**3)
    for corner in np.ndindex(2, 2, 2):
        at = low + corner
        weight = np.where(corner, share, 1 - share).prod(1)
        np.add.at(counts, (at[:, 0] * _LEVELS + at[:, 1]) * _LEVELS + at[:, 2], weight)
    return counts / len(place)
