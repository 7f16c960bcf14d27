"""Frames of a video by the tick at which they are shown, without decoding what comes before their key picture.

A frame is known by its tick, never by counting from where a seek landed: with B-frames, open groups of pictures and
edit lists, containers land on other key pictures than one would think.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise

import numpy as np

from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.pyav import load_pyav
from animatediff_ext.media.source import Source, name_of, opened_video
from animatediff_ext.media.timeline import Timeline
from animatediff_ext.media.upright import upright

_WITH_DISPLAY_TIMES = {"mov", "matroska", "mpegts", "flv", "nut"}
"""Containers that say of each picture when it is shown. AVI says when it is decoded, MPEG-PS says it now and then."""
_WITH_HIDDEN_PICTURES = ("vp8",)
"""Codecs whose packets may hold pictures that are only referred to, never shown."""
_MAX_SEEKS = 8
_FPS_OF_CLIPS_WITHOUT_ANY = 25


def video_timeline(source: Source) -> Timeline:
    """From the packets, which is fast; by decoding all frames where the packets do not tell. Raises ``MediaError``."""
    with opened_video(source) as (file, stream):
        if stream.codec_context.name in _WITH_HIDDEN_PICTURES or not _has_display_times(file):
            return _decoded_timeline(source)
        ticks = _ticks_of_packets(file, stream)
        if None in ticks or len(set(ticks)) < len(ticks) or not ticks:
            return _decoded_timeline(source)
        return Timeline.of(sorted(ticks), 1 / stream.time_base)


def video_frames_at(source: Source, timeline: Timeline, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each number, counted in display order, with its frame ``h w 3``.

    ``numbers`` ascend, each once. Raises ``MediaError`` when one of these frames cannot be decoded.
    """
    if timeline.counted:
        yield from _counted_frames(source, numbers)
        return
    ticks = timeline.ticks()[list(numbers)].tolist()
    missing = dict(zip(ticks, numbers, strict=True))
    for start in (ticks[0], None):
        for frame in _frames_until(source, start, ticks[-1]):
            if frame.pts in missing:
                yield missing.pop(frame.pts), _sound(source, frame)
        if not missing:
            return
    raise _lacks(source, min(missing.values()))


def _has_display_times(file) -> bool:
    return file.format.name.split(",")[0] in _WITH_DISPLAY_TIMES


def _ticks_of_packets(file, stream) -> list[int | None]:
    """Of every picture that is shown, in the order of decoding; None for a packet that does not tell."""
    ticks, first_key = [], None
    for packet in file.demux(stream):
        if packet.is_keyframe and first_key is None:
            first_key = packet.pts if packet.pts is not None else 0
        if packet.size and first_key is not None and not packet.is_discard and not packet.is_corrupt:
            ticks.append(packet.pts)
    # Pictures shown before the first key picture refer to what was cut off, and are not decoded.
    return [tick for tick in ticks if tick is None or tick >= first_key]


def _decoded_timeline(source: Source) -> Timeline:
    with opened_video(source) as (file, stream):
        ticks = [frame.pts for frame in file.decode(stream)]
        ticks_per_second = 1 / stream.time_base
        fps = stream.average_rate or stream.guessed_rate or Fraction(_FPS_OF_CLIPS_WITHOUT_ANY)
        counted = not _has_display_times(file) or None in ticks or any(b <= a for a, b in pairwise(ticks))
    if not ticks:
        raise MediaError(f"{name_of(source)} has no frame that can be decoded; make or download it anew.")
    return Timeline.of(range(len(ticks)), fps, counted=True) if counted else Timeline.of(ticks, ticks_per_second)


def _counted_frames(source: Source, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    missing = set(numbers)
    with opened_video(source) as (file, stream):
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(file.decode(stream)):
            if number in missing:
                yield number, _sound(source, frame)
                missing.discard(number)
            if not missing:
                return
    raise _lacks(source, min(missing))


def _frames_until(source: Source, start: int | None, end: int) -> Iterator:
    """Yield decoded frames from a key picture at ``start`` or before (None: from the first) to tick ``end``."""
    with opened_video(source) as (file, stream):
        stream.codec_context.thread_count = 1
        packets = file.demux(stream) if start is None else _packets_from_key(file, stream, start)
        for packet in packets:
            for frame in packet.decode():
                yield frame
                if frame.pts is not None and frame.pts >= end:  # frames come in display order
                    return


def _packets_from_key(file, stream, tick: int) -> Iterator:
    """Packets from a key picture that is shown at ``tick`` or before; none if no seek lands on one."""
    errors = load_pyav("Reading video").FFmpegError
    target = tick
    for _ in range(_MAX_SEEKS):
        try:
            file.seek(target, stream=stream)
            packets = file.demux(stream)
            key = next((packet for packet in packets if packet.is_keyframe and packet.pts is not None), None)
        except errors:  # before the first key picture, or a container without an index
            return ()
        if key is not None and key.pts <= tick:
            return chain([key], packets)
        # Some containers seek by decoding time, and land on a picture that is shown later.
        target -= max(1, 2 * (tick - target), 0 if key is None else key.pts - tick)
    return ()


def _sound(source: Source, frame) -> np.ndarray:
    if getattr(frame, "is_corrupt", False):
        raise MediaError(f"{name_of(source)} has a frame that is damaged; make or download it anew.")
    return upright(frame)


def _lacks(source: Source, number: int) -> MediaError:
    return MediaError(f"{name_of(source)} has no frame {number} that can be decoded; make or download it anew.")
