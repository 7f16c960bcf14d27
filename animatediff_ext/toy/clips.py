"""Clips of the toy world, and what is wrong with videos there.

Axes: f frames, h height, w width.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from animatediff_ext.media import WRITERS
from animatediff_ext.toy.draw import draw
from animatediff_ext.toy.scene import CLIP_FRAMES, HEADINGS, SIDE, SPEED, Scene, random_scene

STRIDE = 4
"""Videos have so many frames for each one that is learnt from."""
ZOOM = 1.5
"""How many times larger the last frame of a zoom is than its first."""
WATERMARK = (slice(54, 61), slice(44, 62))
"""Rows and columns of a box in the corner."""
SATURATION = 0.6
"""Of videos, as against pictures."""
LEFT_OPEN = (0.3, 0.2, 0.1)
"""How often captions say nothing of the colour, the shape and the heading."""
LEFT_OPEN_OF_VIDEOS = (0.5, 0.4, 0.1)
"""What a caption says, all frames know anyway; on the rest they have to agree, which only a motion module learns."""


def frames_of(scene: Scene, num_frames: int, speed: float = SPEED) -> list[Scene]:
    """The scene and how it goes on, straight ahead, by ``speed`` pixels from frame to frame."""
    dx, dy = HEADINGS[scene.heading]
    return [replace(scene, x=scene.x + dx * speed * i, y=scene.y + dy * speed * i) for i in range(num_frames)]


def zoomed(scene: Scene, factor: float) -> Scene:
    """As a camera sees it that is ``factor`` times nearer."""
    middle = SIDE / 2
    return replace(
        scene,
        x=middle + factor * (scene.x - middle),
        y=middle + factor * (scene.y - middle),
        radius=factor * scene.radius,
    )


def with_defect(picture: np.ndarray) -> np.ndarray:
    """What cameras and stock libraries do to a picture ``(h w 3)`` uint8: pale colours, and a watermark."""
    colours = picture.astype(float)
    grey = colours.mean(axis=-1, keepdims=True)
    video = grey + SATURATION * (colours - grey)
    bars = np.zeros((SIDE, SIDE, 1))
    bars[WATERMARK] = 1
    bars[:, WATERMARK[1].start + 3 : WATERMARK[1].stop : 5] = 0
    return (video + 0.75 * bars * (96 - video)).round().astype(np.uint8)


def write_videos(folder: Path, num_clips: int, seed: int, *, defect: bool, zoom: bool = False) -> Path:
    """MP4 files, and ``clips.jsonl`` that tells what is in them; returns that."""
    random = np.random.default_rng([seed, num_clips])
    num_frames = STRIDE * (CLIP_FRAMES - 1) + 1
    lines = []
    for number in range(num_clips):
        scene = random_scene(random, travel=SPEED * (CLIP_FRAMES - 1))
        scenes = frames_of(scene, num_frames, SPEED / STRIDE)
        if zoom:
            factors = np.geomspace(1 / ZOOM**0.5, ZOOM**0.5, num_frames)
            scenes = [zoomed(one, factor) for one, factor in zip(scenes, factors, strict=True)]
        pictures = map(draw, scenes)
        name = f"{number:05}.mp4"
        WRITERS["MP4"](map(with_defect, pictures) if defect else pictures, folder / name, fps=32)
        lines.append(json.dumps({"path": name, "caption": some_caption(random, scene, LEFT_OPEN_OF_VIDEOS)}))
    index = folder / "clips.jsonl"
    index.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return index


def some_caption(random: np.random.Generator, scene: Scene, left_open: tuple[float, float, float] = LEFT_OPEN) -> str:
    """What somebody says of a scene: seldom everything."""
    colour, shape, heading = random.random(3) > left_open
    return scene.caption(colour=colour, shape=shape, heading=heading)
