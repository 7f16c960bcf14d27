"""GIFs for places that take no large ones: the widest picture whose file is small enough.

Colours go first, since fewer of them are hardly seen: a clip with a film's grain has 0.7 of its bytes with 64 colours.
What is still too large becomes smaller in both directions. Frames per second stay.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from animatediff_ext.media.frames import Frames, rgb_frames
from animatediff_ext.media.gif import GifTooLargeError, write_gif_within
from animatediff_ext.media.options import DEFAULT_OPTIONS, EncodeOptions

BYTES_PER_MB = 1_000_000  # sites mean this or 1,048,576; what fits the smaller fits both
MIN_WIDTH = 32
_COLOURS = (256, 128, 64)
_CLOSE = 1.04  # a picture that could at best be wider by less is wide enough
_MOST_TRIALS = 8
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GifLimits:
    """What a GIF may be at most; 0 is no limit."""

    mb: float = 0
    """Of a million bytes each."""
    width: int = 0

    def __bool__(self) -> bool:
        return bool(self.mb or self.width)


def write_small_gif(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
    limits: GifLimits,
    say: Callable[[str], None] = _LOG.info,
) -> Path:
    """As `write_gif`, within ``limits``. The frames are read several times.

    Where the picture has to be narrower or to have fewer colours, ``say`` is told what came out. A clip that is too
    large even at `MIN_WIDTH` is written at that width all the same, and ``say`` is told that too.
    """

    def write(width: int, num_colours: int, max_bytes: int | None) -> int:
        """The size of the file; in bytes."""
        seen = frames if width == full[0] else _Scaled(frames, width, _height(full, width))
        how = replace(options, gif_colours=num_colours)
        write_gif_within(seen, path, fps=fps, loops=loops, comment=comment, options=how, max_bytes=max_bytes)
        return Path(path).stat().st_size

    first = next(iter(rgb_frames(frames)))
    full = first.shape[1], first.shape[0]
    widest = min(full[0], limits.width or full[0])
    colours = [n for n in _COLOURS if n < options.gif_colours]
    most_colours, fewest_colours = options.gif_colours, min([options.gif_colours, *colours])
    if not limits.mb:
        write(widest, most_colours, None)
        if widest < full[0]:
            say(f"The GIF is {_size(full, widest)}, as wide as it may be; the clip is {_size(full, full[0])}.")
        return Path(path)

    max_bytes = int(limits.mb * BYTES_PER_MB)
    for num_colours in (most_colours, *colours):
        try:
            written = write(widest, num_colours, max_bytes)
        except GifTooLargeError as problem:
            estimate = problem.estimate
            continue
        if (widest, num_colours) != (full[0], most_colours):
            say(_result(full, widest, num_colours, written, limits))
        return Path(path)

    found = _widest(lambda width: write(width, fewest_colours, max_bytes), widest, estimate, max_bytes)
    if found is not None:
        say(_result(full, found[0], fewest_colours, found[1], limits))
        return Path(path)
    width = min(MIN_WIDTH, widest)
    written = write(width, fewest_colours, None)
    say(
        f"No GIF of this clip fits {limits.mb:g} MB. It was written at {_size(full, width)} with {fewest_colours} "
        f"colours and has {written / BYTES_PER_MB:.3g} MB: allow more, or make fewer frames."
    )
    return Path(path)


def _widest(write: Callable[[int], int], too_wide: int, estimate: int, max_bytes: int) -> tuple[int, int] | None:
    """The greatest width that ``write`` can do, and its bytes, or None. The last width that it did is this one.

    ``too_wide`` has about ``estimate`` bytes. Bytes grow a little slower than the area.
    """
    found, width = None, too_wide
    for _ in range(_MOST_TRIALS):
        wanted = int(width * (max_bytes / estimate) ** 0.5 * 0.985)
        low = found[0] + 1 if found else MIN_WIDTH
        if low >= too_wide:
            break
        width = min(max(wanted, low), too_wide - 1)
        try:
            estimate = write(width)
        except GifTooLargeError as problem:
            too_wide, estimate = width, problem.estimate
        else:
            found = width, estimate
            if min(too_wide / width, (max_bytes / estimate) ** 0.5) < _CLOSE:
                break
    return found


class _Scaled:
    """The frames, narrower, made when they are asked for."""

    def __init__(self, frames: Frames, width: int, height: int) -> None:
        self._frames, self._size = frames, (width, height)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        for rgb in rgb_frames(self._frames):
            yield np.asarray(Image.fromarray(rgb).resize(self._size, Image.Resampling.LANCZOS))


def _height(full: tuple[int, int], width: int) -> int:
    return max(1, round(full[1] * width / full[0]))


def _size(full: tuple[int, int], width: int) -> str:
    return f"{width}×{_height(full, width)}"


def _result(full: tuple[int, int], width: int, num_colours: int, num_bytes: int, limits: GifLimits) -> str:
    return (
        f"The GIF is {_size(full, width)} with {num_colours} colours and has {num_bytes / BYTES_PER_MB:.3g} MB, to fit "
        f"{limits.mb:g} MB; the clip is {_size(full, full[0])}."
    )
