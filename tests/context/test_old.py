"""The windows of sd-webui-animatediff, against a slow version that fills an array as that extension does."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animatediff_ext.context import old_windows
from animatediff_ext.context.old import old_uniform

LOOPS = ("N", "R-P", "R+P", "A")


def slow_windows(num_frames, length, overlap, stride, closed_loop, step):
    """By the words of its documentation, frame by frame: each exponent has a ring that begins at a bit-reversed share
    of the clip, and N puts the ends of the clip in place of what reaches over the seam."""
    bits = f"{step:b}"
    share = sum(int(bit) / 2 ** (place + 1) for place, bit in enumerate(reversed(bits)))
    found = []
    for exponent in range(min(stride, math.ceil(math.log2(num_frames / length)) + 1)):
        every = 2**exponent
        place = round(num_frames * share)
        stop = place + num_frames - (overlap if closed_loop != "A" else 0)
        place += int(share * every)
        skip = False
        while place < stop:
            window = []
            for _ in range(length):
                window.append(place % num_frames)
                place += every
            place -= overlap
            seam = window.index(0) if 0 in window[1:] else 0
            if closed_loop != "N" or every > 1 or not seam:
                found.append(window)
            elif skip:
                found.append([*range(length)])
                skip = False
            else:
                found.append([*range(num_frames)][-length:])
                skip = seam >= length - overlap
                found += [] if skip else [[*range(length)]]
    return found


# num_frames, length, overlap, stride, closed loop, step → first frame of each window, as the old extension has them
KNOWN = [
    ((32, 16, 4, 1, "R-P", 0), [0, 12, 24]),
    ((32, 16, 4, 1, "N", 0), [0, 12, 16, 0]),
    ((32, 16, 4, 1, "A", 0), [0, 12, 24]),
    ((32, 16, 4, 1, "R-P", 1), [16, 28, 8]),
    ((32, 16, 4, 1, "N", 1), [16, 16, 0, 8]),
    ((24, 16, 4, 2, "R-P", 0), [0, 12, 0]),
]


@pytest.mark.parametrize(("case", "starts"), KNOWN)
def test_known_windows(case, starts):
    assert [window[0] for window in old_uniform(*case)] == starts


CASES = st.tuples(
    st.integers(1, 200), st.integers(2, 32), st.floats(0, 0.999), st.integers(1, 4), st.sampled_from(LOOPS)
)


@given(case=CASES, step=st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_of_every_frame_the_prediction_of_its_last_window_is_left(case, step):
    num_frames, length, share, stride, closed_loop = case
    overlap = int(share * length)
    windows = [[*range(num_frames)]]
    if num_frames > length:
        windows = slow_windows(num_frames, length, overlap, stride, closed_loop, step)
    left = {frame: number for number, window in enumerate(windows) for frame in window}

    found = {}
    kept = old_windows(num_frames, length=length, overlap=overlap, stride=stride, closed_loop=closed_loop, step=step)
    for window in kept:
        assert set(window.weights) <= {0.0, 1.0}
        for frame, weight in zip(window.frames, window.weights, strict=True):
            if weight:
                assert frame not in found
                found[frame] = [*window.frames]
    assert found == {frame: windows[number] for frame, number in left.items()}


def test_a_frame_that_is_twice_in_a_window_counts_once():
    windows = old_windows(24, length=16, overlap=4, stride=2, closed_loop="R-P", step=0)
    assert any(len(set(window.frames)) < len(window.frames) for window in windows)
    total = [0.0] * 24
    for window in windows:
        for frame, weight in zip(window.frames, window.weights, strict=True):
            total[frame] += weight
    assert total == [1.0] * 24


def test_only_an_open_loop_leaves_frames_out():
    """As the old extension does: at step 1 a clip of 25 frames misses its first one."""

    def missing(closed_loop, step):
        windows = old_windows(25, length=16, overlap=4, stride=1, closed_loop=closed_loop, step=step)
        return {*range(25)} - {frame for window in windows for frame in window.frames}

    assert any(missing("N", step) for step in range(20))
    assert not any(missing(loop, step) for loop in LOOPS[1:] for step in range(20))
