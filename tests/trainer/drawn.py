"""Clips that are drawn: a disc that moves over a plain ground."""

from pathlib import Path

import numpy as np

from animatediff_ext.media import WRITERS

SIZE = 64
HEADINGS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
COLOURS = {"red": (230, 60, 50), "blue": (60, 120, 220), "green": (80, 200, 90)}


def disc(colour: str, heading: str, num_frames: int) -> list[np.ndarray]:
    """Frames ``h w 3`` of a disc that crosses the middle of the picture half-way."""
    dx, dy = HEADINGS[heading]
    y, x = np.mgrid[:SIZE, :SIZE]
    frames = []
    for number in range(num_frames):
        way = 1.5 * (number - num_frames / 2)
        inside = (x - SIZE / 2 - dx * way) ** 2 + (y - SIZE / 2 - dy * way) ** 2 < 100
        frame = np.full((SIZE, SIZE, 3), 200, np.uint8)
        frame[inside] = COLOURS[colour]
        frames.append(frame)
    return frames


def write_clips(folder: Path, num_clips: int, num_frames: int = 20) -> Path:
    """MP4 files with captions beside them."""
    kinds = [(colour, heading) for heading in HEADINGS for colour in COLOURS]
    for number, (colour, heading) in enumerate(kinds[:num_clips]):
        WRITERS["MP4"](disc(colour, heading, num_frames), folder / f"clip{number}.mp4", fps=8)
        (folder / f"clip{number}.txt").write_text(f"a {colour} disc moving {heading}")
    return folder
