import numpy as np
import pytest
from PIL import Image

from animatediff_ext.media import WRITERS, MediaError

from .clips import INFOTEXT, LazyClip, names_in


def test_png_is_a_folder_of_numbered_frames_with_every_pixel(tmp_path):
    clip = LazyClip(12, 37, 51)
    folder = WRITERS["PNG"](clip, tmp_path / "clip", fps=8)
    assert names_in(folder) == [f"{index:05}.png" for index in range(12)]
    for file, original in zip(sorted(folder.iterdir()), clip, strict=True):
        with Image.open(file) as picture:
            assert picture.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(picture), original)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_png_is_as_transparent_as_its_frame(tmp_path, mode):
    frames = [Image.fromarray(array).convert(mode) for array in LazyClip(3)]
    for frame in frames:
        frame.putalpha(Image.linear_gradient("L").resize(frame.size))
    folder = WRITERS["PNG"](frames, tmp_path / "clip", fps=8, comment="plain")
    for file, original in zip(sorted(folder.iterdir()), frames, strict=True):
        with Image.open(file) as picture:
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(original.convert("RGBA")))
            assert picture.text == {"parameters": "plain"}


def test_transparent_frames_have_one_size_too(tmp_path):
    with pytest.raises(MediaError, match="Frame 1 is 9×8"):
        WRITERS["PNG"]([Image.new("RGBA", (8, 8)), Image.new("RGBA", (9, 8))], tmp_path / "clip", fps=8)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("comment", ["plain", INFOTEXT, "é狐🦊\n" * 10_000])
def test_every_png_has_the_comment_as_parameters(tmp_path, comment):
    for file in WRITERS["PNG"](LazyClip(3), tmp_path / "clip", fps=8, comment=comment).iterdir():
        with Image.open(file) as picture:
            assert picture.text == {"parameters": comment}


def test_no_comment_writes_no_text_chunk(tmp_path):
    for file in WRITERS["PNG"](LazyClip(2), tmp_path / "clip", fps=8).iterdir():
        with Image.open(file) as picture:
            assert picture.text == {}


def test_a_shorter_clip_leaves_no_frame_of_the_longer_one_that_it_replaces(tmp_path):
    WRITERS["PNG"](LazyClip(5), tmp_path / "clip", fps=8)
    WRITERS["PNG"](LazyClip(2), tmp_path / "clip", fps=8)
    assert names_in(tmp_path) == ["clip"]
    assert names_in(tmp_path / "clip") == ["00000.png", "00001.png"]


@pytest.mark.parametrize("stranger", ["notes.txt", "0.png"])
def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path, stranger):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / stranger).write_text("dear")
    with pytest.raises(MediaError, match="does not exist yet"):
        WRITERS["PNG"](LazyClip(2), tmp_path / "mine", fps=8)
    assert names_in(tmp_path / "mine") == [stranger]


@pytest.mark.parametrize("comment", ["", INFOTEXT, "a\r\nb\nc"])
def test_txt_is_the_comment_byte_for_byte(tmp_path, comment):
    path = WRITERS["TXT"](LazyClip(2), tmp_path / "a.txt", fps=8, comment=comment)
    assert path.read_bytes() == comment.encode("utf-8")
