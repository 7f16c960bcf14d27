"""GIF: colours and pictures by FFmpeg, the blocks around them by hand.

FFmpeg's GIF muxer writes no comment and must know the last delay before the first frame; Pillow keeps the whole clip in
memory. So FFmpeg's encoder makes the picture blocks, which already hold only what changed since the frame before, and
this file adds the rest of https://www.w3.org/Graphics/GIF/spec-gif89a.txt.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sized
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from animatediff_ext.media.comments import clean_comment
from animatediff_ext.media.errors import MediaError
from animatediff_ext.media.files import new_file
from animatediff_ext.media.frames import Frames, rgb_frames
from animatediff_ext.media.options import DEFAULT_OPTIONS, EncodeOptions
from animatediff_ext.media.pyav import load_pyav, pulled
from animatediff_ext.media.timing import checked_loops, frame_rate, start_of

TICKS_PER_SECOND = 100
MIN_DELAY_TICKS = 2  # browsers show a frame with less for a tenth of a second instead
_FEW_COLOURS = 4096
_DITHER = "diff_mode=rectangle"  # only inside the rectangle that changed: what stands still does not flicker
_PICTURE_CONTROL = b"\x21\xf9\x04"


class GifTooLargeError(MediaError):
    """A GIF exceeds the size that it may have; ``estimate`` is what it would have had, in bytes."""

    def __init__(self, max_bytes: int, estimate: int) -> None:
        super().__init__(f"The GIF would have about {estimate} bytes, but at most {max_bytes} are allowed.")
        self.estimate = estimate


def write_gif(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
) -> Path:
    """Write a GIF and return its path; see `write_gif_within`."""
    return write_gif_within(frames, path, fps=fps, loops=loops, comment=comment, options=options, max_bytes=None)


def write_gif_within(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
    max_bytes: int | None,
) -> Path:
    """Write a GIF and return its path.

    Starts of frames are rounded to hundredths of a second, so the whole lasts n / fps. Above 50 fps, which GIF players
    cannot show, frames are left out to keep that time. ``loops`` is the number of plays, 0 for ever. The comment
    becomes a comment block in UTF-8. ``gif_palette="clip"`` reads the frames twice. With ``max_bytes`` a file that
    gets larger is given up as soon as that is known, with `GifTooLargeError`. Raises ``MediaError``.
    """
    rate, loops, comment = frame_rate(fps), checked_loops(loops), clean_comment(comment)
    av = load_pyav("Writing GIF")
    palette = _palette_of(av, frames, options.gif_colours) if options.gif_palette == "clip" else None
    with new_file(path) as part, part.open("wb") as file:
        blocks = _Blocks(file, extensions=_loop_block(loops) + _comment_block(comment))
        pictures = rgb_frames(frames)
        encoder = None
        start = -MIN_DELAY_TICKS
        for index, rgb in enumerate(pictures):
            if start_of(index, rate, TICKS_PER_SECOND) - start < MIN_DELAY_TICKS:
                continue
            start = start_of(index, rate, TICKS_PER_SECOND)
            encoder = encoder or _Encoder(av, rgb.shape[1], rgb.shape[0], palette, options.gif_colours)
            for packet in encoder.encoded(rgb, start):
                blocks.add(*packet)
            if max_bytes is not None and file.tell() > max_bytes:
                raise GifTooLargeError(max_bytes, file.tell() * max(_number_of(frames), index + 1) // (index + 1))
        for packet in encoder.rest():
            blocks.add(*packet)
        blocks.finish(end=start_of(index + 1, rate, TICKS_PER_SECOND))
        if max_bytes is not None and file.tell() > max_bytes:
            raise GifTooLargeError(max_bytes, file.tell())
    return Path(path)


def _number_of(frames: Frames) -> int:
    return len(frames) if isinstance(frames, Sized) else 0


def _palette_of(av, frames: Frames, num_colours: int):
    """One palette for the whole clip: a video frame of 16×16 colours."""
    if iter(frames) is frames:
        raise TypeError("a palette for the whole clip reads the frames twice, so an iterator is not enough")
    source = None
    for index, rgb in enumerate(rgb_frames(frames)):
        if source is None:
            graph = av.filter.Graph()
            source = _source(graph, rgb.shape[1], rgb.shape[0], "rgb24")
            generator, sink = _palettegen(graph, "full", num_colours), graph.add("buffersink")
            source.link_to(generator)
            generator.link_to(sink)
            graph.configure()
        # palettegen keeps every colour that it has seen. Without their last bit these are 2 million at most, not 16.
        source.push(_video_frame(av, _for_palette(rgb & 0xFE | rgb >> 7), index))
        for _ in pulled(sink):  # a filter works only when asked, and its input waits in memory until then
            pass
    source.push(None)
    return sink.pull()


class _Encoder:
    """``h w 3`` arrays → the picture blocks of a GIF, by FFmpeg's filters and encoder."""

    def __init__(self, av, width: int, height: int, palette, num_colours: int) -> None:
        self._av = av
        self._graph = av.filter.Graph()  # the filters die with it
        self._source = _source(self._graph, width, height, "rgb24")
        self._sink = self._graph.add("buffersink")
        self._colours = None
        if palette is None:
            self._map_each_frame(width, height, num_colours)
        else:
            self._map_all_frames(palette)
        self._codec = av.CodecContext.create("gif", "w")
        self._codec.width, self._codec.height, self._codec.pix_fmt = width, height, "pal8"
        self._codec.time_base = Fraction(1, TICKS_PER_SECOND)

    def encoded(self, rgb: np.ndarray, start: int) -> Iterator[tuple[int, bytes]]:
        """Give the picture that is shown from tick ``start`` on; yield (start, blocks) of each that is ready."""
        self._source.push(_video_frame(self._av, rgb, start))
        if self._colours is not None:
            self._colours.push(_video_frame(self._av, _for_palette(rgb), start))
        yield from self._ready()

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """Yield what is left once all pictures are given."""
        self._source.push(None)
        if self._colours is not None:
            self._colours.push(None)
        yield from self._ready()
        yield from self._packets(None)

    def _map_each_frame(self, width: int, height: int, num_colours: int) -> None:
        self._colours = _source(self._graph, width, height, "rgb24")
        generator = _palettegen(self._graph, "single", num_colours)
        mapper = self._graph.add("paletteuse", f"new=1:{_DITHER}")
        self._source.link_to(mapper, 0, 0)
        self._colours.link_to(generator)
        generator.link_to(mapper, 0, 1)
        mapper.link_to(self._sink)
        self._graph.configure()

    def _map_all_frames(self, palette) -> None:
        colours = _source(self._graph, palette.width, palette.height, palette.format.name)
        mapper = self._graph.add("paletteuse", _DITHER)
        self._source.link_to(mapper, 0, 0)
        colours.link_to(mapper, 0, 1)
        mapper.link_to(self._sink)
        self._graph.configure()
        colours.push(palette)
        colours.push(None)

    def _ready(self) -> Iterator[tuple[int, bytes]]:
        for frame in pulled(self._sink):
            yield from self._packets(frame)

    def _packets(self, frame) -> Iterator[tuple[int, bytes]]:
        for packet in self._codec.encode(frame):
            yield round(packet.pts * packet.time_base * TICKS_PER_SECOND), bytes(packet)


class _Blocks:
    """Puts picture blocks into a file. Each waits for the next one, whose start says how long it is shown."""

    def __init__(self, file: BinaryIO, extensions: bytes) -> None:
        self._file = file
        self._extensions = extensions
        self._start = 0
        self._waiting = b""

    def add(self, start: int, blocks: bytes) -> None:
        if self._waiting:
            self._write(start)
        else:
            blocks = self._without_head(blocks)
        self._start, self._waiting = start, blocks

    def finish(self, end: int) -> None:
        self._write(max(end, self._start + MIN_DELAY_TICKS))
        self._file.write(b"\x3b")

    def _without_head(self, blocks: bytes) -> bytes:
        """The first packet begins with the file's head and table of colours; the extensions belong behind these."""
        flags = blocks[10]
        size = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        self._file.write(blocks[:size] + self._extensions)
        return blocks[size:]

    def _write(self, end: int) -> None:
        blocks = self._waiting
        assert blocks.startswith(_PICTURE_CONTROL), "FFmpeg's GIF encoder begins each picture with its control block"
        self._file.write(blocks[:4] + struct.pack("<H", end - self._start) + blocks[6:])


def _source(graph, width: int, height: int, pixel_format: str):
    return graph.add_buffer(width=width, height=height, format=pixel_format, time_base=Fraction(1, TICKS_PER_SECOND))


def _palettegen(graph, statistics: str, num_colours: int):
    return graph.add("palettegen", f"stats_mode={statistics}:max_colors={num_colours}")


def _video_frame(av, rgb: np.ndarray, start: int):
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    frame.pts, frame.time_base = start, Fraction(1, TICKS_PER_SECOND)
    return frame


def _for_palette(rgb: np.ndarray) -> np.ndarray:
    """What a palette is chosen from. palettegen's time grows with the number of different colours, of which a
    photograph has as many as pixels; with five bits a channel it takes a fourteenth of the time and the palette is
    as close (measured on 16 frames of 512x512). Drawings, with few colours, keep them exactly."""
    some = rgb[::2, ::2].astype(np.uint32)
    if np.unique(some[..., 0] << 16 | some[..., 1] << 8 | some[..., 2]).size <= _FEW_COLOURS:
        return rgb
    return ((rgb & 0xF8).astype(np.uint16) * 255 // 0xF8).astype(np.uint8)


def _loop_block(plays: int) -> bytes:
    """Netscape's extension counts repeats: it is left out for one play, and holds n - 1 for n plays."""
    if plays == 1:
        return b""
    return b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", max(plays - 1, 0)) + b"\0"


def _comment_block(comment: str) -> bytes:
    if not comment:
        return b""
    text = comment.encode("utf-8")
    pieces = (text[i : i + 255] for i in range(0, len(text), 255))
    return b"\x21\xfe" + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
