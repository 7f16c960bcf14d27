"""The pixels of a take. Axes: f frames, c channels (RGB), h height, w width."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from animatediff_ext.media import frames_at
from animatediff_ext.trainer.data.take import Bucket, Take


def pixels_of(take: Take) -> torch.Tensor:
    """Read, resize and cut a take: uint8 ``f c h w`` of the size of its bucket. Raises ``MediaError``.

    The picture is resized until it just covers the bucket, and its middle is cut out.
    """
    clip = frames_at(
        take.clip.source(),
        take.frames,
        timeline=take.clip.seen.timeline,
        prepare=lambda rgb: _cut(rgb, take.bucket),  # frame by frame: whole clips of large videos would fill the memory
    )
    pixels = torch.from_numpy(clip).permute(0, 3, 1, 2)
    return (pixels.flip(-1) if take.flip else pixels).contiguous()


def _cut(rgb: np.ndarray, bucket: Bucket) -> np.ndarray:
    """``H W c`` → ``h w c``."""
    height, width = rgb.shape[:2]
    scale = max(bucket.height / height, bucket.width / width)
    size = max(bucket.height, round(height * scale)), max(bucket.width, round(width * scale))
    top, left = (size[0] - bucket.height) // 2, (size[1] - bucket.width) // 2
    return _resized(rgb, size)[top : top + bucket.height, left : left + bucket.width]


def _resized(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic, with a wider filter where pixels are merged, as Pillow does it, so that fine patterns do not flicker."""
    if rgb.shape[:2] == size:
        return rgb
    picture = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    return functional.interpolate(picture, size=size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
