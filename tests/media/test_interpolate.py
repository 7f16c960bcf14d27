import numpy as np
import pytest

from animatediff_ext.media import WRITERS, MediaError, interpolated, probe

from .clips import LazyClip


class MovingSquare:
    """A bright square on grey that moves 6 pixels a frame."""

    def __init__(self, num_frames):
        self.num_frames = num_frames

    def __len__(self):
        return self.num_frames

    def __iter__(self):
        for index in range(self.num_frames):
            frame = np.full((64, 96, 3), 40, np.uint8)
            frame[20:40, 6 * index + 4 : 6 * index + 24] = (200, 100, 50)
            yield frame


def centre_of_square(frame) -> float:
    weight = np.abs(frame.astype(float) - 40).sum((0, 2))
    return float((weight * np.arange(len(weight))).sum() / weight.sum())


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 9])
def test_n_frames_become_n_minus_1_times_factor_plus_1(num_frames, factor):
    more = interpolated(LazyClip(num_frames), fps=8, factor=factor)
    assert len(list(more)) == len(more) == (num_frames - 1) * factor + 1


@pytest.mark.parametrize("fps", [1, 7.5, 23.976, 24000 / 1001, 59.94])
def test_the_count_is_the_same_at_any_rate(fps):
    assert len(list(interpolated(LazyClip(6), fps=fps, factor=3))) == 16


@pytest.mark.parametrize("factor", [2, 3])
def test_every_frame_of_the_clip_is_there_unchanged(factor):
    clip = LazyClip(7)
    np.testing.assert_array_equal(list(interpolated(clip, fps=8, factor=factor))[::factor], list(clip))


def test_new_frames_show_the_motion_in_between():
    centres = [centre_of_square(frame) for frame in interpolated(MovingSquare(8), fps=8, factor=2)]
    np.testing.assert_allclose(centres, 13.5 + 3 * np.arange(15), atol=2)
    assert min(np.diff(centres)) > 0.5


def test_new_frames_between_equal_frames_are_equal_to_them():
    frame = next(iter(LazyClip(1)))
    for new in interpolated([frame] * 4, fps=8, factor=2):
        np.testing.assert_allclose(new.astype(int), frame, atol=3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 40), (33, 35), (31, 64)])
def test_frames_smaller_than_the_filter_takes_work(height, width):
    clip = LazyClip(3, height, width)
    frames = list(interpolated(clip, fps=8, factor=2))
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 5
    np.testing.assert_array_equal(frames[::2], list(clip))


def test_the_result_can_be_read_again_and_written(tmp_path):
    more = interpolated(LazyClip(5), fps=8, factor=2)
    np.testing.assert_array_equal(list(more), list(more))
    info = probe(WRITERS["MP4"](more, tmp_path / "a.mp4", fps=16))
    assert (info.num_frames, info.fps) == (9, 16)


def test_a_factor_of_1_changes_nothing():
    clip = LazyClip(3)
    assert interpolated(clip, fps=8, factor=1) is clip


@pytest.mark.parametrize("factor", [0, -1, 1.5, True, "2"])
def test_a_wrong_factor_says_what_is_allowed(factor):
    with pytest.raises(MediaError, match=r"factor is .*whole number, 1 or more"):
        interpolated(LazyClip(2), fps=8, factor=factor)


def test_no_frames_are_an_error():
    with pytest.raises(MediaError, match="no frames"):
        list(interpolated([], fps=8, factor=2))


def test_leaving_midway_is_fine():
    first = next(iter(interpolated(LazyClip(40), fps=8, factor=4)))
    np.testing.assert_array_equal(first, next(iter(LazyClip(1))))


class Shots:
    """Two scenes with nothing in common, ``first`` and ``second`` frames long."""

    def __init__(self, first, second):
        self.num_frames, self.first = first + second, first

    def __len__(self):
        return self.num_frames

    def __iter__(self):
        for index, frame in enumerate(LazyClip(self.num_frames)):
            yield frame if index < self.first else 255 - frame[::-1] // 3


@pytest.mark.parametrize(("first", "second"), [(4, 4), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("factor", [2, 5])
def test_a_cut_stays_a_cut(first, second, factor):
    """Both scenes are what they are without the other one, and between them each lasts half of the time."""
    shots = list(Shots(first, second))
    frames = list(interpolated(Shots(first, second), fps=8, factor=factor))
    assert len(frames) == (first + second - 1) * factor + 1
    alone = [list(interpolated(part, fps=8, factor=factor)) for part in (shots[:first], shots[first:])]
    end, begin = (first - 1) * factor, first * factor
    np.testing.assert_array_equal(frames[: end + 1], alone[0])
    np.testing.assert_array_equal(frames[begin:], alone[1])
    for index in range(end + 1, begin):
        nearer = shots[first - 1] if index - end < begin - index else shots[first]
        np.testing.assert_array_equal(frames[index], nearer)


class Ring:
    """A square that goes to and fro, so that the first frame follows the last one."""

    def __len__(self):
        return 8

    def __iter__(self):
        frames = list(MovingSquare(5))
        yield from [*frames, *frames[-2:0:-1]]


def test_a_loop_is_interpolated_over_its_seam():
    open_clip = list(interpolated(Ring(), fps=8, factor=3))
    loop = interpolated(Ring(), fps=8, factor=3, closed=True)
    frames = list(loop)
    assert len(frames) == len(loop) == 24, "as long as the 8 frames were"
    np.testing.assert_array_equal(frames[::3], list(Ring()))
    np.testing.assert_array_equal(frames[:20], open_clip[:20])  # the filter looks two frames ahead
    centres = [centre_of_square(frame) for frame in [*frames[21:], frames[0]]]
    np.testing.assert_allclose(np.diff(centres), -2, atol=1)


def test_a_seam_that_is_a_cut_is_not_blended():
    shots = list(Shots(3, 3))
    frames = list(interpolated(Shots(3, 3), fps=8, factor=4, closed=True))
    assert len(frames) == 24
    np.testing.assert_array_equal(frames[21], shots[-1])
    np.testing.assert_array_equal(frames[23], shots[0])


def test_a_loop_of_one_frame_stands_still():
    (frame,) = LazyClip(1)
    frames = np.array(list(interpolated([frame], fps=8, factor=3, closed=True)))
    np.testing.assert_allclose(frames.astype(int), np.array([frame] * 3), atol=3)


def test_few_frames_are_held_however_long_the_clip():
    """That nothing waits for the end: the first new frame is there when a handful has been read."""
    read = []

    class Watched(LazyClip):
        def __iter__(self):
            for index, frame in enumerate(super().__iter__()):
                read.append(index)
                yield frame

    most = 0
    for index, _frame in enumerate(interpolated(Watched(40), fps=8, factor=2, closed=True)):
        most = max(most, len(read) - index // 2)
    assert most < 10
