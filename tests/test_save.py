"""The frames of an animation as its files show them."""

import numpy as np
import pytest
from PIL import Image

from animatediff_ext.media import interpolate, interpolated, kept, probe, read_frames
from animatediff_ext.params import from_api
from animatediff_ext.save import as_played, save_animation


def frames(number: int) -> list[Image.Image]:
    pictures = [np.full((32, 40, 3), 60, np.uint8) for _ in range(number)]
    for index, picture in enumerate(pictures):
        picture[8:20, 2 * index : 2 * index + 12] = (220, 120, 40)
    return [Image.fromarray(picture) for picture in pictures]


def animation(**arguments):
    return from_api({"batch_size": 4, "interp": "FFmpeg", "interp_x": 2, **arguments})[0].resolved()


@pytest.mark.parametrize(
    ("arguments", "num_frames", "played"),
    [
        ({"closed_loop": "N"}, 6, 11),
        ({"closed_loop": "R-P"}, 6, 12),
        ({"closed_loop": "R+P"}, 6, 12),
        ({"closed_loop": "A"}, 6, 12),
        ({"closed_loop": "N", "context_schedule": "looped"}, 6, 12),
        ({"closed_loop": "R-P", "context_schedule": "static"}, 6, 11),
        ({"closed_loop": "R-P"}, 4, 7),  # one context: no window crosses the end
        ({"closed_loop": "A"}, 4, 12),  # played back: 6 frames, in a loop
    ],
)
def test_interpolation_closes_the_loops_that_are_loops(arguments, num_frames, played):
    shown, fps = as_played(frames(num_frames), animation(video_length=num_frames, fps=5, **arguments))
    assert (len(list(shown)), fps) == (played, 10)


@pytest.mark.parametrize("name", ["FILM", "film", "FFmpeg"])
def test_the_old_name_multiplies_the_frame_rate_as_ours_does(tmp_path, name):
    """The old extension played as many times slower as it made frames."""
    files = save_animation(
        frames(4), tmp_path / "a", animation(video_length=4, fps=5, interp=name, format=["MP4"]), formats={"MP4"}
    )
    clip = probe(files["MP4"])
    assert (clip.num_frames, clip.fps) == (7, 10)


def test_a_limit_of_the_gif_holds_for_the_gif_alone(tmp_path):
    said = []
    asked = animation(video_length=4, interp="Off", format=["GIF", "MP4"], gif_max_width=20)
    files = save_animation(frames(4), tmp_path / "a", asked, say=said.append)
    assert [(probe(files[kind]).width, probe(files[kind]).height) for kind in ("GIF", "MP4")] == [(20, 16), (40, 32)]
    assert len(said) == 1


def test_interpolated_frames_are_made_once_for_all_formats_and_trials(tmp_path, monkeypatch):
    runs = []

    class Watched(interpolate._Filters):
        def __init__(self, *arguments):
            runs.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(interpolate, "_Filters", Watched)
    clip, formats = frames(4), ["GIF", "MP4", "WEBP", "PNG"]
    said = []
    save_animation(clip, tmp_path / "a", animation(video_length=4, format=formats, gif_max_mb=0.001), say=said.append)
    assert len(runs) == 1
    assert said, "the GIF was tried several times"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.gif", "a.mp4", "a.webp"]
    expected = list(interpolated(clip, fps=8, factor=2))
    np.testing.assert_array_equal(list(read_frames(tmp_path / "a")), expected)
    assert probe(tmp_path / "a.mp4").num_frames == len(expected)


@pytest.mark.parametrize("most_bytes", [1, 10**9], ids=["on the disk", "in memory"])
def test_frames_that_are_kept_can_be_read_by_several_at_once(tmp_path, most_bytes):
    clip = [np.asarray(frame) for frame in frames(5)]
    made = []

    class Lazy:
        def __iter__(self):
            for frame in clip:
                made.append(frame)
                yield frame

        def __len__(self):
            return len(clip)

    with kept(Lazy(), tmp_path, most_bytes=most_bytes) as again:
        first = next(iter(again))
        pairs = list(zip(again, again, strict=True))
        assert len(again) == len(pairs) == 5
    np.testing.assert_array_equal([one for one, _ in pairs], clip)
    np.testing.assert_array_equal([other for _, other in pairs], clip)
    np.testing.assert_array_equal(first, clip[0])
    assert pairs[0][0].flags.writeable, "encoders of some builds refuse what is not"
    assert len(made) == 5
    assert not list(tmp_path.iterdir())
