"""How long each picture of a GIF or a WebP is shown, in milliseconds, by browsers: they do not take all delays at their
word.
"""

from __future__ import annotations

from PIL import ImageSequence

from animatediff_ext.media.source import Source, opened_file, opened_picture
from animatediff_ext.media.webp import MIN_DELAY_MS, chunks_of

_INSTEAD_MS = 100


def gif_delays_ms(source: Source) -> list[int]:
    """One for each picture. Raises ``MediaError``."""
    with opened_picture(source) as picture:
        delays = [int(frame.info.get("duration", 0)) for frame in ImageSequence.Iterator(picture)]
    return _as_shown(delays)


def webp_delays_ms(source: Source) -> list[int]:
    """One for each picture; a WebP that does not move is one, and has no delay in it."""
    with opened_file(source) as file:
        delays = [int.from_bytes(file.read(16)[12:15], "little") for name, _ in chunks_of(file) if name == b"ANMF"]
    return _as_shown(delays or [0])


def _as_shown(delays_ms: list[int]) -> list[int]:
    return [delay if delay >= MIN_DELAY_MS else _INSTEAD_MS for delay in delays_ms]
