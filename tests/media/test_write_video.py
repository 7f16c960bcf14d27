import av
import numpy as np
import pytest

from animatediff_ext.media import WRITERS, EncodeOptions, MediaError, check_formats, read_frames
from animatediff_ext.media import video as video_module
from animatediff_ext.media.pyav import has_encoder

from .clips import INFOTEXT, LazyClip, names_in, shape_frame

BOTH = pytest.mark.parametrize("format", ["MP4", "WEBM"])


def write(format, frames, folder, **settings):
    return WRITERS[format](frames, folder / f"clip.{format.lower()}", **settings)


@BOTH
@pytest.mark.parametrize("fps", [1, 7.5, 8, 23.976, 24000 / 1001, 60])
def test_a_video_has_every_frame_at_a_constant_rate(tmp_path, format, fps):
    path = write(format, LazyClip(23), tmp_path, fps=fps)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        starts = [float(frame.pts * frame.time_base) for frame in file.decode(stream)]
        tick_s = float(stream.time_base)
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-3 if format == "WEBM" else 1e-9)
        assert (stream.codec_context.width, stream.codec_context.height) == (64, 48)
    np.testing.assert_allclose(starts, np.arange(23) / fps, atol=tick_s)


def test_an_mp4_lasts_exactly_as_long_as_its_frames(tmp_path):
    for fps in (7.5, 8, 23.976, 30):
        with av.open(str(write("MP4", LazyClip(16), tmp_path, fps=fps))) as file:
            stream = file.streams.video[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(16 / fps, abs=1e-6)


@BOTH
def test_a_single_frame_is_a_video(tmp_path, format):
    assert len(list(read_frames(write(format, LazyClip(1), tmp_path, fps=8)))) == 1


@BOTH
@pytest.mark.parametrize(("height", "width"), [(47, 64), (48, 63), (33, 35), (1, 1)])
def test_odd_sides_grow_by_a_copy_of_the_last_row_or_column(tmp_path, format, height, width):
    clip = LazyClip(3, height, width)
    frames = list(read_frames(write(format, clip, tmp_path, fps=8)))
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    for frame, original in zip(frames, clip, strict=True):
        assert np.abs(frame[:height, :width].astype(int) - original).mean() < 12
        np.testing.assert_allclose(frame[-1, -1], original[-1, -1], atol=24)


@BOTH
@pytest.mark.parametrize("comment", [INFOTEXT, "x; a=b\\ #", "é狐🦊\n" * 10_000])
def test_the_comment_is_metadata(tmp_path, format, comment):
    with av.open(str(write(format, LazyClip(2), tmp_path, fps=8, comment=comment))) as file:
        metadata = {key.lower(): value for key, value in file.metadata.items()}
    assert metadata["comment"] == comment
    if format == "WEBM":
        assert metadata["title"] == comment.split("\n")[0]


@BOTH
def test_no_comment_writes_no_comment(tmp_path, format):
    with av.open(str(write(format, LazyClip(2), tmp_path, fps=8))) as file:
        assert not {"comment", "title"} & {key.lower() for key in file.metadata}


@BOTH
def test_colours_come_back(tmp_path, format):
    clip = [
        np.full((32, 32, 3), colour, np.uint8) for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 160, 200)]
    ]
    for frame, original in zip(read_frames(write(format, clip, tmp_path, fps=2)), clip, strict=True):
        np.testing.assert_allclose(frame.mean((0, 1)), original[0, 0], atol=5)


@BOTH
def test_a_colour_clip_survives_with_a_small_error(tmp_path, format):
    clip = LazyClip(12, 128, 128)
    frames = np.array(list(read_frames(write(format, clip, tmp_path, fps=8))), int)
    difference = frames - np.array(list(clip), int)
    assert np.abs(difference).mean() < 3
    assert np.abs(difference.mean((0, 1, 2))).max() < 2


@BOTH
def test_video_is_bt709_and_says_so(tmp_path, format):
    red = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    with av.open(str(write(format, [red] * 3, tmp_path, fps=8))) as file:
        frame = next(file.decode(video=0))
        context = file.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)
    assert frame.format.name == "yuv420p"
    # Rec. ITU-R BT.709: Y = 16 + 219 · 0.2126 for pure red; BT.601 would say 16 + 219 · 0.299 = 81
    assert frame.to_ndarray()[:32].mean() == pytest.approx(16 + 219 * 0.2126, abs=2)


def test_the_index_of_an_mp4_is_in_front(tmp_path):
    data = write("MP4", LazyClip(8), tmp_path, fps=8, comment=INFOTEXT).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_crf_preset_and_tune_reach_the_encoder(tmp_path):
    clip = LazyClip(8, 256, 256)
    best = write("MP4", clip, tmp_path, fps=8, options=EncodeOptions(mp4_crf=1)).stat().st_size
    settings = EncodeOptions(mp4_crf=40, mp4_preset="ultrafast", mp4_tune="animation")
    smallest = write("MP4", clip, tmp_path, fps=8, options=settings)
    assert smallest.stat().st_size < best / 2
    # x264 writes its settings into the stream: no CABAC is "ultrafast", psy-rd of 0.4 "animation"
    data = smallest.read_bytes()
    for setting in (b"crf=40.0", b"cabac=0", b"psy_rd=0.40", b"sliced_threads=0"):
        assert setting in data


@pytest.mark.parametrize(("codec", "names"), [("h265", {"hevc"}), ("av1", {"av1", "libdav1d", "libaom-av1"})])
@pytest.mark.parametrize("preset", ["", "ultrafast"])
def test_other_codecs_of_mp4_are_written_where_the_build_has_them(tmp_path, codec, names, preset):
    if not any(map(has_encoder, video_module.ENCODERS[codec])):
        pytest.skip(f"this build of PyAV has no encoder for {codec}")
    options = EncodeOptions(mp4_codec=codec, mp4_preset=preset)
    path = write("MP4", LazyClip(9, 64, 64), tmp_path, fps=8, comment=INFOTEXT, options=options)
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.name in names
        assert file.metadata["comment"] == INFOTEXT
        assert sum(1 for _ in file.decode(video=0)) == 9
    assert (codec == "h265") == (b"hvc1" in path.read_bytes())


@pytest.mark.parametrize(
    ("format", "codec", "missing"),
    [("MP4", "h264", "libx264"), ("MP4", "h265", "libx265"), ("WEBM", "vp9", "libvpx-vp9")],
)
def test_a_missing_encoder_names_codec_format_and_ways_out(tmp_path, monkeypatch, format, codec, missing):
    monkeypatch.setattr(video_module, "has_encoder", lambda name: name in {"libx264", "libvpx-vp9", "gif"} - {missing})
    options = EncodeOptions(mp4_codec=codec if format == "MP4" else "h264")
    with pytest.raises(MediaError) as caught:
        write(format, LazyClip(2), tmp_path, fps=8, options=options)
    told, choices = str(caught.value).split("Choose ")
    assert codec in told
    assert format in told
    assert ("MP4 with h264" in choices) == (missing != "libx264")
    assert ("WEBM" in choices) == (missing != "libvpx-vp9")
    assert "GIF" in choices
    assert names_in(tmp_path) == []


def test_an_encoder_that_no_build_has_is_not_there():
    assert not has_encoder("libnothing")
    assert has_encoder("mpeg4")


@pytest.mark.skipif(not has_encoder("libsvtav1"), reason="this build of PyAV has another encoder for av1")
def test_av1_that_would_play_too_fast_is_refused_in_words_before_any_frame(tmp_path):
    av1 = EncodeOptions(mp4_codec="av1")
    check_formats(["MP4"], av1, fps=240)
    check_formats(["GIF", "WEBM"], av1, fps=1000)
    check_formats(["MP4"], EncodeOptions(mp4_codec="h265"), fps=1000)
    told = r"plays 250 frames a second \(FPS times Interp X\), but MP4 with av1 takes at most 240.*h264"
    with pytest.raises(MediaError, match=told):
        check_formats(["MP4"], av1, fps=250)
    with pytest.raises(MediaError, match=told):
        write("MP4", LazyClip(2), tmp_path, fps=250, options=av1)
    assert len(list(read_frames(write("MP4", LazyClip(2, 64, 64), tmp_path, fps=240, options=av1)))) == 2


def test_a_size_that_the_encoder_refuses_becomes_a_sentence(tmp_path):
    with pytest.raises(MediaError, match="refused a video of 20000×2"):
        write("MP4", [np.zeros((2, 20000, 3), np.uint8)], tmp_path, fps=8)
    assert names_in(tmp_path) == []


def test_a_name_with_a_colon_is_a_name_and_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    WRITERS["MP4"]([shape_frame(0)], "data:clip.mp4", fps=8)
    assert len(list(read_frames("data:clip.mp4"))) == 1
