"""How long each picture of a GIF or a WebP is shown, in milliseconds as the file says it."""

from __future__ import annotations

from PIL import ImageSequence

from animatediff_ext.media.source import Source, opened_file, opened_picture
from animatediff_ext.media.webp import chunks_of

BROWSER_FRAME_MS = 100
"""What browsers make of a GIF whose delays are zero, or a hundredth of a second."""


def gif_delays_ms(source: Source) -> list[int]:
    """One for each picture; zero where the file has none. Raises ``MediaError``."""
    with opened_picture(source) as picture:
        return [int(frame.info.get("duration", 0)) for frame in ImageSequence.Iterator(picture)]


def webp_delays_ms(source: Source) -> list[int]:
    """One for each picture; none at all for a WebP that does not move."""
    with opened_file(source) as file:
        return [int.from_bytes(file.read(16)[12:15], "little") for name, _ in chunks_of(file) if name == b"ANMF"]
