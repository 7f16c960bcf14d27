from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from animatediff_ext.media import WRITERS, EncodeOptions, MediaError

from .clips import INFOTEXT, LazyClip, shape_frame

write_gif = WRITERS["GIF"]
CLIP_PALETTE = EncodeOptions(gif_palette="clip")


def delays_cs(path) -> list[int]:
    with Image.open(path) as picture:
        return [round(frame.info["duration"] / 10) for frame in ImageSequence.Iterator(picture)]


def pictures(path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]


@pytest.mark.parametrize("palette", ["frame", "clip"])
def test_a_gif_keeps_number_size_and_look_of_its_frames(tmp_path, palette):
    clip = LazyClip(10, 37, 51)
    path = write_gif(clip, tmp_path / "a.gif", fps=8, options=EncodeOptions(gif_palette=palette))
    frames = pictures(path)
    assert len(frames) == 10
    for frame, original in zip(frames, clip, strict=True):
        assert frame.shape == (37, 51, 3)
        assert np.abs(frame.astype(int) - original).mean() < 16
        # dithering keeps the mean colour
        np.testing.assert_allclose(frame.mean((0, 1)), original.mean((0, 1)), atol=16)


def test_a_palette_for_the_whole_clip_uses_one_table_of_colours(tmp_path):
    one = write_gif(LazyClip(10), tmp_path / "one.gif", fps=8, options=CLIP_PALETTE)
    many = write_gif(LazyClip(10), tmp_path / "many.gif", fps=8)
    assert len(np.unique(np.concatenate(pictures(one)).reshape(-1, 3), axis=0)) <= 256
    assert len(np.unique(np.concatenate(pictures(many)).reshape(-1, 3), axis=0)) > 256


def test_a_palette_for_the_whole_clip_needs_frames_that_can_be_read_twice(tmp_path):
    with pytest.raises(TypeError, match="twice"):
        write_gif(iter(LazyClip(3)), tmp_path / "a.gif", fps=8, options=CLIP_PALETTE)


def test_8_fps_alternates_between_12_and_13_hundredths(tmp_path):
    delays = delays_cs(write_gif(LazyClip(16), tmp_path / "a.gif", fps=8))
    assert set(delays) == {12, 13}
    assert sum(delays) == 200


@settings(max_examples=25, deadline=None)
@given(num_frames=st.integers(1, 12), fps=st.floats(0.5, 50))
def test_delays_add_up_to_the_nearest_hundredth_of_the_true_duration(tmp_path_factory, num_frames, fps):
    path = tmp_path_factory.mktemp("gif") / "a.gif"
    delays = delays_cs(write_gif(LazyClip(num_frames, 8, 8), path, fps=fps))
    assert len(delays) == num_frames
    assert abs(sum(delays) - num_frames * 100 / fps) <= 0.51 + num_frames * 100 / fps * 1e-4
    assert all(abs(delay - 100 / fps) <= 1.01 for delay in delays)


@pytest.mark.parametrize(("fps", "num_frames"), [(60, 60), (120, 60), (99.5, 31)])
def test_above_50_fps_frames_are_left_out_and_the_duration_stays(tmp_path, fps, num_frames):
    delays = delays_cs(write_gif(LazyClip(num_frames), tmp_path / "a.gif", fps=fps))
    assert min(delays) >= 2
    assert len(delays) < num_frames
    assert abs(sum(delays) - num_frames * 100 / fps) <= 1.5


@pytest.mark.parametrize("palette", ["frame", "clip"])
def test_frames_without_change_are_all_kept(tmp_path, palette):
    path = write_gif([shape_frame(0)] * 5, tmp_path / "a.gif", fps=10, options=EncodeOptions(gif_palette=palette))
    assert delays_cs(path) == [10] * 5


def test_a_single_frame_is_a_gif_that_lasts_one_frame(tmp_path):
    assert delays_cs(write_gif(LazyClip(1), tmp_path / "a.gif", fps=4)) == [25]


@pytest.mark.parametrize(("plays", "repeats"), [(0, 0), (2, 1), (7, 6), (65535, 65534)])
def test_netscape_counts_repeats_where_the_setting_counts_plays(tmp_path, plays, repeats):
    with Image.open(write_gif(LazyClip(3), tmp_path / "a.gif", fps=8, loops=plays)) as picture:
        assert picture.info["loop"] == repeats


def test_a_gif_for_one_play_has_no_loop_block(tmp_path):
    with Image.open(write_gif(LazyClip(3), tmp_path / "a.gif", fps=8, loops=1)) as picture:
        assert "loop" not in picture.info


@pytest.mark.parametrize("loops", [-1, 65536, 1.5, True, "3"])
def test_a_loop_count_that_cannot_be_written_is_refused(tmp_path, loops):
    with pytest.raises(MediaError, match="loop count"):
        write_gif(LazyClip(2), tmp_path / "a.gif", fps=8, loops=loops)


@pytest.mark.parametrize("comment", [INFOTEXT, "x" * 254, "x" * 255, "x" * 256, "x" * 510, "é狐🦊\n" * 10_000])
def test_the_comment_block_holds_any_text(tmp_path, comment):
    with Image.open(write_gif(LazyClip(2), tmp_path / "a.gif", fps=8, comment=comment)) as picture:
        assert picture.info["comment"].decode("utf-8") == comment


def test_no_comment_writes_no_comment_block(tmp_path):
    path = write_gif(LazyClip(2), tmp_path / "a.gif", fps=8)
    with Image.open(path) as picture:
        assert "comment" not in picture.info


def test_ffmpeg_reads_the_gif_too(tmp_path):
    import av

    path = write_gif(LazyClip(7), tmp_path / "a.gif", fps=12.5, comment=INFOTEXT)
    with av.open(str(path)) as file:
        starts = [Fraction(frame.pts) * frame.time_base for frame in file.decode(video=0)]
    assert starts == [Fraction(8 * index, 100) for index in range(7)]
