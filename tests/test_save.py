"""The frames of an animation as its files show them."""

import numpy as np
import pytest
from PIL import Image

from animatediff_ext.media import probe
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
