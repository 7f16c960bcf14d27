import itertools
import pickle
import random
import struct
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from animatediff_ext.media import MediaError, Timeline, frame_times, frames_at, read_frames, timeline_of
from animatediff_ext.media.video import has_encoder

from .numbered import number_in, numbered_frame, numbers_in, write_numbered

NUM_FRAMES = 40
OLD_PYAV = int(av.__version__.partition(".")[0]) < 14
_random = random.Random(1)
VARIED_MS = [0, *itertools.accumulate(_random.choice([10, 33, 40, 100]) for _ in range(NUM_FRAMES - 1))]
LATE_MS = [5000 + 40 * index for index in range(NUM_FRAMES)]
B_FRAMES = {"bf": "3", "g": "12", "b-adapt": "0"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
OPEN_GOP_H265 = {"x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:log-level=error"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}
HIDDEN = {"g": "16", "auto-alt-ref": "1", "lag-in-frames": "16"}
VIDEOS = {
    "one key picture": ("a.mp4", {}),
    "B-frames": ("a.mp4", {"codec_options": B_FRAMES}),
    "B-frames in Matroska": ("a.mkv", {"codec_options": B_FRAMES}),
    "B-frames in AVI, which has no times": ("a.avi", {"codec_options": B_FRAMES}),
    "open groups": ("a.mp4", {"codec_options": OPEN_GOP}),
    "open groups in a stream": ("a.ts", {"codec_options": OPEN_GOP}),
    "open groups of H.265": ("a.mp4", {"codec": "libx265", "codec_options": OPEN_GOP_H265}),
    "no key picture but the first": ("a.mp4", {"codec_options": REFRESH}),
    "varying rate": ("a.mp4", {"codec_options": B_FRAMES, "starts_ms": VARIED_MS}),
    "varying rate in Matroska": ("a.mkv", {"codec_options": B_FRAMES, "starts_ms": VARIED_MS}),
    "late start": ("a.mp4", {"codec_options": B_FRAMES, "starts_ms": LATE_MS}),
    "late start of a stream": ("a.ts", {"codec_options": B_FRAMES, "starts_ms": LATE_MS}),
    "VP9 with hidden pictures": (
        "a.webm",
        {"codec": "libvpx-vp9", "codec_options": HIDDEN},
    ),
    "VP8 with hidden pictures": (
        "a.webm",
        {"codec": "libvpx", "codec_options": HIDDEN},
    ),
    "AV1": ("a.mp4", {"codec": "libsvtav1", "codec_options": {"g": "16", "preset": "10"}}),
    "MPEG-2 program": ("a.mpg", {"codec": "mpeg2video", "codec_options": {"g": "12", "bf": "2"}}),
}


@pytest.fixture(params=VIDEOS, ids=lambda name: name.replace(" ", "-"))
def video(request, tmp_path):
    name, facts = VIDEOS[request.param]
    if not has_encoder(facts.get("codec", "libx264")):
        pytest.skip("this build of PyAV lacks the encoder")
    if name.endswith(".mpg") and OLD_PYAV:
        pytest.skip("PyAV 12 and 13 crash when they open a program stream")
    return write_numbered(tmp_path / name, NUM_FRAMES, **facts)


def test_every_frame_is_the_one_that_was_asked_for_from_every_start(video):
    timeline = timeline_of(video)
    assert timeline.num_frames == NUM_FRAMES
    for start in range(NUM_FRAMES):
        numbers = range(start, min(NUM_FRAMES, start + 9), 4)
        assert numbers_in(frames_at(video, numbers, timeline=timeline)) == list(numbers)


def test_times_are_those_that_were_written(video, request):
    written = VIDEOS[request.node.callspec.params["video"]][1].get("starts_ms")
    expected = [(ms - written[0]) / 1000 for ms in written] if written else [n / 24 for n in range(NUM_FRAMES)]
    assert frame_times(video) == pytest.approx(expected, abs=2e-3)


def test_frames_are_those_of_read_frames_to_the_bit(video):
    all_frames = list(read_frames(video))
    for number, frame in zip((3, 17, 17, 5), frames_at(video.read_bytes(), (3, 17, 17, 5)), strict=True):
        np.testing.assert_array_equal(frame, all_frames[number])


@pytest.mark.parametrize("options", [B_FRAMES, OPEN_GOP])
@pytest.mark.parametrize("first", [1, 5, 13, 30])
def test_frames_that_an_edit_list_cuts_off_do_not_count(tmp_path, options, first):
    path = write_numbered(tmp_path / "a.mp4", NUM_FRAMES, codec_options=options)
    data = path.read_bytes()
    # ISO/IEC 14496-12, edit list: version and flags, number of edits, duration, where in the media it begins
    at = data.index(b"elst") + 16
    begin = struct.unpack(">i", data[at : at + 4])[0] + first * 512  # ticks of a frame at 24 fps in FFmpeg's clock
    path.write_bytes(data[:at] + struct.pack(">i", begin) + data[at + 4 :])
    assert numbers_in(read_frames(path)) == list(range(first, NUM_FRAMES))
    assert timeline_of(path).num_frames == NUM_FRAMES - first
    for start in range(NUM_FRAMES - first - 4):
        assert numbers_in(frames_at(path, (start, start + 4))) == [first + start, first + start + 4]


@pytest.mark.skipif(OLD_PYAV, reason="FFmpeg 6 does not decode a picture that it counts: an error, not a wrong frame")
@pytest.mark.parametrize("part", [0.3, 0.6])
def test_a_recording_that_begins_in_the_middle_has_the_frames_that_can_be_decoded(tmp_path, part):
    path = write_numbered(tmp_path / "a.ts", NUM_FRAMES, codec_options=OPEN_GOP)
    data = path.read_bytes()
    path.write_bytes(data[int(len(data) * part) // 188 * 188 :])
    shown = numbers_in(read_frames(path))
    assert numbers_in(frames_at(path, range(timeline_of(path).num_frames))) == shown


def test_a_gif_and_a_webp_keep_the_time_of_each_picture(tmp_path):
    pictures = [Image.fromarray(numbered_frame(number)) for number in range(4)]
    for name in ("a.gif", "a.webp"):
        path = tmp_path / name
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[50, 200, 30, 80])
        assert frame_times(path) == pytest.approx([0, 0.05, 0.25, 0.28])
        assert numbers_in(frames_at(path, (3, 1, 1))) == [3, 1, 1]
        assert numbers_in(frames_at(path.read_bytes(), (0,))) == [0]


def test_a_gif_without_delays_has_the_times_of_browsers(tmp_path):
    pictures = [Image.fromarray(numbered_frame(number)) for number in range(3)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    assert frame_times(tmp_path / "a.gif") == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif"])
def test_a_picture_is_one_frame(tmp_path, name):
    Image.fromarray(numbered_frame(9)).save(tmp_path / name)
    assert frame_times(tmp_path / name) == [0.0]
    assert numbers_in(frames_at(tmp_path / name, (0, 0))) == [9, 9]


def test_an_animated_png_moves(tmp_path):
    pictures = [Image.fromarray(numbered_frame(number)) for number in range(3)]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=100)
    assert frame_times(tmp_path / "a.png") == pytest.approx([0, 0.1, 0.2])
    assert numbers_in(frames_at(tmp_path / "a.png", (2, 1))) == [2, 1]


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path):
    upright = numbered_frame(300, height=48, width=64)
    exif = Image.Exif()
    exif[0x0112] = 6  # TIFF's orientation: the top is on the right
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    assert frames_at(tmp_path / "a.png", (0,)).shape == (1, 48, 64, 3)
    assert numbers_in(frames_at(tmp_path / "a.png", (0,))) == [300]


def test_what_is_kept_of_each_frame_can_be_chosen(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 4)
    assert frames_at(path, (1, 3), prepare=lambda rgb: rgb[:8, :16]).shape == (2, 8, 16, 3)


def test_a_timeline_is_small_for_a_steady_rate_and_survives_pickling():
    steady, varied = Timeline.of(range(0, 5120, 512), 12288), Timeline.of([7, 8, 10], Fraction(30000, 1001))
    assert len(steady.steps) == 1
    assert varied.ticks().tolist() == [7, 8, 10]
    for timeline in (steady, varied):
        assert pickle.loads(pickle.dumps(timeline)) == timeline


def test_a_frame_beyond_the_end_is_told_with_what_there_is(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 4)
    with pytest.raises(MediaError, match=r"a\.mp4 has 4 frames, 0 to 3, but 2 to 4 are asked for"):
        frames_at(path, (2, 4))
    longer = Timeline.of(range(0, 10 * 512, 512), 12288)
    with pytest.raises(MediaError, match=r"a\.mp4 has no frame 4 that can be decoded"):
        frames_at(path, (2, 4), timeline=longer)


def test_a_folder_has_no_times(tmp_path):
    Image.fromarray(numbered_frame(0)).save(tmp_path / "0.png")
    with pytest.raises(MediaError, match="is a folder, which has no times"):
        timeline_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello " * 99, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"])
def test_what_is_no_clip_is_told(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"a\.mp4 is "):
        timeline_of(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"^The clip is "):
        timeline_of(content)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_damage_gives_the_right_frame_or_a_sentence(tmp_path, name):
    path = write_numbered(tmp_path / name, NUM_FRAMES, codec_options=B_FRAMES)
    data = bytearray(path.read_bytes())
    for part in (0.3, 0.6, 0.95):
        path.write_bytes(data[: int(len(data) * part)])
        with suppress(MediaError):  # anything else is ours
            for start in range(0, timeline_of(path).num_frames, 5):
                with suppress(MediaError):
                    assert number_in(frames_at(path, (start,))[0]) == start
    for seed in range(8):
        damaged = bytearray(data)
        for place in random.Random(seed).sample(range(len(data) // 4, len(data)), 20):
            damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with suppress(MediaError):
            frames_at(path, range(timeline_of(path).num_frames))
