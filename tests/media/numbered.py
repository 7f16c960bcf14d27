"""Clips whose pixels say the number of their frame, so that a test sees which one it got."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_BLOCKS = 4
"""Blocks along each side, one bit each: 65,536 numbers."""
TICKS_PER_SECOND = 1000


def numbered_frame(number: int, *, height: int = 64, width: int = 64) -> np.ndarray:
    """Dark and light blocks, least bit first, by rows: ``h w 3``."""
    bits = (number >> np.arange(_BLOCKS**2)) & 1
    small = bits.reshape(_BLOCKS, _BLOCKS) * 200 + 20
    rows, columns = np.arange(height) * _BLOCKS // height, np.arange(width) * _BLOCKS // width
    return np.repeat(small[rows][:, columns, None], 3, axis=2).astype(np.uint8)


def number_in(rgb: np.ndarray) -> int:
    """The number that a picture ``h w 3`` says, also after a lossy codec and a resize."""
    height, width = rgb.shape[:2]
    middles = [(np.arange(_BLOCKS) * 2 + 1) * side // (2 * _BLOCKS) for side in (height, width)]
    bits = rgb[middles[0]][:, middles[1]].mean(axis=2).ravel() > 128
    return int((bits << np.arange(_BLOCKS**2)).sum())


def numbers_in(clip: Iterable[np.ndarray]) -> list[int]:
    return [number_in(rgb) for rgb in clip]


def write_numbered(
    path: Path,
    num_frames: int,
    *,
    fps: Fraction | int = 24,
    starts_ms: Sequence[int] | None = None,
    size: tuple[int, int] = (64, 64),
    codec: str = "libx264",
    codec_options: dict[str, str] | None = None,
    container: str | None = None,
) -> Path:
    """Write a video of ``width, height = size``. ``starts_ms``: when each frame begins, where the rate varies."""
    width, height = size
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=fps, options=codec_options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if starts_ms is not None:
            stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, height=height, width=width), format="rgb24")
            frame.pts, frame.time_base = number, 1 / Fraction(fps)
            if starts_ms is not None:
                frame.pts, frame.time_base = starts_ms[number], Fraction(1, TICKS_PER_SECOND)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path
