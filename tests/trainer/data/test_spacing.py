import itertools
from fractions import Fraction

import pytest

from animatediff_ext.media import Timeline
from animatediff_ext.trainer.config import Sample
from animatediff_ext.trainer.data.spacing import frames_from, num_starts


def steady(num_frames: int, fps) -> Timeline:
    return Timeline.of(range(num_frames), fps)


def in_ms(num_frames: int, fps) -> Timeline:
    """As Matroska and WebM round."""
    return Timeline.of([round(1000 * index / Fraction(fps)) for index in range(num_frames)], 1000)


@pytest.mark.parametrize(("length", "starts"), [(1, 0), (60, 0), (61, 1), (62, 2), (100, 40)])
def test_a_stride_is_kept_exactly_or_the_clip_is_too_short(length, starts):
    assert num_starts(steady(length, 24), 16, Sample(stride=4)) == starts


def test_every_start_with_a_stride_stays_inside_the_clip():
    timeline, sample = steady(70, 24), Sample(stride=4)
    taken = [frames_from(timeline, start, 16, sample) for start in range(num_starts(timeline, 16, sample))]
    assert [frames[0] for frames in taken] == list(range(10))
    assert all(b - a == 4 for frames in taken for a, b in itertools.pairwise(frames))
    assert taken[-1][-1] == 69


@pytest.mark.parametrize("clip", [steady, in_ms], ids=["exact", "milliseconds"])
@pytest.mark.parametrize(("fps", "taken", "step"), [(30, 15, 2), (24, 8, 3), (25, 25, 1), (60, 10, 6)])
def test_a_rate_that_divides_the_clip_s_own_is_a_stride(clip, fps, taken, step):
    timeline, sample = clip(100, fps), Sample(fps=taken)
    possible = num_starts(timeline, 8, sample)
    # The last frame is on screen until the next one would begin, but no later frame is asked for by then.
    assert possible == 100 - 7 * step
    for start in range(possible):
        assert frames_from(timeline, start, 8, sample) == tuple(range(start, start + 8 * step, step))


def test_frames_at_a_rate_are_those_on_screen_then_where_the_rate_varies():
    starts_ms = [0, 100, 110, 120, 400, 500]
    timeline, sample = Timeline.of(starts_ms, 1000), Sample(fps=10)
    assert frames_from(timeline, 0, 6, sample) == (0, 1, 3, 3, 4, 5)
    assert num_starts(timeline, 6, sample) == 1
    assert frames_from(timeline, 2, 4, sample) == (2, 3, 3, 4)


def test_frames_at_a_rate_are_those_that_a_slow_search_finds():
    timeline, sample = steady(50, Fraction(30000, 1001)), Sample(fps=12.5)
    times = [float(index * Fraction(1001, 30000)) for index in range(50)]
    for start in range(num_starts(timeline, 6, sample)):
        wanted = [times[start] + index / 12.5 for index in range(6)]
        near = 1001 / 30000 / 4  # the slack is below a quarter of a frame
        expected = [max(n for n in range(50) if times[n] <= time + near) for time in wanted]
        assert frames_from(timeline, start, 6, sample) == tuple(expected)


@pytest.mark.parametrize(("length", "starts"), [(15, 0), (16, 1), (17, 2)])
def test_a_clip_of_n_frames_at_the_wanted_rate_gives_n_frames(length, starts):
    assert num_starts(steady(length, 8), 16, Sample(fps=8)) == starts


def test_a_picture_is_long_enough_for_one_frame_only():
    still = Timeline.of([0], 1)
    for sample in (Sample(stride=4), Sample(fps=8)):
        assert num_starts(still, 1, sample) == 1
        assert num_starts(still, 2, sample) == 0
        assert frames_from(still, 0, 1, sample) == (0,)


def test_a_slow_clip_repeats_frames_at_a_higher_rate_and_keeps_its_speed():
    timeline, sample = steady(10, 5), Sample(fps=10)
    assert frames_from(timeline, 1, 5, sample) == (1, 1, 2, 2, 3)
