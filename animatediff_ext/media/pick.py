"""Single frames of a clip, exactly those that are asked for.

Axes: f frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from PIL import ImageSequence

from animatediff_ext.media.delays import gif_delays_ms, webp_delays_ms
from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.seek import video_frames_at, video_timeline
from animatediff_ext.media.source import Source, head_of, kind_of, name_of, opened_picture
from animatediff_ext.media.timeline import Timeline
from animatediff_ext.media.upright import upright_rgb

_PICTURE_HEADS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")  # PNG, JPEG, BMP, TIFF


def timeline_of(source: Source) -> Timeline:
    """When each frame of a video, a GIF or a WebP is shown; a picture is one frame.

    Videos are not decoded where their packets tell. Raises ``MediaError``, also for a folder of pictures, which has no
    times.
    """
    return _READERS[_kind(source)].timeline(source)


def frame_times(source: Source) -> list[float]:
    """Seconds from the first frame, of every frame in display order. Errors are those of ``timeline_of``."""
    return timeline_of(source).times_s().tolist()


def frames_at(
    source: Source,
    numbers: Sequence[int],
    *,
    timeline: Timeline | None = None,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Frames by their number in display order: uint8 ``f h w 3``, in the order of ``numbers``, which may repeat.

    ``timeline``, where it is known from ``timeline_of``, saves reading through the file. ``prepare`` makes of each
    frame, ``h w 3``, what is kept of it. Videos are decoded by one thread, from the key picture before the first of the
    numbers to the last of them. Raises ``MediaError``.
    """
    timeline = timeline or timeline_of(source)
    rows = np.asarray(numbers)
    assert rows.ndim == 1, rows.shape
    assert rows.size
    if rows.min() < 0 or rows.max() >= timeline.num_frames:
        raise MediaError(
            f"{name_of(source)} has {timeline.num_frames} frames, 0 to {timeline.num_frames - 1}, "
            f"but {rows.min()} to {rows.max()} are asked for; choose others."
        )
    clip = None
    for number, rgb in _READERS[_kind(source)].frames_at(source, timeline, np.unique(rows).tolist()):
        kept = rgb if prepare is None else prepare(rgb)
        if clip is None:
            clip = np.empty((len(rows), *kept.shape), np.uint8)
        if kept.shape != clip.shape[1:]:
            raise MediaError(f"{name_of(source)} changes its size at frame {number}; make or download it anew.")
        clip[rows == number] = kept
    return clip


@dataclass(frozen=True)
class _Reader:
    timeline: Callable[[Source], Timeline]
    frames_at: Callable[[Source, Timeline, Sequence[int]], Iterator[tuple[int, np.ndarray]]]
    """Yields each of the ascending numbers with its frame."""


def _kind(source: Source) -> str:
    kind = kind_of(source)
    if kind == "folder":
        raise MediaError(
            f"{name_of(source)} is a folder, which has no times; give a video, a GIF, a WebP or a picture."
        )
    if kind == "video" and head_of(source).startswith(_PICTURE_HEADS):
        return "video" if _is_animated_png(source) else "picture"
    return kind


def _is_animated_png(source: Source) -> bool:
    """Which FFmpeg plays; other pictures of several pages do not move."""
    with opened_picture(source) as picture:
        return picture.format == "PNG" and getattr(picture, "is_animated", False)


def _still_timeline(source: Source) -> Timeline:
    return Timeline.of([0], 1)


def _gif_timeline(source: Source) -> Timeline:
    return _timeline_of_delays(gif_delays_ms(source))


def _webp_timeline(source: Source) -> Timeline:
    return _timeline_of_delays(webp_delays_ms(source))


def _timeline_of_delays(delays_ms: list[int]) -> Timeline:
    return Timeline.of([0, *accumulate(delays_ms[:-1])], 1000)


def _moving_pictures_at(source: Source, timeline: Timeline, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    missing = list(numbers)
    with opened_picture(source) as picture:
        for number, frame in enumerate(ImageSequence.Iterator(picture)):
            if number == missing[0]:
                yield missing.pop(0), upright_rgb(frame)
            if not missing:
                return
    raise MediaError(f"{name_of(source)} ends before frame {missing[0]}; make or download it anew.")


def _picture_at(source: Source, timeline: Timeline, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    with opened_picture(source) as picture:
        yield 0, upright_rgb(picture)


_READERS = {
    "gif": _Reader(_gif_timeline, _moving_pictures_at),
    "webp": _Reader(_webp_timeline, _moving_pictures_at),
    "picture": _Reader(_still_timeline, _picture_at),
    "video": _Reader(video_timeline, video_frames_at),
}
