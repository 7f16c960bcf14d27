import numpy as np
import pytest
from PIL import Image, ImageSequence

from animatediff_ext.media import WRITERS, EncodeOptions, MediaError

from .clips import INFOTEXT, LazyClip

write_webp = WRITERS["WEBP"]
LOSSLESS = EncodeOptions(webp_lossless=True)


def opened(path) -> tuple[list[np.ndarray], list[int]]:
    """Frames and their durations in ms, by libwebp's animation decoder in Pillow."""
    frames, durations_ms = [], []
    with Image.open(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            frame.load()
            frames.append(np.asarray(frame.convert("RGB")))
            durations_ms.append(frame.info["duration"])
    return frames, durations_ms


def user_comment(path) -> str:
    """The way of the WebUI (modules/images.py, read_info_from_image) and of piexif.helper.UserComment.load."""
    with Image.open(path) as picture:
        value = picture.getexif().get_ifd(0x8769)[0x9286]
    assert value[:8] == b"UNICODE\0"
    return value[8:].decode("utf-16-be")


def test_a_lossless_webp_gives_back_every_pixel(tmp_path):
    clip = LazyClip(9, 37, 51)
    frames, _ = opened(write_webp(clip, tmp_path / "a.webp", fps=8, options=LOSSLESS))
    np.testing.assert_array_equal(frames, list(clip))


def test_quality_trades_size_for_likeness(tmp_path):
    clip = LazyClip(4)
    sizes, errors = [], []
    for quality in (5, 50, 100):
        path = write_webp(clip, tmp_path / "a.webp", fps=8, options=EncodeOptions(webp_quality=quality))
        sizes.append(path.stat().st_size)
        errors.append(np.abs(np.array(opened(path)[0], int) - list(clip)).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 3


@pytest.mark.parametrize(
    ("fps", "durations_ms"),
    [(8, [125] * 6), (7.5, [133, 134, 133] * 2), (60, [17, 16, 17] * 2), (100, [20] * 3), (90, [11] * 4 + [12, 11])],
)
def test_durations_are_milliseconds_that_never_drift(tmp_path, fps, durations_ms):
    assert opened(write_webp(LazyClip(6), tmp_path / "a.webp", fps=fps))[1] == durations_ms


@pytest.mark.parametrize("plays", [0, 1, 3, 65535])
def test_the_loop_count_of_webp_is_the_number_of_plays(tmp_path, plays):
    with Image.open(write_webp(LazyClip(3), tmp_path / "a.webp", fps=8, loops=plays)) as picture:
        assert picture.info["loop"] == plays


@pytest.mark.parametrize("comment", [INFOTEXT, "x", "é狐🦊\n" * 10_000])
def test_the_comment_is_an_exif_user_comment(tmp_path, comment):
    path = write_webp(LazyClip(2), tmp_path / "a.webp", fps=8, comment=comment)
    assert user_comment(path) == comment
    assert len(opened(path)[0]) == 2


def test_no_comment_writes_no_exif(tmp_path):
    with Image.open(write_webp(LazyClip(2), tmp_path / "a.webp", fps=8)) as picture:
        assert "exif" not in picture.info


def test_a_single_frame_is_an_animation_of_one_frame(tmp_path):
    frames, durations_ms = opened(write_webp(LazyClip(1, 1, 1), tmp_path / "a.webp", fps=4))
    assert frames[0].shape == (1, 1, 3)
    assert durations_ms == [250]


def test_a_picture_too_large_for_webp_is_refused_with_a_way_out(tmp_path):
    with pytest.raises(MediaError, match=r"16383.*MP4 or PNG"):
        write_webp([np.zeros((2, 16384, 3), np.uint8)], tmp_path / "a.webp", fps=8)


def test_the_size_in_the_head_is_the_size_of_the_file(tmp_path):
    data = write_webp(LazyClip(3), tmp_path / "a.webp", fps=8, comment="odd").read_bytes()
    assert int.from_bytes(data[4:8], "little") + 8 == len(data)
