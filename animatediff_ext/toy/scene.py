"""What can be seen in the toy world, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 64
"""Of every picture, in pixels."""
CLIP_FRAMES = 16
SPEED = 1.0
"""Pixels from frame to frame."""
MIN_RADIUS, MAX_RADIUS = 10.0, 13.0
DIMMEST = 0.6
"""Light on paper, at least, of 1."""
MARGIN = 1.0
"""Pixels between a shape and the edge of the picture, at least."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (232, 44, 44),
    "yellow": (236, 196, 24),
    "green": (44, 184, 68),
    "cyan": (32, 192, 208),
    "blue": (52, 76, 228),
    "pink": (228, 64, 196),
}
SHAPES = ("circle", "square", "triangle", "cross")
HEADINGS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""x grows to the right and y down."""

ANY_SHAPE = "shape"
"""Stands in a caption that does not say which."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One picture: a shape that faces where it goes."""

    colour: str
    shape: str
    heading: str
    x: float
    y: float
    """Of the shape's middle, in pixels."""
    radius: float
    light: float = 1.0
    """On the ground, where that is paper; no caption speaks of it."""

    def caption(self, *, colour: bool = True, shape: bool = True, heading: bool = True) -> str:
        """What is to be said of it; the rest is left open."""
        words = ["a", *[self.colour] * colour, self.shape if shape else ANY_SHAPE]
        return " ".join([*words, *["moving", self.heading] * heading])


def random_scene(random: np.random.Generator, *, travel: float = 0.0, **known) -> Scene:
    """A scene of which ``known`` is settled; its shape can go on for ``travel`` pixels and stays in the picture."""
    known.setdefault("colour", str(random.choice(list(COLOURS))))
    known.setdefault("shape", str(random.choice(SHAPES)))
    known.setdefault("heading", str(random.choice(list(HEADINGS))))
    known.setdefault("light", random.uniform(DIMMEST, 1))
    radius = random.uniform(MIN_RADIUS, MAX_RADIUS)
    low, high = radius + MARGIN, SIDE - radius - MARGIN
    place = []
    for direction in HEADINGS[known["heading"]]:
        first, last = low - min(0, direction) * travel, high - max(0, direction) * travel
        place.append(random.uniform(first, max(first, last)))
    return Scene(x=place[0], y=place[1], radius=radius, **known)
