"""How files are encoded: the settings that do not change what the clip shows, only its size and fidelity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from animatediff_ext.media.errors import MediaError

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
TUNES: dict[str, tuple[str, ...]] = {"h264": ("film", "animation", "grain"), "h265": ("animation", "grain"), "av1": ()}
"""Codec of an MP4 → the tunings that its encoder knows (x264 and x265 documentation, "tune")."""
GIF_PALETTES = ("frame", "clip")


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """Settings of the encoders; each format reads its own and ignores the rest. A wrong value raises ``MediaError``."""

    mp4_crf: int = 23
    """Constant rate factor, on the scale of the codec: 0 is best, 51 is smallest."""
    mp4_preset: str = ""
    """Speed against size, one of ``PRESETS``; "" leaves it to the encoder."""
    mp4_tune: str = ""
    """What the encoder should care for, one of ``TUNES[mp4_codec]``; "" for nothing in particular."""
    mp4_codec: str = "h264"
    """One of ``TUNES``. h264 plays everywhere; h265 and av1 make smaller files, and some builds of PyAV lack them."""
    webp_quality: int = 80
    """1 to 100. With ``webp_lossless``, the effort spent on a smaller file."""
    webp_lossless: bool = False
    gif_palette: str = "frame"
    """``frame``: 255 colours for each frame, closest to the picture. ``clip``: 255 colours for the whole clip, which
    makes smaller files and no flicker of colours, and reads the frames twice."""
    gif_colours: int = 256
    """At most, in one palette, 4 to 256; one of them stands for what did not change since the frame before."""

    def __post_init__(self) -> None:
        _check_range("MP4 CRF", self.mp4_crf, 0, 51)
        _check_range("WebP quality", self.webp_quality, 1, 100)
        _check_choice("MP4 codec", self.mp4_codec, tuple(TUNES))
        _check_choice("MP4 preset", self.mp4_preset, ("", *PRESETS))
        _check_choice(f"MP4 tune of {self.mp4_codec}", self.mp4_tune, ("", *TUNES[self.mp4_codec]))
        _check_choice("GIF palette", self.gif_palette, GIF_PALETTES)
        _check_range("Number of colours of a GIF", self.gif_colours, 4, 256)


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise MediaError(f"{what} is {value!r}; it must be a whole number from {low} to {high}.")


def _check_choice(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        names = ", ".join(repr(name) for name in allowed)
        raise MediaError(f"{what} is {value!r}; choose one of {names}.")


DEFAULT_OPTIONS = EncodeOptions()
