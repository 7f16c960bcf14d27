"""When each frame of a clip is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise

import numpy as np


@dataclass(frozen=True)
class Timeline:
    """The times of all frames in display order, small enough to keep for every clip of a data set."""

    start: int
    """Tick of the first frame."""
    steps: tuple[tuple[int, int], ...]
    """(ticks from a frame to the next, how often in a row), all above zero; empty for a single frame."""
    ticks_per_second: Fraction
    counted: bool = False
    """The file has no times: ticks are those of its frame rate, and a frame is found by counting from the first."""

    @classmethod
    def of(cls, ticks: Sequence[int], ticks_per_second: Fraction | int, *, counted: bool = False) -> Timeline:
        """From one tick or more, in ascending order."""
        steps = [int(late - early) for early, late in pairwise(ticks)]
        assert all(step > 0 for step in steps)
        runs = tuple((step, len(list(run))) for step, run in groupby(steps))
        return cls(int(ticks[0]), runs, Fraction(ticks_per_second), counted)

    @property
    def num_frames(self) -> int:
        """At least one."""
        return 1 + sum(repeats for _, repeats in self.steps)

    def ticks(self) -> np.ndarray:
        """``f``, int64, in the file's own clock."""
        steps = np.repeat(*np.array(self.steps, dtype=np.int64).reshape(-1, 2).T)
        return self.start + np.concatenate([[0], np.cumsum(steps, dtype=np.int64)])

    def times_s(self) -> np.ndarray:
        """``f``, float64: seconds from the first frame."""
        return (self.ticks() - self.start) / float(self.ticks_per_second)
