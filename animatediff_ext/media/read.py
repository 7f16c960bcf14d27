"""Clips from files: what is in one, its frames, its comment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from animatediff_ext.media.delays import gif_delays_ms, webp_delays_ms
from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.source import Source, kind_of, opened_file, opened_picture, opened_video
from animatediff_ext.media.upright import upright, upright_picture, upright_rgb
from animatediff_ext.media.webp import chunks_of, comment_in

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What a file or folder of frames holds."""

    format: str
    """GIF, WEBP, MP4, WEBM or what else the container is; PNG for a folder of pictures."""
    codec: str
    width: int
    height: int
    num_frames: int
    fps: float | None
    """Mean frames per second; None for a folder, which does not say."""
    duration_s: float | None
    comment: str


def probe(path: str | os.PathLike) -> ClipInfo:
    """What is in the clip at ``path``: a GIF, a WebP, a video, or a folder of pictures. Raises ``MediaError``."""
    path = Path(path)
    return _READERS[kind_of(path)].probe(path)


def read_frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Yield the frames of the clip at ``path`` as uint8 arrays ``h w 3``, one in memory at a time.

    Pictures of a folder come in the order of their names with numbers read as numbers (2 before 10), each in its own
    size. Raises ``MediaError``: at once for a path with no clip, later for a file that is damaged further on.
    """
    path = Path(path)
    return _READERS[kind_of(path)].frames(path)


def read_comment(source: Source) -> str:
    """The comment of a clip (of a folder: its first picture's), empty if none. Raises ``MediaError``."""
    source = source if isinstance(source, bytes) else Path(source)
    return _READERS[kind_of(source)].comment(source)


@dataclass(frozen=True)
class _Reader:
    probe: Callable[[Path], ClipInfo]
    frames: Callable[[Path], Iterator[np.ndarray]]
    comment: Callable[[Path | bytes], str]


# ---------------------------------------------------------------------------------------------- GIF and WebP, by Pillow


def _probe_gif(path: Path) -> ClipInfo:
    with opened_picture(path) as picture:
        return _picture_info(path, picture, "GIF", gif_delays_ms(path))


def _gif_comment(source: Path | bytes) -> str:
    with opened_picture(source) as picture:
        comment = picture.info.get("comment", b"")
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment


def _probe_webp(path: Path) -> ClipInfo:
    with opened_picture(path) as picture:
        return _picture_info(path, picture, "WEBP", webp_delays_ms(path))


def _webp_comment(source: Path | bytes) -> str:
    with opened_file(source) as file:
        for name, size in chunks_of(file):
            if name == b"EXIF":
                return comment_in(file.read(size))
    return ""


def _picture_info(path: Path, picture: Image.Image, format: str, delays_ms: list[int]) -> ClipInfo:
    num_frames, duration_ms = len(delays_ms), sum(delays_ms)
    width, height = upright_picture(picture).size
    return ClipInfo(
        format=format,
        codec=format.lower(),
        width=width,
        height=height,
        num_frames=num_frames,
        fps=num_frames * 1000 / duration_ms,
        duration_s=duration_ms / 1000,
        comment=read_comment(path),
    )


def _picture_frames(path: Path) -> Iterator[np.ndarray]:
    with opened_picture(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            yield upright_rgb(frame)


# ------------------------------------------------------------------------------------------------ a folder of pictures


def _probe_folder(path: Path) -> ClipInfo:
    pictures = pictures_in(path)
    with opened_picture(pictures[0]) as first:
        width, height = upright_picture(first).size
    return ClipInfo(
        format="PNG",
        codec=pictures[0].suffix[1:].lower(),
        width=width,
        height=height,
        num_frames=len(pictures),
        fps=None,
        duration_s=None,
        comment=_folder_comment(path),
    )


def _folder_frames(path: Path) -> Iterator[np.ndarray]:
    for file in pictures_in(path):
        with opened_picture(file) as picture:
            yield upright_rgb(picture)


def _folder_comment(path: Path) -> str:
    with opened_picture(pictures_in(path)[0]) as first:
        return first.info.get("parameters", "")


def pictures_in(path: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers read as numbers. Raises ``MediaError``."""
    try:
        pictures = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_ENDINGS and file.name[0] != "."]
    except OSError as error:
        raise MediaError(f"The folder {path} cannot be read ({error.strerror}); choose another one.") from error
    if not pictures:
        raise MediaError(f"The folder {path} has no pictures; it needs files that end in {', '.join(PICTURE_ENDINGS)}.")
    return sorted(pictures, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


# --------------------------------------------------------------------------------------------------- videos, by PyAV


def _probe_video(path: Path) -> ClipInfo:
    with opened_video(path) as (file, stream):
        first = next(file.decode(stream), None)
        if first is None:
            raise MediaError(f"{path} has no frame that can be decoded; make or download it anew.")
        height, width = upright(first).shape[:2]
        num_frames = stream.frames
    with opened_video(path) as (file, stream):
        # Matroska and WebM do not say how many frames they hold.
        num_frames = num_frames or sum(1 for packet in file.demux(stream) if packet.size)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        return ClipInfo(
            format=_container_name(path, file),
            codec=stream.codec_context.name,
            width=width,
            height=height,
            num_frames=num_frames,
            fps=fps or None,
            duration_s=_duration_s(file, stream, num_frames, fps),
            comment=_comment_of(file),
        )


def _duration_s(file, stream, num_frames: int, fps: float) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if file.duration:
        return file.duration / 1e6  # FFmpeg's AV_TIME_BASE
    return num_frames / fps if fps else None


def _container_name(path: Path, file) -> str:
    """FFmpeg's names are lists, such as mov,mp4,m4a; the file's own ending tells which, if it is in there."""
    names, ending = file.format.name.split(","), path.suffix[1:].lower()
    usual = {"mov": "mp4", "matroska": "mkv"}.get(names[0], names[0])
    return (ending if ending in names else usual).upper()


def _video_frames(path: Path) -> Iterator[np.ndarray]:
    with opened_video(path) as (file, stream):
        stream.thread_type = "AUTO"
        for frame in file.decode(stream):
            yield upright(frame)


def _video_comment(source: Path | bytes) -> str:
    with opened_video(source) as (file, _):
        return _comment_of(file)


def _comment_of(file) -> str:
    """Matroska spells its keys in capitals."""
    return next((value for key, value in file.metadata.items() if key.lower() == "comment"), "")


_READERS = {
    "gif": _Reader(_probe_gif, _picture_frames, _gif_comment),
    "webp": _Reader(_probe_webp, _picture_frames, _webp_comment),
    "folder": _Reader(_probe_folder, _folder_frames, _folder_comment),
    "video": _Reader(_probe_video, _video_frames, _video_comment),
}
