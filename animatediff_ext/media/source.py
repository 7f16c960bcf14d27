"""Where a clip comes from, what it is, and how it is opened: pictures by Pillow, videos by PyAV."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.pyav import load_pyav

Source = str | os.PathLike | bytes
"""The path of a file, or what is in it."""

# FFmpeg would also "play" text, playlists that name other files and addresses, and single pictures. A file may come
# from anybody who can reach the WebUI's API, so only files that are videos themselves are opened.
CONTAINERS = "mov,mp4,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,nut,ivf,mxf,apng"
_READABLE = "choose a video, a GIF, a WebP or a folder of pictures"
# What Pillow raises for damaged files, and for those made to fill the memory.
_DAMAGED = (OSError, SyntaxError, EOFError, IndexError, ValueError, struct.error, Image.DecompressionBombError)


def name_of(source: Source) -> str:
    """What messages call it. They begin with this name."""
    return "The clip" if isinstance(source, bytes) else os.fspath(source)


def kind_of(source: Source) -> str:
    """``folder``, ``gif``, ``webp`` or ``video``, by what is in it and not by what it is called.

    What is none of the others counts as a video, and is refused when it is opened. Raises ``MediaError`` if there is
    nothing that can be read.
    """
    head = head_of(source)
    if head is None:
        return "folder"
    if head[:4] == b"GIF8":
        return "gif"
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else "video"


def head_of(source: Source) -> bytes | None:
    """The first twelve bytes, None for a folder. Raises ``MediaError``."""
    if isinstance(source, bytes):
        return source[:12]
    if Path(source).is_dir():
        return None
    try:
        with open(source, "rb") as file:
            return file.read(12)
    except OSError as error:
        raise MediaError(
            f"{name_of(source)} cannot be read ({error.strerror}); give the path of a file or folder that is there."
        ) from error


def opened_file(source: Source):
    """A file object of bytes, to be closed by the caller."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


@contextmanager
def opened_picture(source: Source) -> Iterator[Image.Image]:
    """Lend the picture. What is damaged further on raises ``MediaError`` as well, as long as it is lent."""
    try:
        with opened_file(source) as file, Image.open(file) as picture:
            yield picture
    except MediaError:
        raise
    except _DAMAGED as error:
        raise MediaError(f"{name_of(source)} is damaged or no picture ({error}); make or download it anew.") from error


@contextmanager
def opened_video(source: Source):
    """Lend the open container and its first video stream; ``MediaError`` as with ``opened_picture``."""
    av = load_pyav("Reading video")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    # An absolute path: FFmpeg would take the start of "a:b.mp4" for the name of a protocol.
    target = io.BytesIO(source) if isinstance(source, bytes) else str(Path(source).absolute())
    try:
        with av.open(target, options=options, metadata_errors="replace") as file:
            if not file.streams.video:
                raise MediaError(f"{name_of(source)} has no video in it; {_READABLE}.")
            if file.streams.video[0].codec_context is None:
                raise MediaError(f"{name_of(source)} has a video of an unknown codec; convert it to MP4.")
            yield file, file.streams.video[0]
    except av.FFmpegError as error:
        raise MediaError(f"{name_of(source)} is no video that can be read ({error.strerror}); {_READABLE}.") from error
