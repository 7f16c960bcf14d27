"""Clips by formula, and what the tests say about files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

VIDEO_FORMATS = ("GIF", "WEBP", "MP4", "WEBM")
ALL_FORMATS = (*VIDEO_FORMATS, "PNG", "TXT")
INFOTEXT = "a fox, 狐 🦊, fondo <añil>\nNegative prompt: x\nSteps: 20, Seed: 1, AnimateDiff: {a: 1}"


def shape_frame(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A colour gradient with a red square that moves 4 pixels a frame: ``h w 3``."""
    y, x = np.mgrid[:height, :width]
    blue = np.full((height, width), 40 + 8 * (index % 16))
    frame = np.stack([x * 200 / max(width - 1, 1), y * 200 / max(height - 1, 1), blue], axis=-1)
    left = 4 + 4 * index % width
    frame[height // 4 : height // 2, left : left + height // 4] = (250, 30, 20)
    return frame.astype(np.uint8)


class LazyClip:
    """Frames made when asked for, so that a test sees what the writers keep; can be read again and again."""

    def __init__(self, num_frames: int, height: int = 48, width: int = 64) -> None:
        self.num_frames, self.height, self.width = num_frames, height, width

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self):
        for index in range(self.num_frames):
            yield shape_frame(index, self.height, self.width)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())
