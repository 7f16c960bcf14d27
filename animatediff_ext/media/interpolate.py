"""More frames per second: new frames between the old ones, by FFmpeg's motion-compensated interpolation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain

import numpy as np

from animatediff_ext.media.cuts import is_cut
from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.frames import Frames, padded, rgb_frames
from animatediff_ext.media.pyav import load_pyav, pulled
from animatediff_ext.media.timing import frame_rate

MIN_SIDE = 32  # minterpolate refuses less: two blocks of 16
NUM_FRAMES_HELD = 2  # by minterpolate: frames that it needs after one to show it, and never gives back
# Motion from both sides, overlapping blocks of adaptive weight and size. Its own detection of cuts is off: it takes
# the large steps of a clip with 8 fps for cuts, and repeats frames there.
_SETTINGS = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"


def interpolated(frames: Frames, *, fps: float, factor: int, closed: bool = False) -> Frames:
    """``frames`` at ``fps`` → frames at ``fps * factor`` that last as long: motion gets smoother, not slower.

    n frames become ``(n - 1) * factor + 1`` uint8 arrays ``h w 3``: every frame of the clip, unchanged, with
    ``factor - 1`` new ones between each two; nothing comes after the last. In a ``closed`` loop the first frame is
    what follows the last one, and n frames become ``n * factor``. Where the scene changes (`cuts`) the new frames
    repeat the nearer of the two. The work is done while the result is iterated, anew each time, and a few frames are
    kept in memory. A factor of 1 returns ``frames`` itself. Raises ``MediaError``.
    """
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise MediaError(
            f"The interpolation factor is {factor!r}; it must be a whole number, 1 or more (1 changes nothing)."
        )
    rate = frame_rate(fps)
    if factor == 1:
        return frames
    load_pyav("Interpolation")
    return _Interpolated(frames, rate, factor, closed)


class _Interpolated:
    def __init__(self, frames: Frames, rate: Fraction, factor: int, closed: bool) -> None:
        self._frames, self._rate, self._factor, self._closed = frames, rate, factor, closed

    def __len__(self) -> int:
        num_frames = len(self._frames)
        return num_frames * self._factor if self._closed else max((num_frames - 1) * self._factor + 1, 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        frames = rgb_frames(self._frames)
        if not self._closed:
            return self._of_scenes(frames)
        first = next(frames)
        # The first frame once more, at the end, is shown by the loop's next round.
        return _without_last(self._of_scenes(chain([first], frames, [first])))

    def _of_scenes(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        before = None
        for scene in _scenes(frames):
            for index, new in enumerate(self._of_scene(scene)):
                if index == 0 and before is not None:
                    for i in range(1, self._factor):
                        yield before if 2 * i < self._factor else new
                yield new
            before = new

    def _of_scene(self, scene: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        av = load_pyav("Interpolation")
        originals: deque[np.ndarray] = deque()
        for index, new in enumerate(self._between(av, scene, originals)):
            # The filter works in YUV; what needs no work keeps its exact colours.
            yield originals.popleft() if index % self._factor == 0 else new
            if not originals:
                return

    def _between(self, av, scene: Iterable[np.ndarray], originals: deque[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield what the filter makes, from the first frame to the last and on; append what is read to the queue."""
        filters = None
        for index, rgb in enumerate(scene):
            originals.append(rgb)
            height, width = rgb.shape[:2]
            last = padded(rgb, least=MIN_SIDE)
            filters = filters or _Filters(av, last.shape[0], last.shape[1], self._rate, self._factor)
            for new in filters.passed(last, index):
                yield new[:height, :width]
        for held in range(NUM_FRAMES_HELD):
            for new in filters.passed(last, index + 1 + held):
                yield new[:height, :width]


def _scenes(frames: Iterable[np.ndarray]) -> Iterator[Iterator[np.ndarray]]:
    """The clip cut where the scene changes. Each scene must be read to its end before the next one is asked for."""
    frames = iter(frames)
    waiting = deque([next(frames)])

    def scene() -> Iterator[np.ndarray]:
        before = waiting.popleft()
        yield before
        for frame in frames:
            if is_cut(before, frame):
                waiting.append(frame)
                return
            before = frame
            yield frame

    while waiting:
        yield scene()


def _without_last(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    frames = iter(frames)
    before = next(frames)
    for frame in frames:
        yield before
        before = frame


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
