"""Every format that frames can be written as, by the name that users choose.

All writers have one signature::

    write(frames, path, *, fps, loops=0, comment="", options=EncodeOptions()) -> Path

``frames`` are read one at a time and never kept, so memory does not grow with their number. The file (a folder for PNG)
appears under its name only when whole: after an error or an interrupt there is nothing, or what was there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from animatediff_ext.media.gif import write_gif
from animatediff_ext.media.options import EncodeOptions
from animatediff_ext.media.pictures import write_png, write_txt
from animatediff_ext.media.pyav import load_pyav
from animatediff_ext.media.video import encoder_for, mp4_encoder, write_mp4, write_webm
from animatediff_ext.media.webp import write_webp

WRITERS: dict[str, Callable[..., Path]] = {
    "GIF": write_gif,
    "MP4": write_mp4,
    "WEBP": write_webp,
    "WEBM": write_webm,
    "PNG": write_png,
    "TXT": write_txt,
}
ENDINGS = {"GIF": ".gif", "MP4": ".mp4", "WEBP": ".webp", "WEBM": ".webm", "PNG": "", "TXT": ".txt"}
"""Format → what the name of its file ends in; PNG is a folder."""


def check_formats(formats: Iterable[str], options: EncodeOptions, *, fps: float) -> None:
    """Raises ``MediaError`` if this installation cannot write one of them: better before the frames are made.

    ``fps`` is that of the files, with frames that are interpolated.
    """
    if "GIF" in formats:
        load_pyav("Writing GIF")
    if "MP4" in formats:
        mp4_encoder(options, fps)
    if "WEBM" in formats:
        encoder_for("vp9", "WEBM")
