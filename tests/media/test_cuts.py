"""Where a scene ends."""

import itertools

import numpy as np
import pytest

from animatediff_ext.media.cuts import is_cut

from .clips import LazyClip, shape_frame


def scene(seed: int, height=72, width=96) -> np.ndarray:
    """A crowd of rectangles in a few colours of its own, twice as wide as a frame."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, 2 * width, 3), rng.integers(0, 256, 3), np.uint8)
    colours = rng.integers(0, 256, (4, 3))
    for _ in range(60):
        top, left = rng.integers(0, height - 8), rng.integers(0, 2 * width - 8)
        picture[top : top + rng.integers(8, 40), left : left + rng.integers(8, 40)] = colours[rng.integers(4)]
    return picture


def test_another_scene_is_a_cut():
    pairs = [(scene(seed), scene(seed + 1)) for seed in range(0, 24, 2)]
    found = [is_cut(one[:, :96], other[:, :96]) for one, other in pairs]
    assert sum(found) >= 11, "one pair in twelve may share its colours"


@pytest.mark.parametrize("step", [1, 8, 24, 48])
def test_motion_is_no_cut_however_fast(step):
    for seed in range(12):
        picture = scene(seed)
        assert not is_cut(picture[:, :96], picture[:, step : step + 96])


def test_the_frames_of_a_clip_are_one_scene():
    frames = list(LazyClip(16))
    assert not any(is_cut(one, other) for one, other in itertools.pairwise(frames))


@pytest.mark.parametrize("light", [0.7, 0.85, 1.2])
def test_a_change_of_light_is_no_cut(light):
    frame = shape_frame(0)
    assert not is_cut(frame, (frame * light).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (31, 33), (65, 7)])
def test_pictures_of_any_size_are_compared(size):
    black = np.zeros((*size, 3), np.uint8)
    assert is_cut(black, black + 255)
    assert not is_cut(black, black)
