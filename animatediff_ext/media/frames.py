"""Frames as the writers take them: pictures or arrays in, ``h w c`` arrays of one size out.

Axes: h height, w width, c channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from animatediff_ext.media.errors import MediaError

Frame = Image.Image | np.ndarray
"""A picture of any mode, or a uint8 array ``h w``, ``h w 1``, ``h w 3`` (RGB) or ``h w 4`` (RGBA)."""
Frames = Iterable[Frame]
"""Frames in order. ``iter()`` may be called on it more than once, and each call starts at the first frame."""


def rgb_frames(frames: Frames) -> Iterator[np.ndarray]:
    """Yield each frame as a contiguous uint8 array ``h w 3``, one at a time.

    Transparency is dropped, as everything that plays a video would do. Raises ``MediaError`` if there is no frame, and
    at the first frame whose size differs from the one before.
    """
    size = None
    for index, frame in enumerate(frames):
        rgb = _rgb(frame)
        size = size or rgb.shape
        if rgb.shape != size:
            raise MediaError(
                f"Frame {index} is {rgb.shape[1]}×{rgb.shape[0]}, but the frames before it are {size[1]}×{size[0]}; "
                "all frames of a clip must have one size, so resize them first."
            )
        yield rgb
    if size is None:
        raise MediaError("There are no frames; a clip needs one or more.")


def padded(rgb: np.ndarray, *, multiple: int = 1, least: int = 1) -> np.ndarray:
    """Repeat the last row and column until both sides are ``least`` or more and divide by ``multiple``.

    rgb: ``h w 3`` → ``H W 3`` with the picture in the upper left corner; the same array where nothing is missing.
    """
    height, width = (-(-max(side, least) // multiple) * multiple for side in rgb.shape[:2])
    missing = (height - rgb.shape[0], width - rgb.shape[1])
    if missing == (0, 0):
        return rgb
    return np.pad(rgb, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def _rgb(frame: Frame) -> np.ndarray:
    if isinstance(frame, Image.Image):
        return np.ascontiguousarray(frame.convert("RGB"))
    array = np.asarray(frame)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise MediaError(
            f"A frame is an array of {array.dtype} with shape {np.shape(frame)}; "
            "frames are pictures or uint8 arrays of height × width × 1, 3 or 4 channels."
        )
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array[..., :3])
