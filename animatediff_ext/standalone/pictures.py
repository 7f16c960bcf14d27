"""The pictures that a clip starts from: from files to pixels of the clip's size.

Axes: f frames, h height, w width, 3 colours.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from animatediff_ext.media import frames_at, read_frames, timeline_of


def read_pictures(path: str | Path, *, width: int, height: int, most: int | None = None) -> np.ndarray:
    """The first ``most`` frames (or all) of a picture, a GIF, a WebP, a video or a folder: uint8 ``f h w 3``.

    Each is resized until it just covers the size, and its middle is cut out. Raises `MediaError`.
    """

    def cut(rgb: np.ndarray) -> np.ndarray:
        return np.asarray(ImageOps.fit(Image.fromarray(rgb), (width, height), Image.Resampling.LANCZOS))

    path = Path(path)
    if path.is_dir():
        return np.stack([cut(rgb) for rgb in islice(read_frames(path), most)])
    timeline = timeline_of(path)
    wanted = range(min(timeline.num_frames, most or timeline.num_frames))
    return frames_at(path, wanted, timeline=timeline, prepare=cut)
