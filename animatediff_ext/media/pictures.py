"""Writers that keep each frame as it is: a folder of PNG files. And the comment alone, as text."""

from __future__ import annotations

import os
from itertools import tee
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from animatediff_ext.media.comments import clean_comment
from animatediff_ext.media.files import new_file, new_folder
from animatediff_ext.media.frames import Frames, rgb_frames
from animatediff_ext.media.options import DEFAULT_OPTIONS, EncodeOptions


def write_png(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
) -> Path:
    """Write the folder ``path`` with ``00000.png``, ``00001.png`` and so on; return it.

    Each picture has the comment as text chunk ``parameters``, where the WebUI looks for it. One with alpha keeps it.
    ``fps``, ``loops`` and ``options`` have no place in PNG and are ignored.
    """
    comment = clean_comment(comment)
    info = PngInfo()
    if comment:
        info.add_text("parameters", comment)  # tEXt, or iTXt where Latin-1 has not all its letters
    given, checked = tee(frames)  # each frame is made once
    with new_folder(path) as folder:
        for index, (rgb, frame) in enumerate(zip(rgb_frames(checked), given, strict=True)):
            has_alpha = isinstance(frame, Image.Image) and "A" in frame.getbands()
            picture = frame.convert("RGBA") if has_alpha else Image.fromarray(rgb)
            picture.save(folder / f"{index:05}.png", pnginfo=info)
    return Path(path)


def write_txt(
    frames: Frames,
    path: str | os.PathLike,
    *,
    fps: float,
    loops: int = 0,
    comment: str = "",
    options: EncodeOptions = DEFAULT_OPTIONS,
) -> Path:
    """Write the comment as UTF-8 text, with its line ends as they are; the frames are not read. Return ``path``."""
    with new_file(path) as part:
        part.write_bytes(clean_comment(comment).encode("utf-8"))
    return Path(path)
