"""Clips from files: what is in one, its frames, its comment."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.pyav import load_pyav
from animatediff_ext.media.webp import chunks_of, comment_in

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# FFmpeg would also "play" text, playlists that name other files and addresses, and single pictures. A file may come
# from anybody who can reach the WebUI's API, so only files that are videos themselves are opened.
CONTAINERS = "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,nut,ivf,mxf,apng"
_READABLE = "choose a video, a GIF, a WebP or a folder of pictures"
_BROWSER_FRAME_MS = 100  # what browsers make of a GIF whose delays are zero
_HD_HEIGHT = 720
# What Pillow raises for damaged files, and for those made to fill the memory.
_DAMAGED = (OSError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


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
    return _READERS[_kind(path)].probe(path)


def read_frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Yield the frames of the clip at ``path`` as uint8 arrays ``h w 3``, one in memory at a time.

    Pictures of a folder come in the order of their names with numbers read as numbers (2 before 10), each in its own
    size. Raises ``MediaError``: at once for a path with no clip, later for a file that is damaged further on.
    """
    path = Path(path)
    return _READERS[_kind(path)].frames(path)


def read_comment(path: str | os.PathLike) -> str:
    """The comment of the clip at ``path`` (of a folder: its first picture's), empty if none. Raises ``MediaError``."""
    path = Path(path)
    return _READERS[_kind(path)].comment(path)


@dataclass(frozen=True)
class _Reader:
    probe: Callable[[Path], ClipInfo]
    frames: Callable[[Path], Iterator[np.ndarray]]
    comment: Callable[[Path], str]


def _kind(path: Path) -> str:
    """Which reader ``path`` needs, by what it is and not by what it is called."""
    if path.is_dir():
        return "folder"
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise MediaError(
            f"{path} cannot be read ({error.strerror}); give the path of a video or of a folder."
        ) from error
    if head[:4] == b"GIF8":
        return "gif"
    return "webp" if head[:4] == b"RIFF" and head[8:] == b"WEBP" else "video"


# ---------------------------------------------------------------------------------------------- GIF and WebP, by Pillow


def _probe_gif(path: Path) -> ClipInfo:
    with _picture(path) as picture:
        num_frames = picture.n_frames
        duration_ms = sum(frame.info.get("duration", 0) for frame in ImageSequence.Iterator(picture))
        return _still_info(path, picture, "GIF", num_frames, duration_ms or num_frames * _BROWSER_FRAME_MS)


def _gif_comment(path: Path) -> str:
    with _picture(path) as picture:
        comment = picture.info.get("comment", b"")
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment


def _probe_webp(path: Path) -> ClipInfo:
    with path.open("rb") as file:
        durations = [int.from_bytes(file.read(16)[12:15], "little") for name, _ in chunks_of(file) if name == b"ANMF"]
    with _picture(path) as picture:
        # A WebP that does not move has no such chunk, and no time.
        return _still_info(path, picture, "WEBP", len(durations) or 1, sum(durations) or _BROWSER_FRAME_MS)


def _webp_comment(path: Path) -> str:
    with path.open("rb") as file:
        for name, size in chunks_of(file):
            if name == b"EXIF":
                return comment_in(file.read(size))
    return ""


def _still_info(path: Path, picture: Image.Image, format: str, num_frames: int, duration_ms: int) -> ClipInfo:
    return ClipInfo(
        format=format,
        codec=format.lower(),
        width=picture.width,
        height=picture.height,
        num_frames=num_frames,
        fps=num_frames * 1000 / duration_ms,
        duration_s=duration_ms / 1000,
        comment=read_comment(path),
    )


def _picture_frames(path: Path) -> Iterator[np.ndarray]:
    with _picture(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            yield np.array(frame.convert("RGB"))


@contextmanager
def _picture(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            yield picture
    except _DAMAGED as error:
        raise MediaError(f"{path} is damaged or no picture ({error}); make or download it anew.") from error


# ------------------------------------------------------------------------------------------------ a folder of pictures


def _probe_folder(path: Path) -> ClipInfo:
    pictures = _pictures_in(path)
    with _picture(pictures[0]) as first:
        width, height = first.size
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
    for file in _pictures_in(path):
        with _picture(file) as picture:
            yield np.array(picture.convert("RGB"))


def _folder_comment(path: Path) -> str:
    with _picture(_pictures_in(path)[0]) as first:
        return first.info.get("parameters", "")


def _pictures_in(path: Path) -> list[Path]:
    try:
        pictures = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_ENDINGS]
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
    with _video(path) as (file, stream):
        first = next(file.decode(stream), None)
        if first is None:
            raise MediaError(f"{path} has no frame that can be decoded; make or download it anew.")
        height, width = _upright(first).shape[:2]
        num_frames = stream.frames
    with _video(path) as (file, stream):
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
    with _video(path) as (file, stream):
        stream.thread_type = "AUTO"
        for frame in file.decode(stream):
            yield _upright(frame)


def _video_comment(path: Path) -> str:
    with _video(path) as (file, _):
        return _comment_of(file)


def _comment_of(file) -> str:
    """Matroska spells its keys in capitals."""
    return next((value for key, value in file.metadata.items() if key.lower() == "comment"), "")


def _upright(frame) -> np.ndarray:
    """A decoded frame → ``h w 3``, turned as players turn it: phones film sideways and note the angle."""
    rgb = _rgb_of(frame)
    quarters = round(getattr(frame, "rotation", 0) / 90)  # PyAV 12 does not tell
    return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters else rgb


def _rgb_of(frame) -> np.ndarray:
    """With the matrix that the file names; where it names none, by height as players do."""
    from av.video.reformatter import ColorRange, Colorspace

    # Rec. ITU-T H.273: 1 is BT.709, 2 is "unspecified", 5 and 6 are BT.601, 7 is SMPTE 240M
    unnamed = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    matrices = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M}
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    matrix = matrices.get(int(frame.colorspace), unnamed)
    return frame.reformat(
        format="rgb24",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full or frame.format.is_rgb else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    ).to_ndarray()


@contextmanager
def _video(path: Path):
    """Lend the open container and its first video stream."""
    av = load_pyav("Reading video")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        with av.open(str(path.absolute()), options=options, metadata_errors="replace") as file:
            if not file.streams.video:
                raise MediaError(f"{path} has no video in it; {_READABLE}.")
            yield file, file.streams.video[0]
    except av.FFmpegError as error:
        raise MediaError(f"{path} is no video that can be read ({error.strerror}); {_READABLE}.") from error


_READERS = {
    "gif": _Reader(_probe_gif, _picture_frames, _gif_comment),
    "webp": _Reader(_probe_webp, _picture_frames, _webp_comment),
    "folder": _Reader(_probe_folder, _folder_frames, _folder_comment),
    "video": _Reader(_probe_video, _video_frames, _video_comment),
}
