import itertools
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from animatediff_ext.context import SCHEDULES, WEIGHTS, fused
from animatediff_ext.context.windows import bit_reversed_fraction


def problems(windows, num_frames, length):
    """What is wrong with a list of windows; nothing, if all is well."""
    found = []
    if set(itertools.chain(*windows)) != set(range(num_frames)):
        found.append("a frame is missing, or an index is no frame")
    if any(len(set(w)) != len(w) for w in windows):
        found.append("a frame is twice in one window")
    if any(len(w) > length for w in windows):
        found.append("a window is too long")
    return found


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("length", [4, 8, 16, 24, 32])
def test_every_frame_is_in_some_window_and_none_twice(name, length):
    for num_frames in range(1, 131):
        for overlap in sorted({0, 1, length // 4, length // 2, length - 1}):
            for stride in (1, 2, 3):
                for step in (0, 1, 2, 3, 7, 12, 24):
                    windows = SCHEDULES[name](num_frames, length=length, overlap=overlap, stride=stride, step=step)
                    case = (num_frames, length, overlap, stride, step)
                    assert not problems(windows, num_frames, length), case


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    weights=st.sampled_from(sorted(WEIGHTS)),
    num_frames=st.integers(1, 400),
    length=st.integers(1, 40),
    overlap_share=st.floats(0, 0.999),
    stride=st.integers(1, 6),
    step=st.integers(0, 200),
)
@example(name="uniform", weights="flat", num_frames=28, length=3, overlap_share=0.0, stride=1, step=2)
@settings(max_examples=400, deadline=None)
def test_weights_sum_to_one_for_every_frame(name, weights, num_frames, length, overlap_share, stride, step):
    overlap = int(overlap_share * length)
    windows = SCHEDULES[name](num_frames, length=length, overlap=overlap, stride=stride, step=step)
    assert not problems(windows, num_frames, length)
    total = [0.0] * num_frames
    for window in fused(windows, curve=WEIGHTS[weights], overlap=overlap):
        assert min(window.weights) > 0
        for frame, weight in zip(window.frames, window.weights, strict=True):
            total[frame] += weight
    assert all(math.isclose(t, 1.0, rel_tol=1e-9) for t in total)


def test_the_checks_can_fail():
    assert problems([[0, 1], [3, 4]], 5, 2)  # frame 2 is missing
    assert problems([[0, 1, 0]], 2, 3)  # twice
    assert problems([[0, 1, 2]], 2, 3)  # no such frame


@pytest.mark.parametrize("name", ["static", "uniform", "looped"])
def test_no_more_windows_than_the_overlap_demands(name):
    for num_frames, step in itertools.product(range(17, 131), range(12)):
        windows = SCHEDULES[name](num_frames, length=16, overlap=4, stride=1, step=step)
        assert len(windows) == math.ceil((num_frames - 4) / 12)


def test_neighbouring_windows_share_at_least_the_overlap():
    for name, num_frames, step in itertools.product(["static", "uniform"], range(17, 131), range(8)):
        windows = SCHEDULES[name](num_frames, length=16, overlap=4, stride=1, step=step)
        for a, b in itertools.pairwise(windows):
            assert len(set(a) & set(b)) >= 4


def test_static_windows_do_not_move_and_uniform_ones_do():
    def at(name, step):
        return SCHEDULES[name](48, length=16, overlap=4, stride=1, step=step)

    assert all(at("static", step) == at("static", 0) for step in range(8))
    assert len({str(at("uniform", step)) for step in range(8)}) > 1


def test_only_looped_windows_cross_the_end():
    def crosses(name):
        return any(
            w != sorted(w) for step in range(8) for w in SCHEDULES[name](40, length=16, overlap=4, stride=1, step=step)
        )

    assert crosses("looped")
    assert crosses("looped often")
    assert not crosses("static")
    assert not crosses("uniform")


def test_a_stride_adds_windows_of_every_second_frame():
    windows = SCHEDULES["uniform"](64, length=16, overlap=4, stride=2, step=0)
    assert [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30] in windows


def test_a_clip_that_fits_the_context_is_one_window():
    for name, num_frames in itertools.product(SCHEDULES, range(1, 17)):
        windows = SCHEDULES[name](num_frames, length=16, overlap=4, stride=4, step=5)
        assert windows == [list(range(num_frames))]


def test_fractions_of_steps_are_the_van_der_corput_sequence():
    assert [bit_reversed_fraction(i) for i in range(8)] == [0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]


def test_linear_weights_cross_fade_over_the_overlap():
    left, right = fused([[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9]], curve=WEIGHTS["linear"], overlap=2)
    assert left.weights[:4] == (1, 1, 1, 1)
    assert left.weights[4:] == pytest.approx((2 / 3, 1 / 3))
    assert right.weights[:2] == pytest.approx((1 / 3, 2 / 3))
