"""Which frames go through the UNet together when a clip is longer than the context.

Every schedule returns windows of at most ``length`` frames such that each frame is in some window, no frame is twice in
one, and every index is a frame of the clip. With a stride of 1 they need as few windows as the overlap allows,
ceil((n - o) / (l - o)), but for *looped often*.

Symbols: n frames of the clip, l length of a window, o overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

Schedule = Callable[..., list[list[int]]]
"""``schedule(num_frames, *, length, overlap, stride, step) -> windows``"""


def static(num_frames: int, *, length: int, overlap: int, stride: int = 1, step: int = 0) -> list[list[int]]:
    """The same windows at every step, laid out from the first frame; the last one ends at the last frame."""
    return _line(num_frames, length, overlap, phase=0.0)


def uniform(num_frames: int, *, length: int, overlap: int, stride: int = 1, step: int = 0) -> list[list[int]]:
    """Windows that shift from step to step as far as the slack between them allows, so that seams do not stay in place.

    ``stride`` adds windows of every 2nd, 4th … frame (AnimateDiff-CLI's context stride), which tie distant frames
    together.
    """
    phase = bit_reversed_fraction(step)
    windows = _line(num_frames, length, overlap, phase)
    for every in _wide_steps(num_frames, length, stride):
        windows += _line(num_frames, length, overlap, phase, every)
    return windows


def looped(num_frames: int, *, length: int, overlap: int, stride: int = 1, step: int = 0) -> list[list[int]]:
    """Windows on a ring: the last frame is the neighbour of the first, and the whole pattern turns from step to
    step."""
    return _ring(num_frames, length, overlap, stride, step, reach=num_frames - overlap)


def looped_often(num_frames: int, *, length: int, overlap: int, stride: int = 1, step: int = 0) -> list[list[int]]:
    """As `looped`, with the overlap kept over the seam as well, at the price of a further window."""
    return _ring(num_frames, length, overlap, stride, step, reach=num_frames)


SCHEDULES: dict[str, Schedule] = {
    "static": static,
    "uniform": uniform,
    "looped": looped,
    "looped often": looped_often,
}


def bit_reversed_fraction(step: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8 …: the binary digits of ``step`` mirrored at the point (van der Corput).

    Steps that follow each other land far apart, and any run of steps is spread evenly.
    """
    fraction, place = 0.0, 0.5
    while step:
        fraction += place * (step & 1)
        step, place = step >> 1, place / 2
    return fraction


def _line(num_frames: int, length: int, overlap: int, phase: float, every: int = 1) -> list[list[int]]:
    """The fewest windows that cover the clip from end to end with at least ``overlap`` frames in common.

    The first window begins with the clip and the last one ends with it. Between them lies slack: phase 0 leaves all
    of it at the end, phase 1 would leave all of it at the beginning.
    """
    if num_frames <= length:
        return [_run(0, num_frames)]
    last = num_frames - ((length - 1) * every + 1)
    hop = length * every - overlap
    count = math.ceil(last / hop) + 1
    early = [min(i * hop, last) for i in range(count)]
    late = [max(last - i * hop, 0) for i in reversed(range(count))]
    # Rounded in one direction, so that equal shifts stay equal and no gap opens between neighbours.
    return [_run(a - int(phase * (a - b)), length, every) for a, b in zip(early, late, strict=True)]


def _ring(num_frames: int, length: int, overlap: int, stride: int, step: int, reach: int) -> list[list[int]]:
    if num_frames <= length:
        return [_run(0, num_frames)]
    phase = bit_reversed_fraction(step)
    turn = round(num_frames * phase)
    windows = []
    for every in (1, *_wide_steps(num_frames, length, stride)):
        first = turn + int(phase * every)
        for start in range(first, turn + reach, length * every - overlap):
            windows.append([frame % num_frames for frame in _run(start, length, every)])
    return windows


def _run(start: int, length: int, every: int = 1) -> list[int]:
    return list(range(start, start + length * every, every))


def _wide_steps(num_frames: int, length: int, stride: int) -> Iterator[int]:
    """2, 4, … 2^(stride - 1), as far as such a window still fits into the clip: beyond, it would meet itself."""
    for exponent in range(1, stride):
        if length << exponent > num_frames:
            return
        yield 1 << exponent
