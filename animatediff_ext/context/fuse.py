"""How the predictions of overlapping windows become one: a weighted mean per frame, with weights that sum to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

WeightCurve = Callable[[int, int], list[float]]
"""``curve(length, overlap) -> weights``, one positive weight for each frame of a window."""


class Window(NamedTuple):
    """Frames that go through the UNet together, and what their predictions count for."""

    frames: tuple[int, ...]
    weights: tuple[float, ...]


def flat(length: int, overlap: int) -> list[float]:
    """Every window counts the same."""
    return [1.0] * length


def pyramid(length: int, overlap: int) -> list[float]:
    """1, 2, … up to the middle and down again: frames that saw neighbours on both sides count most."""
    return [float(min(i + 1, length - i)) for i in range(length)]


def linear(length: int, overlap: int) -> list[float]:
    """A cross-fade: ramps over the overlap at both ends, one in between."""
    return [min(1.0, (i + 1) / (overlap + 1), (length - i) / (overlap + 1)) for i in range(length)]


WEIGHTS: dict[str, WeightCurve] = {"flat": flat, "pyramid": pyramid, "linear": linear}


def fused(windows: Sequence[Sequence[int]], *, curve: WeightCurve, overlap: int) -> list[Window]:
    """Give each window its weights, scaled so that for every frame the weights of all windows sum to one."""
    raw = [curve(len(frames), overlap) for frames in windows]
    total: dict[int, float] = {}
    for frames, weights in zip(windows, raw, strict=True):
        for frame, weight in zip(frames, weights, strict=True):
            total[frame] = total.get(frame, 0.0) + weight
    return [
        Window(tuple(frames), tuple(weight / total[frame] for frame, weight in zip(frames, weights, strict=True)))
        for frames, weights in zip(windows, raw, strict=True)
    ]
