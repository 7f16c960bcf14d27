"""Scenes → pictures. Edges are smooth, so that a shape can stand between two pixels.

Axes: h height, w width; colours are float from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from animatediff_ext.toy.scene import COLOURS, HEADINGS, SIDE, Scene

WHITE, BLACK = np.array([1.0, 1.0, 1.0]), np.array([0.05, 0.05, 0.08])
TAIL_LIGHT, STEEPNESS = 0.1, 1.0
"""Bodies are this bright at the tail and 1 at the head, and change within a radius around the middle: a heading that
can be seen from afar, before the eyes can. A gentle slope from tail to head was too little for the base model, which
learnt colours and shapes in 3,500 steps and of headings nothing."""
TAIL_LIGHT_AT_DUSK = 0.15
"""Bodies give light there, but not so much that head and tail look alike."""

# Distances to the edge in radii, negative inside; x and y in radii from the middle.
OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda x, y: np.hypot(x, y) - 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.86,
    "triangle": lambda x, y: np.maximum(0.87 * abs(x) - 0.5 * y - 0.5, y - 0.8),
    "cross": lambda x, y: np.minimum(np.maximum(abs(x) - 1, abs(y) - 0.42), np.maximum(abs(x) - 0.42, abs(y) - 1)),
}


def draw(scene: Scene, look: str = "paper") -> np.ndarray:
    """uint8 ``(h w 3)``."""
    return draw_all([scene], look)


def draw_all(scenes: Sequence[Scene], look: str) -> np.ndarray:
    """Several shapes in one picture, the last one in front: uint8 ``(h w 3)``."""
    picture = _ground(look, scenes[0])
    for scene in scenes:
        picture = LOOKS[look](_Body(scene), picture)
    return (255 * picture).round().astype(np.uint8)


class _Body:
    """A scene on the grid of pixels."""

    def __init__(self, scene: Scene):
        grid_y, grid_x = np.mgrid[:SIDE, :SIDE] + 0.5
        self._radius = scene.radius
        self._x, self._y = (grid_x - scene.x) / scene.radius, (grid_y - scene.y) / scene.radius
        self._toward_x, self._toward_y = HEADINGS[scene.heading]
        self._edge = OUTLINES[scene.shape](self._x, self._y)
        self.colour = np.array(COLOURS[scene.colour]) / 255

    def cover(self, distance: np.ndarray | float = 0.0) -> np.ndarray:
        """How much of each pixel lies inside the outline, drawn ``distance`` radii further out: ``(h w 1)``."""
        return self._smooth(self._edge - distance)

    def shade(self, tail: float = TAIL_LIGHT) -> np.ndarray:
        """Light from the head, where it is 1, to the tail, ``(h w 1)``."""
        ahead = self._x * self._toward_x + self._y * self._toward_y
        return (tail + (1 - tail) * np.clip(0.5 + STEEPNESS * ahead, 0, 1))[..., None]

    def with_eyes(self, picture: np.ndarray) -> np.ndarray:
        for side in (-0.25, 0.25):
            picture = _over(picture, WHITE, self._spot(0.5, side, 0.2))
            picture = _over(picture, BLACK, self._spot(0.58, side, 0.1))
        return picture

    def _spot(self, ahead: float, aside: float, size: float) -> np.ndarray:
        x = self._x - ahead * self._toward_x + aside * self._toward_y
        y = self._y - ahead * self._toward_y - aside * self._toward_x
        return self._smooth(np.hypot(x, y) - size)

    def _smooth(self, distance: np.ndarray) -> np.ndarray:
        return np.clip(0.5 - distance * self._radius, 0, 1)[..., None]


def _ground(look: str, scene: Scene) -> np.ndarray:
    colour = np.clip(np.array(GROUNDS[look]) + TINTS[scene.heading], 0, 255)
    light = scene.light if look == "paper" else 1.0
    return np.ones((SIDE, SIDE, 1)) * light * colour / 255


def _over(picture: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return picture + (colour - picture) * cover


def _paper(body: _Body, picture: np.ndarray) -> np.ndarray:
    """Full bodies on light paper."""
    return body.with_eyes(_over(picture, body.colour * body.shade(), body.cover()))


def _dusk(body: _Body, picture: np.ndarray) -> np.ndarray:
    """Glowing bodies with a dark rim in the evening."""
    picture = _over(picture, 0.1 * body.colour, body.cover(0.28))
    light = 0.35 + 0.65 * body.colour
    return body.with_eyes(_over(picture, light * body.shade(TAIL_LIGHT_AT_DUSK), body.cover()))


def _chalk(body: _Body, picture: np.ndarray) -> np.ndarray:
    """Bodies with a thick white rim on pale slate."""
    picture = _over(picture, WHITE, body.cover(0.22))
    return body.with_eyes(_over(picture, body.colour * body.shade(), body.cover()))


TINTS = {"left": (11, -12, 1), "right": (-18, 2, 18), "up": (-9, 17, -8), "down": (11, 6, -19)}
"""Of the ground, by heading: the sky of the way that a shape goes. What a shape looks like from its head or its tail
has to be drawn where the shape is, and a base that did not know yet what headings mean never began to; a tint is known
before there is a shape. None is lighter than another on paper: guidance makes more of what a word brings, and a word
that meant a little darkness made whole clips dim."""
GROUNDS = {"paper": (244, 238, 222), "dusk": (140, 140, 185), "chalk": (180, 190, 206)}
"""Not farther apart than one or two standard deviations of the base's latents, as are the looks of fine-tuned Stable
Diffusion. On a ground as dark as night, three of them away, nothing that a motion module sees is as it was."""
LOOKS: dict[str, Callable[[_Body, np.ndarray], np.ndarray]] = {"paper": _paper, "dusk": _dusk, "chalk": _chalk}
"""*paper* is the base model's; the others are of personalised models."""
