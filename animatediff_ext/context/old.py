"""The windows of sd-webui-animatediff, for those who have to make one of its videos again.

Its schedule is the one of animatediff-cli: windows on a ring that turns from step to step; *Closed loop* N cuts the
ring open at the seam. Where windows overlap, the prediction of the last one counts and the others are dropped. With N
there are clips in which a step leaves frames out; their noise is then predicted as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from animatediff_ext.context.fuse import Window
from animatediff_ext.context.windows import bit_reversed_fraction


def old_windows(
    num_frames: int, *, length: int, overlap: int, stride: int, closed_loop: str, step: int
) -> list[Window]:
    """Of one step, in the order in which they run; those of which nothing would be left are not in the list."""
    return last_wins(list(old_uniform(num_frames, length, overlap, stride, closed_loop, step)))


def old_uniform(
    num_frames: int, length: int, overlap: int, stride: int, closed_loop: str, step: int
) -> Iterator[list[int]]:
    """Frames of each window. With ``stride`` a frame may be twice in one.

    Source: continue-revolution/sd-webui-animatediff, scripts/animatediff_infv2v.py, `uniform`. There a clip within one
    context is filled up to it; here it runs as it is.
    """
    if num_frames <= length:
        yield list(range(num_frames))
        return
    phase = bit_reversed_fraction(step)
    turn = round(num_frames * phase)
    end = num_frames + turn - (0 if closed_loop == "A" else overlap)
    for exponent in range(min(stride, math.ceil(math.log2(num_frames / length)) + 1)):
        every = 1 << exponent
        starts = range(turn + int(phase * every), end, length * every - overlap)
        ring = [[(start + i * every) % num_frames for i in range(length)] for start in starts]
        yield from _cut_open(ring, num_frames, length, overlap) if closed_loop == "N" and every == 1 else ring


def _cut_open(ring: Sequence[list[int]], num_frames: int, length: int, overlap: int) -> Iterator[list[int]]:
    """The first and the last window of the clip in place of those that reach over the seam.

    Where one window has only a few frames behind the seam, the next one is expected to reach over it too: the two of
    them become the last and the first window.
    """
    first, last = list(range(length)), list(range(num_frames - length, num_frames))
    is_next_the_first = False
    for window in ring:
        before_seam = next((i for i in range(1, length) if window[i] < window[i - 1]), None)
        if before_seam is None:
            yield window
        elif is_next_the_first:
            is_next_the_first = False
            yield first
        elif before_seam < length - overlap:
            yield last
            yield first
        else:
            is_next_the_first = True
            yield last


def last_wins(windows: Sequence[Sequence[int]]) -> list[Window]:
    """Weight 1 where a frame comes up for the last time, else 0."""
    taken: set[int] = set()
    kept = []
    for frames in reversed(windows):
        weights = []
        for frame in reversed(frames):
            weights.append(0.0 if frame in taken else 1.0)
            taken.add(frame)
        if any(weights):
            kept.append(Window(tuple(frames), tuple(reversed(weights))))
    return kept[::-1]
