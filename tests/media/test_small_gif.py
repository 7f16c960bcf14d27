"""GIFs within a limit."""

import numpy as np
import pytest
from PIL import Image

from animatediff_ext.media import WRITERS, EncodeOptions, GifLimits, probe, write_small_gif
from animatediff_ext.media.gif import GifTooLargeError, write_gif, write_gif_within

from .clips import INFOTEXT, LazyClip, names_in

NUM_FRAMES = 3


class Grain(LazyClip):
    """The clip with a film's grain, which no encoder can take out."""

    def __iter__(self):
        for index, frame in enumerate(super().__iter__()):
            noise = np.random.default_rng(index).normal(0, 12, frame.shape)
            yield (frame + noise).clip(0, 255).astype(np.uint8)


CLIP = Grain(NUM_FRAMES, 48, 72)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory) -> int:
    return write_gif(CLIP, tmp_path_factory.mktemp("full") / "a.gif", fps=8).stat().st_size


def small(path, **limits):
    said = []
    path = write_small_gif(CLIP, path, fps=8, comment=INFOTEXT, limits=GifLimits(**limits), say=said.append)
    with Image.open(path) as picture:
        return path.stat().st_size, picture.size, said


def test_what_fits_is_as_it_is_without_a_limit(tmp_path, full_size):
    write_small_gif(CLIP, tmp_path / "b.gif", fps=8, limits=GifLimits(mb=full_size / 1e6, width=72), say=pytest.fail)
    assert (tmp_path / "b.gif").read_bytes() == write_gif(CLIP, tmp_path / "a.gif", fps=8).read_bytes()


def test_the_largest_that_fits_is_found(tmp_path, full_size):
    limit = int(full_size * 0.45)
    size, (width, height), said = small(tmp_path / "a.gif", mb=limit / 1e6)
    assert 0.85 * limit < size <= limit, "nearly all of what is allowed is used"
    assert width < 72
    assert abs(height - width * 48 / 72) <= 0.5
    assert probe(tmp_path / "a.gif").num_frames == NUM_FRAMES
    (sentence,) = said
    assert f"{width}×{height}" in sentence
    assert f"{size / 1e6:.3g} MB" in sentence
    assert "72×48" in sentence
    assert names_in(tmp_path) == ["a.gif"], "trials leave nothing behind"


def test_colours_go_before_size(tmp_path, full_size):
    size, dimensions, said = small(tmp_path / "a.gif", mb=0.85 * full_size / 1e6)
    assert size <= 0.85 * full_size
    assert dimensions == (72, 48)
    assert "72×48 with" in said[0]
    assert "256 colours" not in said[0]


def test_a_width_alone_is_a_limit_too(tmp_path):
    size, dimensions, said = small(tmp_path / "a.gif", width=36)
    assert dimensions == (36, 24)
    assert "36×24" in said[0]
    assert WRITERS["GIF"](CLIP, tmp_path / "b.gif", fps=8).stat().st_size > 2 * size


def test_both_limits_hold(tmp_path, full_size):
    size, (width, _height), _said = small(tmp_path / "a.gif", width=60, mb=0.45 * full_size / 1e6)
    assert width < 60
    assert size <= 0.45 * full_size


def test_nothing_is_enlarged(tmp_path):
    assert small(tmp_path / "a.gif", width=500)[1:] == ((72, 48), [])


def test_a_clip_that_cannot_fit_is_written_all_the_same_and_that_is_said(tmp_path):
    size, dimensions, said = small(tmp_path / "a.gif", mb=0.0005)
    assert dimensions == (32, 21)
    assert size > 500
    assert said[-1].startswith("No GIF of this clip fits 0.0005 MB.")
    assert f"{size / 1e6:.3g} MB" in said[-1]


@pytest.mark.parametrize("palette", ["frame", "clip"])
def test_fewer_colours_are_fewer(tmp_path, palette):
    options = EncodeOptions(gif_palette=palette, gif_colours=16)
    with Image.open(write_gif(CLIP, tmp_path / "a.gif", fps=8, options=options)) as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) <= 16


def test_a_gif_beyond_its_limit_is_given_up_early(tmp_path, full_size):
    read = []

    class Watched(Grain):
        def __iter__(self):
            for frame in super().__iter__():
                read.append(frame)
                yield frame

    with pytest.raises(GifTooLargeError) as raised:
        write_gif_within(Watched(NUM_FRAMES, 48, 72), tmp_path / "a.gif", fps=8, max_bytes=full_size // 10)
    assert len(read) < NUM_FRAMES
    assert raised.value.estimate == pytest.approx(full_size, rel=0.5)
    assert names_in(tmp_path) == []
