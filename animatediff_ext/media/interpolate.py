"""More frames per second: new frames between the old ones, by FFmpeg's motion-compensated interpolation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.frames import Frames, padded, rgb_frames
from animatediff_ext.media.pyav import load_pyav, pulled
from animatediff_ext.media.timing import frame_rate

MIN_SIDE = 32  # minterpolate refuses less: two blocks of 16
NUM_FRAMES_HELD = 2  # by minterpolate: frames that it needs after one to show it, and never gives back
# Motion from both sides, overlapping blocks of adaptive weight and size. No detection of cuts: it takes the large steps
# of a clip with 8 fps for cuts, and repeats frames there.
_SETTINGS = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"


def interpolated(frames: Frames, *, fps: float, factor: int) -> Frames:
    """``frames`` at ``fps`` → frames at ``fps * factor`` that last as long: motion gets smoother, not slower.

    n frames become ``(n - 1) * factor + 1`` uint8 arrays ``h w 3``: every frame of the clip, unchanged, with
    ``factor - 1`` new ones between each two; nothing comes after the last. The work is done while the result is
    iterated, anew each time, and a few frames are kept in memory. A factor of 1 returns ``frames`` itself. Raises
    ``MediaError``.
    """
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise MediaError(
            f"The interpolation factor is {factor!r}; it must be a whole number, 1 or more (1 changes nothing)."
        )
    rate = frame_rate(fps)
    if factor == 1:
        return frames
    load_pyav("Interpolation")
    return _Interpolated(frames, rate, factor)


class _Interpolated:
    def __init__(self, frames: Frames, rate: Fraction, factor: int) -> None:
        self._frames, self._rate, self._factor = frames, rate, factor

    def __len__(self) -> int:
        return max((len(self._frames) - 1) * self._factor + 1, 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        av = load_pyav("Interpolation")
        originals: deque[np.ndarray] = deque()
        between = self._between(av, originals)
        for index, new in enumerate(between):
            # The filter works in YUV; what needs no work keeps its exact colours.
            yield originals.popleft() if index % self._factor == 0 else new
            if not originals:
                return

    def _between(self, av, originals: deque[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield what the filter makes, from the first frame to the last and on; append what is read to the queue."""
        filters = None
        for index, rgb in enumerate(rgb_frames(self._frames)):
            originals.append(rgb)
            height, width = rgb.shape[:2]
            last = padded(rgb, least=MIN_SIDE)
            filters = filters or _Filters(av, last.shape[0], last.shape[1], self._rate, self._factor)
            for new in filters.passed(last, index):
                yield new[:height, :width]
        for held in range(NUM_FRAMES_HELD):
            for new in filters.passed(last, index + 1 + held):
                yield new[:height, :width]


class _Filters:
    """FFmpeg's graph: ``h w 3`` arrays at one rate in, at ``factor`` times that rate out."""

    def __init__(self, av, height: int, width: int, rate: Fraction, factor: int) -> None:
        self._av = av
        self._graph = av.filter.Graph()  # the filters die with it
        self._source = self._graph.add_buffer(width=width, height=height, format="rgb24", time_base=1 / rate)
        steps = [
            self._graph.add("format", "yuv444p"),  # or the filter would choose one with fewer colours
            self._graph.add("minterpolate", f"fps={rate * factor}:{_SETTINGS}"),
            self._graph.add("format", "rgb24"),
            self._graph.add("buffersink"),
        ]
        for before, after in zip([self._source, *steps], steps, strict=False):
            before.link_to(after)
        self._graph.configure()
        self._sink = steps[-1]

    def passed(self, rgb: np.ndarray, index: int) -> Iterator[np.ndarray]:
        """Give frame ``index``; yield what comes out now."""
        frame = self._av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts = index
        self._source.push(frame)
        for new in pulled(self._sink):
            yield new.to_ndarray()
