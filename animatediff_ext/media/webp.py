"""Animated WebP, assembled by hand from pictures that Pillow encodes one by one.

libwebp's own animation encoder, and with it Pillow's and FFmpeg's, keeps the whole clip in memory until the end. The
container is simple enough to write while frames arrive: https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, features

from animatediff_ext.media.comments import clean_comment
from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.files import new_file
from animatediff_ext.media.frames import Frames, rgb_frames
from animatediff_ext.media.options import DEFAULT_OPTIONS, EncodeOptions
from animatediff_ext.media.timing import checked_loops, frame_rate, start_of

MAX_SIDE = 16383
MIN_DELAY_MS = 11
"""Browsers show a frame with less for a tenth of a second instead, as they do with GIFs."""
_HAS_ANIMATION, _HAS_EXIF = 0x02, 0x08  # flags of VP8X
_DO_NOT_BLEND = 0x02  # flag of ANMF: the frame replaces what was there
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7  # types of TIFF


def write_webp(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
) -> Path:
    """Write an animated WebP and return its path.

    Starts of frames are rounded to milliseconds. Above 90 fps, which browsers do not show, frames are left out to keep
    the time. ``loops`` is the number of plays, 0 for ever. The comment becomes the EXIF UserComment, where the WebUI
    looks for it. Raises ``MediaError``.
    """
    rate, loops, exif = frame_rate(fps), checked_loops(loops), exif_with(clean_comment(comment))
    if not features.check("webp"):
        raise MediaError("This build of Pillow cannot write WebP; install another one, or save as GIF, MP4 or PNG.")
    with new_file(path) as part, part.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        shown, shown_from = None, 0
        for index, rgb in enumerate(rgb_frames(frames)):
            start = start_of(index, rate, 1000)
            if shown is None:
                _write_head(file, rgb.shape[1], rgb.shape[0], loops, has_exif=bool(exif))
            elif start - shown_from < MIN_DELAY_MS:
                continue
            else:
                _write_frame(file, shown, start - shown_from, options)
            shown, shown_from = rgb, start
        _write_frame(file, shown, start_of(index + 1, rate, 1000) - shown_from, options)
        if exif:
            _write_chunk(file, b"EXIF", exif)
        size = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", size - 8))
    return Path(path)


def exif_with(comment: str) -> bytes:
    """The smallest EXIF block that holds ``comment`` as UserComment; empty for an empty comment.

    A TIFF of two directories: the first points to the second, which points to the text. UTF-16 big-endian whatever the
    byte order of the block: that is what piexif, and so the WebUI, writes and reads.
    """
    if not comment:
        return b""
    text = b"UNICODE\0" + comment.encode("utf-16-be")
    head = b"MM\0*" + struct.pack(">I", 8)
    to_second = struct.pack(">HHHIII", 1, _EXIF_IFD, _LONG, 1, 26, 0)
    to_text = struct.pack(">HHHIII", 1, _USER_COMMENT, _UNDEFINED, len(text), 44, 0)
    return head + to_second + to_text + text


def comment_in(exif: bytes) -> str:
    """The UserComment of an EXIF block as the WebUI and this package write it; empty if there is none."""
    block = Image.Exif()
    block.load(exif)
    text = block.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if not isinstance(text, bytes):
        return ""
    if text.startswith(b"UNICODE\0"):
        return text[8:].decode("utf-16-be", "replace")
    return text[8:].decode("utf-8", "replace").strip("\0")


def chunks_of(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and size of each chunk of a WebP file, with ``file`` at its first byte for the caller to read."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        start = file.tell()
        yield name, size
        file.seek(start + size + size % 2)


def _write_head(file: BinaryIO, width: int, height: int, loops: int, *, has_exif: bool) -> None:
    if max(width, height) > MAX_SIDE:
        raise MediaError(f"A frame is {width}×{height}; WebP holds at most {MAX_SIDE}×{MAX_SIDE}. Save as MP4 or PNG.")
    flags = _HAS_ANIMATION | (_HAS_EXIF if has_exif else 0)
    _write_chunk(file, b"VP8X", struct.pack("<I", flags) + _uint24(width - 1) + _uint24(height - 1))
    background_bgra = b"\xff\xff\xff\xff"
    _write_chunk(file, b"ANIM", background_bgra + struct.pack("<H", loops))


def _write_frame(file: BinaryIO, rgb, duration_ms: int, options: EncodeOptions) -> None:
    picture = io.BytesIO()
    Image.fromarray(rgb).save(picture, "WEBP", quality=options.webp_quality, lossless=options.webp_lossless)
    height, width = rgb.shape[:2]
    place = _uint24(0) + _uint24(0) + _uint24(width - 1) + _uint24(height - 1)
    bitstream = picture.getvalue()[12:]  # a still picture is RIFF, size, WEBP, and then what a frame holds
    _write_chunk(file, b"ANMF", place + _uint24(duration_ms) + bytes([_DO_NOT_BLEND]) + bitstream)


def _write_chunk(file: BinaryIO, name: bytes, payload: bytes) -> None:
    file.write(struct.pack("<4sI", name, len(payload)) + payload + b"\0" * (len(payload) % 2))


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
