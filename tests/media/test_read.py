import struct
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from animatediff_ext.media import (
    ENDINGS,
    WRITERS,
    ClipInfo,
    MediaError,
    frame_times,
    frames_at,
    probe,
    read_comment,
    read_frames,
)
from animatediff_ext.media.webp import exif_with

from .clips import INFOTEXT, VIDEO_FORMATS, LazyClip, shape_frame


@pytest.mark.parametrize(
    ("format", "codec", "duration_s"),
    [("GIF", "gif", 1.6), ("WEBP", "webp", 1.6), ("MP4", "h264", 1.6), ("WEBM", "vp9", 1.6), ("PNG", "png", None)],
)
def test_probe_tells_what_was_written(tmp_path, format, codec, duration_s):
    path = WRITERS[format](LazyClip(12), tmp_path / f"clip{ENDINGS[format]}", fps=7.5, comment=INFOTEXT)
    info = probe(str(path))
    assert info == ClipInfo(
        format=format,
        codec=codec,
        width=64,
        height=48,
        num_frames=12,
        fps=info.fps,
        duration_s=info.duration_s,
        comment=INFOTEXT,
    )
    if duration_s is None:
        assert (info.fps, info.duration_s) == (None, None)
    else:
        assert info.fps == pytest.approx(7.5, rel=1e-3)
        assert info.duration_s == pytest.approx(duration_s, abs=2e-3)


@pytest.mark.parametrize("format", [*VIDEO_FORMATS, "PNG"])
def test_frames_come_back_in_order_as_writable_rgb(tmp_path, format):
    clip = LazyClip(11)
    frames = list(read_frames(WRITERS[format](clip, tmp_path / f"clip{ENDINGS[format]}", fps=8)))
    assert [(frame.dtype, frame.shape) for frame in frames] == [(np.uint8, (48, 64, 3))] * 11
    for frame, original in zip(frames, clip, strict=True):
        assert frame.flags.writeable
        assert np.abs(frame.astype(int) - original).mean() < 16


@pytest.mark.parametrize("format", [*VIDEO_FORMATS, "PNG"])
def test_a_clip_without_comment_has_an_empty_one(tmp_path, format):
    assert read_comment(WRITERS[format](LazyClip(2), tmp_path / f"clip{ENDINGS[format]}", fps=8)) == ""


def test_the_kind_of_a_file_is_what_is_in_it(tmp_path):
    path = WRITERS["GIF"](LazyClip(3), tmp_path / "clip.mp4", fps=8)
    assert probe(path).format == "GIF"
    assert probe(WRITERS["MP4"](LazyClip(3), tmp_path / "clip.gif", fps=8)).format == "MP4"
    assert probe(WRITERS["MP4"](LazyClip(3), tmp_path / "clip.mov", fps=8)).format == "MOV"


def test_pictures_of_a_folder_come_in_natural_order_in_their_own_sizes(tmp_path):
    for number in (10, 9, 1, 2):
        Image.new("L", (number, 3), number).save(tmp_path / f"frame {number}.PNG")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._frame 1.PNG").write_bytes(b"what a Mac leaves beside files")
    assert [frame.shape for frame in read_frames(tmp_path)] == [(3, number, 3) for number in (1, 2, 9, 10)]
    info = probe(tmp_path)
    assert (info.num_frames, info.width, info.fps) == (4, 1, None)


def test_what_is_transparent_is_white(tmp_path):
    hidden = Image.new("RGBA", (4, 4), (200, 30, 40, 0))
    hidden.paste((10, 20, 30, 255), (0, 0, 2, 4))
    for name in ("a.png", "b.webp"):
        hidden.save(tmp_path / name, lossless=True, exact=True)
    for frame in (*read_frames(tmp_path), frames_at(tmp_path / "a.png", [0])[0]):
        assert frame[0, 0].tolist() == [10, 20, 30]
        assert frame[0, 3].tolist() == [255, 255, 255]


def test_grey_of_16_bits_keeps_its_steps(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None]
    Image.fromarray(ramp).save(tmp_path / "a.png")
    np.testing.assert_array_equal(frames_at(tmp_path / "a.png", [0])[0, 0, :, 1], np.arange(256))


def test_a_gif_without_delays_is_read_as_browsers_play_it(tmp_path):
    path = WRITERS["GIF"](LazyClip(1), tmp_path / "a.gif", fps=8)
    data = path.read_bytes()
    at = data.index(b"\x21\xf9\x04") + 4
    path.write_bytes(data[:at] + b"\0\0" + data[at + 2 :])
    assert probe(path).duration_s == pytest.approx(0.1)


@pytest.mark.parametrize(("delay_ms", "shown_ms"), [(10, 100), (20, 20)])
def test_a_clip_is_as_long_in_one_look_as_in_the_other(tmp_path, delay_ms, shown_ms):
    path = tmp_path / "a.gif"
    by_pillow(path, duration=delay_ms)
    assert (probe(path).fps, probe(path).duration_s) == (pytest.approx(1000 / shown_ms), 3 * shown_ms / 1000)
    assert frame_times(path) == pytest.approx([0, shown_ms / 1000, 2 * shown_ms / 1000])


def test_a_webp_without_delays_is_read_as_browsers_play_it(tmp_path):
    path = WRITERS["WEBP"](LazyClip(16), tmp_path / "a.webp", fps=8)
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"ANMF", at + 1)) != -1:
        data[at + 8 + 12 : at + 8 + 15] = b"\0\0\0"  # behind place and size
    path.write_bytes(data)
    assert (probe(path).fps, probe(path).duration_s) == (10, 1.6)


def test_a_still_webp_is_a_clip_of_one_frame(tmp_path):
    Image.fromarray(shape_frame(0)).save(tmp_path / "still.webp")
    assert probe(tmp_path / "still.webp").num_frames == 1
    assert len(list(read_frames(tmp_path / "still.webp"))) == 1


def test_the_comment_of_pillow_s_own_exif_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + INFOTEXT.encode("utf-16-be")}
    Image.fromarray(shape_frame(0)).save(tmp_path / "still.webp", exif=exif.tobytes())
    assert read_comment(tmp_path / "still.webp") == INFOTEXT


def by_pillow(path, duration=125, **how):
    first, *rest = (Image.fromarray(frame) for frame in LazyClip(3))
    first.save(path, save_all=True, append_images=rest, duration=duration, loop=0, **how)


def by_pyav(path, codec, keys):
    import av

    with av.open(str(path), "w") as file:
        file.metadata.update(dict.fromkeys(keys, INFOTEXT))
        stream = file.add_stream(codec, 8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in [*(av.VideoFrame.from_ndarray(frame) for frame in LazyClip(3)), None]:
            file.mux(stream.encode(frame))


FILES_OF_OLD = {
    "gif": lambda path: by_pillow(path, comment=INFOTEXT),
    # piexif's layout: two directories, big-endian
    "webp": lambda path: by_pillow(path, exif=b"Exif\0\0" + exif_with(INFOTEXT)),
    "mp4": lambda path: by_pyav(path, "libx264", ["Comment"]),
    "webm": lambda path: by_pyav(path, "libvpx-vp9", ["Title", "Comment"]),
}
"""What sd-webui-animatediff (scripts/animatediff_output.py) puts where, by the ending of its files."""


@pytest.mark.parametrize("ending", FILES_OF_OLD)
def test_infotexts_in_files_of_the_old_extension_are_read(tmp_path, ending):
    path = tmp_path / f"00012-7.{ending}"
    FILES_OF_OLD[ending](path)
    assert read_comment(path) == INFOTEXT


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_photographs_taken_sideways_are_turned_upright_in_a_folder_too(tmp_path, name):
    upright = shape_frame(1, 48, 64)
    exif = Image.Exif()
    exif[0x0112] = 6  # TIFF's orientation: the top is on the right
    Image.fromarray(np.rot90(upright)).save(tmp_path / name, exif=exif, lossless=True)
    (frame,) = read_frames(tmp_path)
    np.testing.assert_array_equal(frame, upright)
    np.testing.assert_array_equal(frame, frames_at(tmp_path / name, (0,))[0])
    assert (probe(tmp_path).width, probe(tmp_path).height) == (64, 48)
    if name == "a.webp":
        np.testing.assert_array_equal(frame, next(read_frames(tmp_path / name)))
        assert (probe(tmp_path / name).width, probe(tmp_path / name).height) == (64, 48)


def test_a_picture_whose_exif_is_none_stays_as_it_is(tmp_path):
    upright = shape_frame(1, 48, 64)
    Image.fromarray(upright).save(tmp_path / "a.png", exif=b"garbage")
    np.testing.assert_array_equal(next(read_frames(tmp_path)), upright)


def test_video_filmed_sideways_is_turned_upright(tmp_path):
    if not hasattr(__import__("av").VideoFrame, "rotation"):
        pytest.skip("this PyAV does not tell the rotation")
    upright = shape_frame(1, 48, 64)
    path = WRITERS["MP4"]([np.rot90(upright)] * 3, tmp_path / "phone.mp4", fps=8)
    data = path.read_bytes()
    # ISO/IEC 14496-12, track header: the matrix is 40 bytes into the body; this one turns by 90° clockwise
    matrix = data.index(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:matrix] + turned + data[matrix + 36 :])
    frame = next(read_frames(path))
    assert frame.shape == (48, 64, 3)
    assert np.abs(frame.astype(int) - upright).mean() < 12
    assert (probe(path).width, probe(path).height) == (64, 48)


ANY_READ = pytest.mark.parametrize("read", [probe, read_frames, read_comment])


@ANY_READ
def test_a_missing_file_is_told_at_once(tmp_path, read):
    with pytest.raises(MediaError, match=r"gone\.mp4 cannot be read"):
        read(tmp_path / "gone.mp4")


@pytest.mark.parametrize("read", [probe, lambda path: list(read_frames(path)), read_comment])
class TestRefused:
    def test_a_folder_without_pictures(self, tmp_path, read):
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(MediaError, match="has no pictures"):
            read(tmp_path)

    @pytest.mark.parametrize(
        "content", [b"", b"hello, I am text\n" * 99, b"\0" * 4096, b"#EXTM3U\n#EXTINF:1,\nx.mp4\n"]
    )
    def test_a_file_that_is_no_video(self, tmp_path, read, content):
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"clip\.mp4 is no video"):
            read(path)

    def test_a_playlist_that_names_another_file(self, tmp_path, read):
        secret = WRITERS["MP4"](LazyClip(2), tmp_path / "secret.mp4", fps=8)
        lists = {
            "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
            "a.ffconcat": f"ffconcat version 1.0\nfile {secret.name}\n",
        }
        for name, text in lists.items():
            (tmp_path / name).write_text(text)
            with pytest.raises(MediaError, match="is no video"):
                read(tmp_path / name)

    def test_a_single_picture(self, tmp_path, read):
        Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
        with pytest.raises(MediaError, match="is no video"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("head", [b"GIF89a", b"RIFF\0\0\0\0WEBPVP8X"])
def test_a_picture_that_ends_after_its_head_is_told(tmp_path, head):
    (tmp_path / "a").write_bytes(head)
    with pytest.raises(MediaError, match="damaged"):
        probe(tmp_path / "a")


@pytest.mark.parametrize("format", ["GIF", "WEBP", "MP4", "WEBM"])
def test_a_file_cut_short_gives_its_first_frames_or_a_sentence(tmp_path, format):
    path = WRITERS[format](LazyClip(20), tmp_path / f"clip{ENDINGS[format]}", fps=8, comment=INFOTEXT)
    data = path.read_bytes()
    for part in (0.2, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        for read in (probe, read_comment, lambda path: list(read_frames(path))):
            with suppress(MediaError):  # anything else is ours
                read(path)
