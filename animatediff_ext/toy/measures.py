"""What can be measured of a clip of the toy world, from its pixels alone.

Axes: f frames, h height, w width. A clip is uint8 ``(f h w 3)``, a picture ``(h w 3)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import ndimage

from animatediff_ext.toy.clips import WATERMARK, with_defect
from animatediff_ext.toy.draw import GROUNDS, LOOKS, draw
from animatediff_ext.toy.scene import COLOURS, HEADINGS, SHAPES, SIDE, Scene

FOREGROUND_DIFFERENCE = 28
"""Of a pixel from its ground, in the channel that differs most, of 255."""
SLOWEST = 0.3
"""Pixels a frame below which a clip goes nowhere. A still video has to fail."""
NOWHERE = "nowhere"
RIMS = {"dusk": (-1.0, -0.01), "paper": (-0.01, 0.35), "chalk": (0.35, 1.0)}
"""How much lighter the rim of a shape is than its inside: more than the first, and at most the second. Rims of paper
are drawn at 0.00 to 0.23, and a VAE, which softens them, gives them back at 0.06 to 0.25; those of dusk at -0.35 to
-0.17, and they come back at -0.15 to -0.02."""


@dataclass(frozen=True)
class Picture:
    """One picture, and what is in it."""

    pixels: np.ndarray

    @cached_property
    def ground(self) -> np.ndarray:
        """The colour that most of the picture has, float ``(3,)``."""
        return np.median(self.pixels.reshape(-1, 3), axis=0)

    @cached_property
    def mask(self) -> np.ndarray:
        """Where the shape is, ``(h w)`` bool: the largest part that is not ground, with what it encloses."""
        difference = abs(self.pixels.astype(float) - self.ground).max(axis=-1)
        return ndimage.binary_fill_holes(_largest_part(difference > FOREGROUND_DIFFERENCE))

    @cached_property
    def centre(self) -> np.ndarray:
        """x and y of the middle of the shape in pixels; NaN where there is none."""
        rows, columns = np.nonzero(self.mask)
        return np.array([columns.mean() + 0.5, rows.mean() + 0.5]) if len(rows) else np.full(2, np.nan)

    @cached_property
    def area(self) -> int:
        """Pixels of the shape."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def hue(self) -> float:
        """Of the shape's colours in degrees, the fuller ones counting more; NaN where it has none."""
        colours = self.pixels[self.mask].astype(float)
        angles = _hue_vectors(colours).sum() if len(colours) else 0
        return float(np.degrees(np.angle(angles)) % 360) if abs(angles) > 1 else float("nan")

    @cached_property
    def colour(self) -> str:
        """The nearest of the colours that there are, empty where there is none."""
        if np.isnan(self.hue):
            return ""
        return min(COLOURS, key=lambda name: abs(_turn(self.hue - _hue_of(name))))

    def shape(self, look: str) -> str:
        """The shape whose drawing overlaps most, empty where nothing is there."""
        return max(SHAPES, key=lambda name: self._overlap(name, look)) if self.area else ""

    def _overlap(self, shape: str, look: str) -> float:
        unit = _drawn(shape, look, SIDE / 2, SIDE / 2, 12.0)
        radius = 12.0 * (self.area / unit.area) ** 0.5
        x, y = self.centre - (unit.centre - SIDE / 2) * radius / 12.0
        drawn = _drawn(shape, look, round(x * 4) / 4, round(y * 4) / 4, round(radius * 4) / 4).mask
        return np.count_nonzero(drawn & self.mask) / max(1, np.count_nonzero(drawn | self.mask))

    @cached_property
    def rim(self) -> float:
        """How much lighter the rim of the shape is than its inside, from -1 to 1; NaN where nothing can be told."""
        rim = self.mask & ~ndimage.binary_erosion(self.mask, iterations=2)
        core = ndimage.binary_erosion(self.mask, iterations=4)
        if not core.any():
            return float("nan")
        return float((self.pixels[rim].mean() - self.pixels[core].mean()) / 255)

    @property
    def look(self) -> str:
        """The look whose ground it has and whose way of drawing a shape; empty where the two are not of one look."""
        ground = min(LOOKS, key=lambda name: np.linalg.norm(self.ground - GROUNDS[name]))
        darkest, lightest = RIMS[ground]
        return ground if darkest < self.rim <= lightest else ""

    @property
    def watermark(self) -> float:
        """How much of the watermark of videos is there: 0 is nothing, 1 as in a video."""
        corner = self.pixels[WATERMARK].astype(float).mean(axis=-1)
        bars = _watermark_bars()
        if (self.mask[WATERMARK]).any():
            return float("nan")  # the shape stands there
        found = self.ground.mean() - corner[bars].mean()
        return float(found / _watermark_contrast(tuple(self.ground)))


@dataclass(frozen=True)
class ClipMeasures:
    """One clip, and how what is in it moves and stays."""

    pictures: Sequence[Picture]

    @classmethod
    def of(cls, frames: Sequence[np.ndarray]) -> ClipMeasures:
        return cls([Picture(np.asarray(frame)) for frame in frames])

    @cached_property
    def _line(self) -> tuple[np.ndarray, np.ndarray]:
        """Velocity ``(2,)`` of the straight path that fits best, and how far each frame is from it, ``(f 2)``."""
        centres = np.array([picture.centre for picture in self.pictures])
        times = np.arange(len(centres), dtype=float)
        if np.isnan(centres).any():  # a frame without a shape is on no path
            return np.zeros(2), np.full((1, 2), np.inf)
        matrix = np.stack([np.ones(len(times)), times], axis=1)
        solution, *_ = np.linalg.lstsq(matrix, centres, rcond=None)
        return solution[1], centres - matrix @ solution

    @property
    def velocity(self) -> np.ndarray:
        """x and y, pixels from frame to frame."""
        return self._line[0]

    @property
    def speed(self) -> float:
        return float(np.linalg.norm(self.velocity))

    @property
    def heading(self) -> str:
        """The heading that is nearest to where it goes."""
        if self.speed < SLOWEST:
            return NOWHERE
        return max(HEADINGS, key=lambda name: float(np.dot(HEADINGS[name], self.velocity)))

    @property
    def residual(self) -> float:
        """Root of the mean squared distance from a straight path at constant speed, in pixels."""
        return float(np.sqrt((self._line[1] ** 2).sum(axis=1).mean()))

    @property
    def hue_spread(self) -> float:
        """Circular standard deviation of the hue over the frames, in degrees; infinite where a frame has none."""
        angles = np.radians([picture.hue for picture in self.pictures])
        if np.isnan(angles).any():
            return float("inf")
        length = min(1.0, abs(np.exp(1j * angles).mean()))
        return float(np.degrees(np.sqrt(max(0.0, -2 * np.log(length))))) if length else float("inf")

    def same_shape(self, look: str) -> float:
        """Share of the frames that have the shape that most of them have."""
        return _share_of_most([picture.shape(look) for picture in self.pictures])

    @property
    def zoom(self) -> float:
        """How many times larger the shape is at the end than at the beginning, by a fit over all frames; NaN where a
        frame has none."""
        sizes = np.array([picture.area for picture in self.pictures], dtype=float)
        if (sizes == 0).any():
            return float("nan")
        slope = np.polyfit(np.arange(len(sizes)), np.log(sizes) / 2, 1)[0]
        return float(np.exp(slope * (len(sizes) - 1)))

    @property
    def watermark(self) -> float:
        found = [picture.watermark for picture in self.pictures]
        return float(np.nanmean(found)) if not np.isnan(found).all() else float("nan")

    def share_of_shape(self, shape: str, look: str) -> float:
        return float(np.mean([picture.shape(look) == shape for picture in self.pictures]))

    def share_of_look(self, look: str) -> float:
        return float(np.mean([picture.look == look for picture in self.pictures]))


def diversity(clips: Sequence[np.ndarray]) -> float:
    """Mean distance of clips of one prompt from each other, frame by frame: root of mean squares, of 255."""
    stacked = np.stack(clips).astype(float)
    distances = [
        np.sqrt(((one - other) ** 2).mean(axis=(1, 2, 3))).mean()
        for i, one in enumerate(stacked)
        for other in stacked[:i]
    ]
    return float(np.mean(distances))


def _share_of_most(names: Sequence[str]) -> float:
    return max(names.count(name) if name else 0 for name in set(names)) / len(names)


def _turn(degrees: float) -> float:
    """The same turn from -180 to 180."""
    return (degrees + 180) % 360 - 180


def _hue_vectors(colours: np.ndarray) -> np.ndarray:
    """A complex number for each colour ``(n 3)``: its angle is the hue, its length how far it is from grey."""
    red, green, blue = (colours / 255).T
    return red - (green + blue) / 2 + 1j * np.sqrt(3) / 2 * (green - blue)


def _hue_of(name: str) -> float:
    return float(np.degrees(np.angle(_hue_vectors(np.array([COLOURS[name]], float))[0])))


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """The part of a mask that is connected over sides and has the most pixels."""
    parts, number = ndimage.label(mask)
    return parts == 1 + np.argmax(np.bincount(parts.ravel(), minlength=2)[1:]) if number else mask


@cache
def _drawn(shape: str, look: str, x: float, y: float, radius: float) -> Picture:
    scene = Scene(colour="red", shape=shape, heading="right", x=x, y=y, radius=radius)
    return Picture(draw(scene, look))


@cache
def _watermark_bars() -> np.ndarray:
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    return with_defect(white)[WATERMARK].mean(axis=-1) < 200


@cache
def _watermark_contrast(ground: tuple[float, ...]) -> float:
    plain = np.ones((SIDE, SIDE, 3)) * ground
    marked = with_defect(plain.astype(np.uint8))[WATERMARK].mean(axis=-1)
    return float(np.mean(ground) - marked[_watermark_bars()].mean())
