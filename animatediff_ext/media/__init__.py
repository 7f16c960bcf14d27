"""Frames to files and back: GIF, MP4, WebM, WebP and folders of PNG, one frame in memory at a time.

    WRITERS["MP4"](frames, "clip.mp4", fps=8, comment=infotext)
    for frame in read_frames("clip.mp4"): ...

PyAV is imported by the formats that need it, when they are used.
"""

from animatediff_ext.media.errors import MediaError, StorageError
from animatediff_ext.media.interpolate import interpolated
from animatediff_ext.media.kept import kept
from animatediff_ext.media.options import EncodeOptions
from animatediff_ext.media.pick import frame_times, frames_at, timeline_of
from animatediff_ext.media.read import ClipInfo, pictures_in, probe, read_comment, read_frames
from animatediff_ext.media.small_gif import GifLimits, write_small_gif
from animatediff_ext.media.source import kind_of
from animatediff_ext.media.timeline import Timeline
from animatediff_ext.media.write import ENDINGS, WRITERS, check_formats

__all__ = [
    "ENDINGS",
    "WRITERS",
    "ClipInfo",
    "EncodeOptions",
    "GifLimits",
    "MediaError",
    "StorageError",
    "Timeline",
    "check_formats",
    "frame_times",
    "frames_at",
    "interpolated",
    "kept",
    "kind_of",
    "pictures_in",
    "probe",
    "read_comment",
    "read_frames",
    "timeline_of",
    "write_small_gif",
]
