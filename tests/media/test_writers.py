"""What holds for every format."""

import inspect
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from animatediff_ext.media import ENDINGS, WRITERS, MediaError, probe, read_comment, read_frames
from animatediff_ext.media.comments import clean_comment

from .clips import ALL_FORMATS, VIDEO_FORMATS, LazyClip, names_in, shape_frame

EVERY_FORMAT = pytest.mark.parametrize("format", ALL_FORMATS)
WITH_FRAMES = pytest.mark.parametrize("format", [*VIDEO_FORMATS, "PNG"])


def test_all_writers_have_one_signature():
    assert set(WRITERS) == set(ENDINGS) == set(ALL_FORMATS)
    assert len({str(inspect.signature(writer)) for writer in WRITERS.values()}) == 1


@EVERY_FORMAT
def test_the_path_comes_back_and_missing_folders_are_made(tmp_path, format):
    path = tmp_path / "new" / "2024-01-01" / f"clip{ENDINGS[format]}"
    assert WRITERS[format](LazyClip(2), str(path), fps=8) == path
    assert names_in(path.parent) == [path.name]


@WITH_FRAMES
def test_pictures_of_every_mode_are_taken(tmp_path, format):
    colours = Image.fromarray(shape_frame(3))
    modes = [colours, colours.convert("RGBA"), colours.convert("L"), colours.convert("P"), colours.convert("CMYK")]
    grey = np.asarray(colours.convert("L"))
    arrays = [shape_frame(3)[:, ::-1], np.dstack([shape_frame(3), grey]), grey, grey[..., None]]
    path = WRITERS[format]([*modes, *arrays], tmp_path / f"clip{ENDINGS[format]}", fps=8)
    frames = list(read_frames(path))
    assert len(frames) == 9
    assert all(frame.shape == (48, 64, 3) for frame in frames)
    assert np.abs(frames[5].astype(int) - shape_frame(3)[:, ::-1]).mean() < 16
    assert np.abs(frames[8].astype(int) - grey[..., None]).mean() < 16


@WITH_FRAMES
@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ([], "no frames"),
        ([shape_frame(0), shape_frame(0, 48, 66)], "Frame 1 is 66×48.*64×48.*one size"),
        ([np.zeros((4, 4, 3), np.float32)], "float32"),
        ([np.zeros((4, 4, 2), np.uint8)], r"\(4, 4, 2\)"),
    ],
)
def test_frames_that_make_no_clip_are_refused_and_nothing_is_left(tmp_path, format, frames, told):
    with pytest.raises(MediaError, match=told):
        WRITERS[format](frames, tmp_path / f"clip{ENDINGS[format]}", fps=8)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("format", VIDEO_FORMATS)
@pytest.mark.parametrize("fps", [0, -8, float("nan"), float("inf"), 2000, "fast", None])
def test_an_fps_that_is_no_rate_is_refused(tmp_path, format, fps):
    with pytest.raises(MediaError, match="FPS"):
        WRITERS[format](LazyClip(2), tmp_path / "clip", fps=fps)


@EVERY_FORMAT
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(comment=st.text(st.characters(), max_size=80))
def test_any_text_comes_back_as_the_comment(tmp_path, format, comment):
    path = WRITERS[format](LazyClip(1, 16, 16), tmp_path / f"clip{ENDINGS[format]}", fps=8, comment=comment)
    text = path.read_bytes().decode("utf-8") if format == "TXT" else read_comment(path)
    assert text == clean_comment(comment)


def test_a_cleaned_comment_loses_only_what_no_container_holds():
    assert clean_comment("a\0b\ud800 é狐🦊\r\n\t") == "ab? é狐🦊\r\n\t"


@pytest.mark.parametrize("format", ["GIF", "MP4", "WEBM"])
def test_without_pyav_a_format_that_needs_it_says_so(tmp_path, monkeypatch, format):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MediaError, match=f"Writing {format} needs .*pip install av"):
        WRITERS[format](LazyClip(2), tmp_path / "clip", fps=8)


@pytest.mark.parametrize("format", ["WEBP", "PNG", "TXT"])
def test_without_pyav_the_other_formats_work(tmp_path, monkeypatch, format):
    monkeypatch.setitem(sys.modules, "av", None)
    path = WRITERS[format](LazyClip(2), tmp_path / f"clip{ENDINGS[format]}", fps=8, comment="x")
    if format != "TXT":
        assert probe(path).num_frames == 2
